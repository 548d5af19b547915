// SPDX-License-Identifier: Apache-2.0
#include "runtime/topology/cpu_list.hpp"

namespace troupe::topology {

void add_pu(cpu_words& words, std::uint32_t pu) {
  if (words.size() <= pu / 64)
    words.resize(pu / 64 + 1, 0);
  words[pu / 64] |= std::uint64_t{1} << (pu % 64);
}

bool has_pu(std::span<const std::uint64_t> words, std::uint32_t pu) {
  return pu / 64 < words.size() && (words[pu / 64] >> (pu % 64) & 1) != 0;
}

std::string format_cpu_list(std::span<const std::uint64_t> words) {
  std::string text;
  auto end = static_cast<std::uint32_t>(words.size() * 64);
  for (std::uint32_t pu = 0; pu < end; ++pu) {
    if (!has_pu(words, pu))
      continue;
    auto last = pu;
    while (has_pu(words, last + 1))
      ++last;
    if (!text.empty())
      text += ',';
    text += std::to_string(pu);
    if (last > pu)
      text += '-' + std::to_string(last);
    pu = last;
  }
  return text;
}

} // namespace troupe::topology
