// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"
#include "runtime/plan/types.hpp"

#include <map>
#include <set>

namespace troupe::actors {

using node_numbers = std::map<std::string, std::uint32_t, std::less<>>;

/// What names mean to the scheduling core.
struct plan_names {
  node_numbers nodes;
  std::map<std::string, std::uint64_t, std::less<>> features; ///< one bit each
  std::map<std::string, plan::reservation_id, std::less<>> reservations;

  /// Takes the node's name and its features. Fails beyond `features_known_max` features.
  expected<void> add(const node_inventory& node);
  /// The nodes that a job asks for by name and that are not among these: "node4, node5".
  std::string missing_of(const job_spec& spec) const;
};

/// One bit of a core's features is kept for what no node has.
inline constexpr std::size_t features_known_max = 63;

plan::node_state to_plan(node_state state);

/// A node as the scheduling core takes it.
plan::node_config node_config_of(const node_inventory& node, node_state state,
                                 const plan_names& names);

/// What one unit of the job needs. Unknown node names were refused at submission; a feature or
/// reservation that is not there (any more) is one that no node has.
plan::job_shape shape_of(const job_spec& spec, const plan_names& names);

/// All cores of a unit.
inline std::uint64_t cores_of(const job_spec& spec) {
  return std::uint64_t{spec.tasks} * spec.cores_per_task;
}

} // namespace troupe::actors
