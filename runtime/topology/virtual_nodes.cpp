// SPDX-License-Identifier: Apache-2.0
#include "runtime/topology/virtual_nodes.hpp"

#include <algorithm>

namespace troupe::topology {

namespace {

/// What virtual cores are made of: physical cores while there are enough, else single PUs.
std::vector<machine_core> building_blocks(const machine_topology& machine, std::uint64_t wanted) {
  if (wanted <= machine.cores().size())
    return machine.cores();
  std::vector<machine_core> blocks;
  for (const auto& core : machine.cores())
    for (auto pu : core.pus)
      blocks.push_back({{pu}, core.group, core.socket});
  return blocks;
}

std::string plural(std::uint64_t n, const char* noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

std::string remark(std::uint32_t nodes, std::uint32_t cores_per_node,
                   const machine_topology& machine) {
  auto wanted = std::uint64_t{nodes} * cores_per_node;
  auto pus = machine.pu_count();
  auto text = plural(nodes, "node") + " with " + plural(cores_per_node, "core") +
              (nodes == 1 ? " is " : " each are ") + plural(wanted, "core") +
              ", this machine has " + std::to_string(machine.cores().size());
  if (wanted <= pus)
    return text + ": each is one hardware thread of " + std::to_string(pus);
  return text +
         (pus > machine.cores().size() ? " with " + std::to_string(pus) + " hardware threads"
                                       : "") +
         ": over-subscribed, up to " + std::to_string((wanted + pus - 1) / pus) +
         " share one; expect programs to run slower when they do";
}

} // namespace

std::vector<std::uint32_t> node_topology::core_groups() const {
  std::vector<std::uint32_t> groups;
  for (const auto& core : cores)
    groups.push_back(core.group);
  return groups;
}

expected<virtual_layout> virtual_nodes(const machine_topology& machine, std::uint32_t nodes,
                                       std::uint32_t cores_per_node, std::uint64_t memory_bytes) {
  if (nodes == 0 || nodes > virtual_nodes_max)
    return fail(errc::invalid, std::to_string(nodes) + " nodes were asked for; 1 to " +
                                   std::to_string(virtual_nodes_max) + " are possible");
  if (cores_per_node > cores_per_node_max)
    return fail(errc::invalid, std::to_string(cores_per_node) +
                                   " cores per node were asked for; 1 to " +
                                   std::to_string(cores_per_node_max) + " are possible");
  auto physical = static_cast<std::uint32_t>(machine.cores().size());
  if (cores_per_node == 0)
    cores_per_node = std::clamp(physical / nodes, 1u, cores_per_node_max);
  if (memory_bytes == 0)
    memory_bytes = machine.memory_bytes() / nodes;
  auto wanted = std::uint64_t{nodes} * cores_per_node;
  auto blocks = building_blocks(machine, wanted);

  virtual_layout layout;
  layout.oversubscribed = wanted > blocks.size();
  if (wanted > physical)
    layout.remark = remark(nodes, cores_per_node, machine);
  std::size_t next = 0;
  for (std::uint32_t n = 0; n < nodes; ++n) {
    auto& node = layout.nodes.emplace_back();
    node.memory_bytes = memory_bytes;
    node.oversubscribed = layout.oversubscribed;
    for (std::uint32_t c = 0; c < cores_per_node; ++c)
      node.cores.push_back(blocks[next++ % blocks.size()]);
  }
  return layout;
}

cpu_words cpuset_for(const node_topology& node, std::span<const std::uint16_t> cores,
                     bind_mode mode) {
  cpu_words words;
  if (mode == bind_mode::none)
    return words;
  auto add = [&](const machine_core& core) {
    for (auto pu : core.pus)
      add_pu(words, pu);
  };
  for (auto number : cores) {
    if (number >= node.cores.size())
      continue;
    const auto& mine = node.cores[number];
    if (mode == bind_mode::core) {
      add(mine);
      continue;
    }
    for (const auto& other : node.cores)
      if (other.socket == mine.socket)
        add(other);
  }
  return words;
}

} // namespace troupe::topology
