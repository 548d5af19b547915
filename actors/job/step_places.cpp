// SPDX-License-Identifier: Apache-2.0
#include "actors/job/step_places.hpp"

#include "actors/placing.hpp"

#include <algorithm>
#include <numeric>

namespace troupe::actors {

namespace {

/// So many tasks fit on each part.
std::vector<std::uint32_t> room_of(std::span<const placement_part> allocation,
                                   const taken_cores& taken, const step_wish& wish) {
  std::vector<std::uint32_t> room;
  for (std::size_t i = 0; i < allocation.size(); ++i) {
    const auto& part = allocation[i];
    const auto free = std::count_if(part.cores.begin(), part.cores.end(),
                                    [&](auto core) { return !taken[i].contains(core); });
    const auto usable = wish.excluded.contains(part.node) ? 0 : free;
    room.push_back(static_cast<std::uint32_t>(usable) / wish.cores_per_task);
  }
  return room;
}

/// Block after block, on as few nodes as will do.
std::vector<std::uint32_t> fill(const std::vector<std::uint32_t>& room, std::uint32_t tasks) {
  std::vector<std::uint32_t> counts(room.size());
  for (std::size_t i = 0; i < room.size(); ++i) {
    counts[i] = std::min(room[i], tasks);
    tasks -= counts[i];
  }
  return tasks == 0 ? counts : std::vector<std::uint32_t>{};
}

/// On exactly `nodes` of them, those with the most room, as evenly as that allows.
std::vector<std::uint32_t> spread(const std::vector<std::uint32_t>& room, std::uint32_t tasks,
                                  std::uint32_t nodes) {
  std::vector<std::size_t> chosen(room.size());
  std::iota(chosen.begin(), chosen.end(), std::size_t{0});
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](std::size_t a, std::size_t b) { return room[a] > room[b]; });
  if (chosen.size() < nodes || tasks < nodes || room[chosen[nodes - 1]] == 0)
    return {};
  chosen.resize(nodes);
  std::sort(chosen.begin(), chosen.end());
  std::vector<std::uint32_t> counts(room.size());
  // One to each in turn: the first ones get the remainder.
  for (auto before = tasks + 1; tasks > 0 && tasks < before;) {
    before = tasks;
    for (auto at : chosen)
      if (tasks > 0 && counts[at] < room[at]) {
        ++counts[at];
        --tasks;
      }
  }
  return tasks == 0 ? counts : std::vector<std::uint32_t>{};
}

/// As many nodes as can have a task: where tasks are dealt out to the nodes in turn.
std::uint32_t widest(const std::vector<std::uint32_t>& room, std::uint32_t tasks) {
  const auto usable = std::count_if(room.begin(), room.end(), [](auto each) { return each > 0; });
  return std::min(static_cast<std::uint32_t>(usable), tasks);
}

} // namespace

std::optional<std::vector<placement_part>> place_step(std::span<const placement_part> allocation,
                                                      const taken_cores& taken,
                                                      const step_wish& wish) {
  const auto room = room_of(allocation, taken, wish);
  const auto nodes =
      wish.nodes == 0 && wish.map_by == map_mode::node ? widest(room, wish.tasks) : wish.nodes;
  const auto counts = nodes == 0 ? fill(room, wish.tasks) : spread(room, wish.tasks, nodes);
  if (counts.empty())
    return std::nullopt;
  std::vector<placement_part> parts;
  for (std::size_t i = 0; i < allocation.size(); ++i) {
    placement_part part;
    part.node = allocation[i].node;
    part.ranks = counts[i];
    part.memory_bytes = allocation[i].memory_bytes;
    const auto wanted = std::size_t{counts[i]} * wish.cores_per_task;
    for (auto core : allocation[i].cores)
      if (part.cores.size() < wanted && !taken[i].contains(core))
        part.cores.push_back(core);
    parts.push_back(std::move(part));
  }
  number_ranks(parts, wish.map_by);
  return parts;
}

} // namespace troupe::actors
