// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/protocol.hpp"

#include <span>

namespace troupe::actors {

/// The processing units each rank of a part may use, `words` u64 per rank, rank-major. With
/// bind_mode::none every unit of the node; the launcher then sets no affinity.
std::vector<std::uint64_t> rank_cpusets(const node_inventory& node, const placement_part& part,
                                        std::uint32_t ranks, std::uint32_t cores_per_rank,
                                        bind_mode bind, std::uint16_t words);

/// The GPUs of each rank of a part, a bit per number that the machine gives them.
std::vector<std::uint64_t> rank_gpus(const node_inventory& node, const placement_part& part,
                                     std::uint32_t ranks, std::uint32_t gpus_per_rank);

/// How many u64 words the node's highest processing unit needs.
std::uint16_t cpuset_words(const node_inventory& node);

/// The canonical expanded names of a placement's nodes, in rank order: "node1,node2".
std::string nodelist_of(std::span<const std::shared_ptr<node_entry const>> nodes);

} // namespace troupe::actors
