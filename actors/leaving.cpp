// SPDX-License-Identifier: Apache-2.0
#include "actors/recovery.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>

namespace troupe::actors {

namespace {

/// What is known of a node by what was placed there.
struct remembered_node {
  std::size_t cores = 1;
  std::size_t gpus = 0;
};

using remembered_nodes = std::map<std::uint32_t, remembered_node>;

void remember(remembered_nodes& all, const std::vector<placement_part>& parts) {
  for (const auto& part : parts) {
    if (part.node == 0) // a window's hole
      continue;
    auto& node = all[part.node];
    for (auto core : part.cores)
      node.cores = std::max<std::size_t>(node.cores, std::size_t{core} + 1);
    for (auto gpu : part.gpus)
      node.gpus = std::max<std::size_t>(node.gpus, std::size_t{gpu} + 1);
  }
}

} // namespace

std::vector<std::shared_ptr<node_inventory const>>
leaving_nodes(const scheduler_start& start,
              const std::vector<std::shared_ptr<node_inventory const>>& nodes) {
  remembered_nodes all;
  for (const auto& job : start.jobs) {
    for (const auto& chunk : job.birth.placed)
      remember(all, chunk.starting.parts);
    for (const auto& step : job.birth.steps)
      if (!step.ended)
        remember(all, step.started.parts);
  }
  core_info anywhere;
  for (const auto& node : nodes) {
    all.erase(node->node);
    for (const auto& core : node->cores)
      anywhere.processing_units.insert(anywhere.processing_units.end(),
                                       core.processing_units.begin(), core.processing_units.end());
  }
  auto& units = anywhere.processing_units;
  std::sort(units.begin(), units.end());
  units.erase(std::unique(units.begin(), units.end()), units.end());
  std::vector<std::shared_ptr<node_inventory const>> leaving;
  for (const auto& [number, known] : all) {
    auto node = std::make_shared<node_inventory>();
    node->node = number;
    node->name = fmt::format("node{}", number);
    node->cores.assign(std::min(known.cores, leaving_cores_max), anywhere);
    node->memory_bytes = 0; // nothing more starts there
    node->oversubscribed = true;
    for (std::uint32_t gpu = 0; gpu < std::min<std::size_t>(known.gpus, gpus_per_node_max); ++gpu)
      node->gpus.push_back(gpu);
    leaving.push_back(std::move(node));
  }
  return leaving;
}

} // namespace troupe::actors
