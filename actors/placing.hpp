// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/protocol.hpp"

#include <span>

namespace troupe::actors {

/// What the ranks of a part are bound to.
struct rank_binding {
  std::uint32_t ranks = 1;
  std::uint32_t cores_per_rank = 1;
  bind_mode bind = bind_mode::core;
  map_mode map_by = map_mode::slot;
};

/// The processing units each rank of a part may use, `words` u64 per rank, rank-major. With
/// bind_mode::none every unit of the node; the launcher then sets no affinity.
std::vector<std::uint64_t> rank_cpusets(const node_inventory& node, const placement_part& part,
                                        const rank_binding& how, std::uint16_t words);

/// Numbers the ranks of all parts: node after node, or dealt out to the nodes in turn.
void number_ranks(std::vector<placement_part>& parts, map_mode map_by);

/// "node1:0,1", and " (tasks 0,2)" behind it where they do not count on from part to part.
std::string describe_binding(const std::string& node, const placement_part& part, map_mode map_by);

/// The GPUs of each rank of a part, a bit per number that the machine gives them.
std::vector<std::uint64_t> rank_gpus(const node_inventory& node, const placement_part& part,
                                     std::uint32_t ranks, std::uint32_t gpus_per_rank);

/// How many u64 words the node's highest processing unit needs.
std::uint16_t cpuset_words(const node_inventory& node);

} // namespace troupe::actors
