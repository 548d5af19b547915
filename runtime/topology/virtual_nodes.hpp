// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/topology/cpu_list.hpp"
#include "runtime/topology/machine.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace troupe::topology {

inline constexpr std::uint32_t virtual_nodes_max = 1024;
inline constexpr std::uint32_t cores_per_node_max = 1024;

/// What ranks are bound to (`--bind`).
enum class bind_mode : std::uint8_t {
  none,   ///< not at all
  core,   ///< to their own cores
  socket, ///< to all of the node's cores in the sockets that theirs are in
};

/// One node as the scheduler sees it: its cores are numbered from 0 and stand on the machine's PUs.
struct node_topology {
  std::vector<machine_core> cores;
  std::uint64_t memory_bytes = 0;
  bool oversubscribed = false; ///< some PU carries cores of more than one number or node

  /// The group of each core, for the scheduler's choice of compact runs.
  std::vector<std::uint32_t> core_groups() const;
};

struct virtual_layout {
  std::vector<node_topology> nodes;
  bool oversubscribed = false;
  /// One sentence for people when cores share PUs; else empty.
  std::string remark;
};

/// Lays `nodes` × `cores_per_node` cores over the machine, one after another and round again. As
/// long as there are enough physical cores each is one, with all its hardware threads; then each is
/// one hardware thread; then they share. `cores_per_node` 0: an equal part of the physical cores,
/// at least one. `memory_bytes` (per node) 0: an equal part of the machine's.
expected<virtual_layout> virtual_nodes(const machine_topology& machine, std::uint32_t nodes,
                                       std::uint32_t cores_per_node, std::uint64_t memory_bytes);

/// The PUs for a rank on these cores of the node. Core numbers the node does not have are ignored.
cpu_words cpuset_for(const node_topology& node, std::span<const std::uint16_t> cores,
                     bind_mode mode);

} // namespace troupe::topology
