// SPDX-License-Identifier: Apache-2.0
#include "actors/plan_codec.hpp"

#include <algorithm>

namespace troupe::actors {

plan::node_state to_plan(node_state state) {
  switch (state) {
  case node_state::up: return plan::node_state::up;
  case node_state::draining:
  case node_state::drained: return plan::node_state::drained;
  case node_state::down: return plan::node_state::down;
  }
  return plan::node_state::down;
}

plan::node_config node_config_of(const node_inventory& node, node_state state) {
  plan::node_config config;
  config.id = node.node;
  config.cores = static_cast<std::uint32_t>(node.cores.size());
  config.memory_bytes = node.memory_bytes;
  for (const auto& core : node.cores)
    config.core_groups.push_back(std::min(core.group, config.cores - 1));
  config.state = to_plan(state);
  return config;
}

plan::job_shape shape_of(const job_spec& spec, const node_numbers& nodes) {
  plan::job_shape shape;
  shape.nodes = spec.nodes;
  shape.tasks = spec.tasks;
  shape.cores_per_task = spec.cores_per_task;
  shape.memory_bytes = spec.memory_bytes;
  shape.exclusive = spec.exclusive;
  for (const auto& name : spec.nodes_required)
    if (auto at = nodes.find(name); at != nodes.end())
      shape.required_nodes.push_back(at->second);
  for (const auto& name : spec.nodes_excluded)
    if (auto at = nodes.find(name); at != nodes.end())
      shape.excluded_nodes.push_back(at->second);
  return shape;
}

} // namespace troupe::actors
