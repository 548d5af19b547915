// SPDX-License-Identifier: Apache-2.0
#include "actors/plan_codec.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace troupe::actors {

namespace {

constexpr std::uint64_t on_no_node = std::uint64_t{1} << features_known_max;
constexpr plan::node_id no_such_node = std::numeric_limits<plan::node_id>::max();
constexpr plan::reservation_id no_such_reservation =
    std::numeric_limits<plan::reservation_id>::max();

} // namespace

expected<void> plan_names::add(const node_inventory& node) {
  nodes[node.name] = node.node;
  for (const auto& feature : node.features) {
    if (features.contains(feature))
      continue;
    if (features.size() == features_known_max)
      return fail(errc::exhausted,
                  fmt::format("the nodes have more than {} features between them; '{}' of {} is "
                              "one too many",
                              features_known_max, feature, node.name));
    features.emplace(feature, std::uint64_t{1} << features.size());
  }
  return {};
}

std::string plan_names::missing_of(const job_spec& spec) const {
  std::string missing;
  for (const auto& name : spec.nodes_required)
    if (!nodes.contains(name))
      missing += (missing.empty() ? "" : ", ") + name;
  return missing;
}

plan::node_state to_plan(node_state state) {
  switch (state) {
  case node_state::up: return plan::node_state::up;
  case node_state::draining:
  case node_state::leaving:
  case node_state::drained: return plan::node_state::drained;
  case node_state::down: return plan::node_state::down;
  }
  return plan::node_state::down;
}

plan::node_config node_config_of(const node_inventory& node, node_state state,
                                 const plan_names& names) {
  plan::node_config config;
  config.id = node.node;
  config.cores = static_cast<std::uint32_t>(node.cores.size());
  config.memory_bytes = node.memory_bytes;
  for (const auto& core : node.cores)
    config.core_groups.push_back(std::min(core.group, config.cores - 1));
  config.gpu_groups.assign(node.gpus.size(), 0);
  for (const auto& feature : node.features)
    if (auto at = names.features.find(feature); at != names.features.end())
      config.features |= at->second;
  config.state = to_plan(state);
  return config;
}

plan::job_shape shape_of(const job_spec& spec, const plan_names& names) {
  plan::job_shape shape;
  shape.nodes = spec.nodes;
  shape.tasks = spec.tasks;
  shape.cores_per_task = spec.cores_per_task;
  shape.memory_bytes = spec.memory_bytes;
  shape.exclusive = spec.exclusive;
  shape.gpus_per_task = spec.gpus_per_task;
  for (const auto& name : spec.nodes_required) {
    const auto at = names.nodes.find(name);
    shape.required_nodes.push_back(at == names.nodes.end() ? no_such_node : at->second);
  }
  for (const auto& name : spec.nodes_excluded)
    if (auto at = names.nodes.find(name); at != names.nodes.end())
      shape.excluded_nodes.push_back(at->second);
  for (const auto& feature : spec.features) {
    auto at = names.features.find(feature);
    shape.features |= at == names.features.end() ? on_no_node : at->second;
  }
  if (!spec.reservation.empty()) {
    auto at = names.reservations.find(spec.reservation);
    shape.reservation = at == names.reservations.end() ? no_such_reservation : at->second;
  }
  return shape;
}

} // namespace troupe::actors
