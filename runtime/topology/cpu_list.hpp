// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace troupe::topology {

/// A set of PUs by operating system index: bit i of word w is PU 64·w + i, as launch orders carry
/// it. No trailing zero words; empty: no binding.
using cpu_words = std::vector<std::uint64_t>;

void add_pu(cpu_words& words, std::uint32_t pu);
bool has_pu(std::span<const std::uint64_t> words, std::uint32_t pu);

/// "0-3,8"; empty for an empty set.
std::string format_cpu_list(std::span<const std::uint64_t> words);

} // namespace troupe::topology
