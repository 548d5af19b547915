// SPDX-License-Identifier: Apache-2.0
#include "actors/placing.hpp"

#include <algorithm>

namespace troupe::actors {

namespace {

void set_units(std::span<std::uint64_t> words, const core_info& core) {
  for (auto unit : core.processing_units)
    if (unit / 64 < words.size())
      words[unit / 64] |= std::uint64_t{1} << (unit % 64);
}

} // namespace

std::uint16_t cpuset_words(const node_inventory& node) {
  std::uint32_t highest = 0;
  for (const auto& core : node.cores)
    for (auto unit : core.processing_units)
      highest = std::max(highest, unit);
  return static_cast<std::uint16_t>(highest / 64 + 1);
}

std::vector<std::uint64_t> rank_cpusets(const node_inventory& node, const placement_part& part,
                                        std::uint32_t ranks, std::uint32_t cores_per_rank,
                                        bind_mode bind, std::uint16_t words) {
  std::vector<std::uint64_t> result(std::size_t{ranks} * words);
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    auto set = std::span{result}.subspan(std::size_t{rank} * words, words);
    for (std::uint32_t k = 0; k < cores_per_rank; ++k) {
      auto index = std::size_t{rank} * cores_per_rank + k;
      if (index >= part.cores.size() || part.cores[index] >= node.cores.size())
        break;
      const auto& chosen = node.cores[part.cores[index]];
      for (const auto& core : node.cores)
        if (bind == bind_mode::none ||
            (bind == bind_mode::socket && core.socket == chosen.socket) || &core == &chosen)
          set_units(set, core);
    }
  }
  return result;
}

std::vector<std::uint64_t> rank_gpus(const node_inventory& node, const placement_part& part,
                                     std::uint32_t ranks, std::uint32_t gpus_per_rank) {
  std::vector<std::uint64_t> result(ranks);
  for (std::uint32_t rank = 0; rank < ranks; ++rank)
    for (std::uint32_t k = 0; k < gpus_per_rank; ++k) {
      const auto index = std::size_t{rank} * gpus_per_rank + k;
      if (index < part.gpus.size() && part.gpus[index] < node.gpus.size())
        result[rank] |= std::uint64_t{1} << (node.gpus[part.gpus[index]] % gpus_per_node_max);
    }
  return result;
}

std::string nodelist_of(std::span<const std::shared_ptr<node_entry const>> nodes) {
  std::string result;
  for (const auto& node : nodes) {
    if (!result.empty())
      result += ',';
    result += node->offers->name;
  }
  return result;
}

} // namespace troupe::actors
