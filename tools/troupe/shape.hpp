// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace troupe::cli {

/// How large a private cluster is. Kept in its state directory, so that 'troupe up' after a crash
/// needs no options.
struct shape {
  std::uint32_t nodes = 1;
  std::uint32_t cores = 1; ///< of each node
  std::string config = {}; ///< the configuration's file, as it was named; "": none was
};

/// Processing units this process may use: what a private cluster shares.
std::uint32_t machine_cores();

/// One node with all of the machine's.
shape default_shape();

/// What the last 'troupe up' here was asked for; nothing when there was none, or its file is not as
/// we write it.
std::optional<shape> read_shape(const std::string& state_directory);

expected<void> write_shape(const std::string& state_directory, const shape& of);

} // namespace troupe::cli
