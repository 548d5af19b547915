// SPDX-License-Identifier: Apache-2.0
#include "actors/placing.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace troupe::actors {

namespace {

void set_units(std::span<std::uint64_t> words, const core_info& core) {
  for (auto unit : core.processing_units)
    if (unit / 64 < words.size())
      words[unit / 64] |= std::uint64_t{1} << (unit % 64);
}

/// As the planner chose them, or by their numbers on the node.
std::vector<std::uint32_t> cores_in_order(const placement_part& part, map_mode map_by) {
  auto cores = part.cores;
  if (map_by == map_mode::core)
    std::sort(cores.begin(), cores.end());
  return cores;
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
                                        const rank_binding& how, std::uint16_t words) {
  const auto cores = cores_in_order(part, how.map_by);
  const auto each = how.map_by == map_mode::core ? 1 : how.cores_per_rank;
  std::vector<std::uint64_t> result(std::size_t{how.ranks} * words);
  for (std::uint32_t rank = 0; rank < how.ranks; ++rank) {
    auto set = std::span{result}.subspan(std::size_t{rank} * words, words);
    for (std::uint32_t k = 0; k < each; ++k) {
      auto index = std::size_t{rank} * each + k;
      if (index >= cores.size())
        break;
      // One that the node does not have any more is bound to nothing: it has all of the node.
      if (cores[index] >= node.cores.size()) {
        for (const auto& core : node.cores)
          set_units(set, core);
        continue;
      }
      const auto& chosen = node.cores[cores[index]];
      for (const auto& core : node.cores)
        if (how.bind == bind_mode::none ||
            (how.bind == bind_mode::socket && core.socket == chosen.socket) || &core == &chosen)
          set_units(set, core);
    }
  }
  return result;
}

void number_ranks(std::vector<placement_part>& parts, map_mode map_by) {
  std::uint32_t next = 0;
  for (auto& part : parts) {
    part.rank_numbers.clear();
    part.rank_first = next;
    next += part.ranks;
  }
  if (map_by != map_mode::node || parts.size() < 2)
    return;
  for (std::uint32_t number = 0, round = 0; number < next; ++round)
    for (auto& part : parts)
      if (round < part.ranks)
        part.rank_numbers.push_back(number++);
  for (auto& part : parts)
    if (!part.rank_numbers.empty())
      part.rank_first = part.rank_numbers.front();
}

std::string describe_binding(const std::string& node, const placement_part& part, map_mode map_by) {
  auto cores = cores_in_order(part, map_by);
  if (map_by == map_mode::core && part.ranks < cores.size())
    cores.resize(part.ranks);
  auto text = fmt::format("{}:{}", node, fmt::join(cores, ","));
  if (!part.rank_numbers.empty())
    text += fmt::format(" (tasks {})", fmt::join(part.rank_numbers, ","));
  return text;
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

} // namespace troupe::actors
