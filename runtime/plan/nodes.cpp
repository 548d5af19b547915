// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/nodes.hpp"

#include <algorithm>
#include <numeric>

namespace troupe::plan {

expected<void> node_pool::add(const node_config& node) {
  auto name = "node " + std::to_string(node.id);
  if (by_id_.contains(node.id))
    return fail(errc::conflict, name + " was added before");
  if (nodes_.size() >= nodes_max)
    return fail(errc::exhausted,
                name + " was not added: " + std::to_string(nodes_max) + " nodes are the limit");
  if (node.cores == 0 || node.cores > cores_per_node_max)
    return fail(errc::invalid, name + " has " + std::to_string(node.cores) + " cores; 1 to " +
                                   std::to_string(cores_per_node_max) + " are allowed");
  if (!node.core_groups.empty() && node.core_groups.size() != node.cores)
    return fail(errc::invalid, name + " has " + std::to_string(node.cores) +
                                   " cores but groups for " +
                                   std::to_string(node.core_groups.size()));
  if (node.gpu_groups.size() > gpus_per_node_max)
    return fail(errc::invalid, name + " has " + std::to_string(node.gpu_groups.size()) + " GPUs; " +
                                   std::to_string(gpus_per_node_max) + " are the limit");
  if (node.memory_bytes > memory_per_node_max)
    return fail(errc::invalid, name + " has " + std::to_string(node.memory_bytes) +
                                   " bytes of memory; " + std::to_string(memory_per_node_max) +
                                   " are the limit");
  auto index = static_cast<std::uint32_t>(nodes_.size());
  by_id_.emplace(node.id, index);
  node_entry made{node.id,
                  node_state::down,
                  node.cores,
                  0,
                  node.memory_bytes,
                  node.memory_bytes,
                  node.features,
                  core_map(node.cores, node.core_groups),
                  gpu_map(node.gpu_groups),
                  {}};
  if (!node.gpu_groups.empty())
    made.core_groups = node.core_groups;
  timelines_.emplace_back(made.all());
  nodes_.push_back(std::move(made));
  rooms_.emplace_back();
  ups_.push_back(0);
  available_.resize(nodes_.size() / 64 + 1, 0);
  if (with_free_.size() <= node.cores)
    with_free_.resize(node.cores + 1, 0);
  ++with_free_[0];
  return set_state(node.id, node.state);
}

expected<void> node_pool::set_state(node_id id, node_state state) {
  const auto* index = index_of(id);
  if (index == nullptr)
    return fail(errc::not_found, "there is no node " + std::to_string(id));
  auto& node = nodes_[*index];
  auto before = free_if_up(node);
  cores_up_ -= node.up() ? node.cores : 0;
  nodes_up_ -= node.up() ? 1 : 0;
  node.state = state;
  cores_up_ += node.up() ? node.cores : 0;
  nodes_up_ += node.up() ? 1 : 0;
  note_free(*index, before);
  return {};
}

const std::uint32_t* node_pool::index_of(node_id id) const {
  auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &it->second;
}

void node_pool::note_free(std::uint32_t index, std::uint32_t cores_before) {
  auto& node = nodes_[index];
  rooms_[index] = node.room();
  ups_[index] = node.up() ? 1 : 0;
  auto now = free_if_up(node);
  cores_free_ = cores_free_ - cores_before + now;
  counts_stale_ = true;
  --with_free_[cores_before];
  ++with_free_[now];
  auto bit = std::uint64_t{1} << (index % 64);
  if (now > 0)
    available_[index / 64] |= bit;
  else
    available_[index / 64] &= ~bit;
}

void node_pool::count_free() const {
  at_least_ = with_free_;
  for (auto cores = at_least_.size(); cores-- > 1;)
    at_least_[cores - 1] += at_least_[cores];
  counts_stale_ = false;
}

void node_pool::take(const unit_need& need, const task_share& share, std::vector<held_share>& held,
                     placement& out) {
  auto& node = nodes_[share.node];
  auto before = free_if_up(node);
  auto& mine = held.emplace_back();
  auto& given = out.emplace_back();
  mine.node = share.node;
  mine.memory_bytes = given.memory_bytes = need.memory_bytes;
  given.node = node.id;
  given.tasks = share.tasks;
  given.cores.reserve(std::size_t{share.tasks} * need.cores_per_task);
  node.free.take(share.tasks, need.cores_per_task, given.cores);
  for (std::uint32_t task = 0; task < share.tasks && need.gpus_per_task > 0; ++task) {
    auto core = given.cores[std::size_t{task} * need.cores_per_task];
    auto group = core < node.core_groups.size() ? node.core_groups[core] : 0;
    node.gpus.take(need.gpus_per_task, group, given.gpus);
  }
  mine.cores = given.cores;
  mine.gpus = given.gpus;
  if (need.exclusive)
    node.free.take(node.free.free(), 1, mine.cores);
  node.memory_free -= need.memory_bytes;
  ++node.units;
  note_free(share.node, before);
}

expected<held_share> node_pool::take_exactly(const unit_need& need, const node_share& share) {
  const auto* index = index_of(share.node);
  auto name = "node " + std::to_string(share.node);
  if (index == nullptr)
    return fail(errc::not_found, "there is no " + name);
  auto& node = nodes_[*index];
  held_share mine{*index, share.memory_bytes, share.cores, share.gpus};
  if (need.exclusive) {
    mine.cores.resize(node.cores);
    std::iota(mine.cores.begin(), mine.cores.end(), std::uint16_t{0});
  }
  std::sort(mine.cores.begin(), mine.cores.end());
  if (mine.cores.empty() || mine.cores.back() >= node.cores ||
      std::adjacent_find(mine.cores.begin(), mine.cores.end()) != mine.cores.end())
    return fail(errc::invalid, "a placement on " + name +
                                   " names no core, one twice, or one that "
                                   "the node does not have");
  for (auto core : mine.cores)
    if (!node.free.is_free(core))
      return fail(errc::conflict, "core " + std::to_string(core) + " of " + name + " is taken");
  std::sort(mine.gpus.begin(), mine.gpus.end());
  if (std::adjacent_find(mine.gpus.begin(), mine.gpus.end()) != mine.gpus.end())
    return fail(errc::invalid, "a placement on " + name + " names a GPU twice");
  for (auto gpu : mine.gpus)
    if (!node.gpus.is_free(gpu))
      return fail(errc::conflict, "GPU " + std::to_string(gpu) + " of " + name +
                                      " is taken, or there is none of that number");
  if (node.memory_free < share.memory_bytes)
    return fail(errc::conflict, name + " has " + std::to_string(node.memory_free) +
                                    " bytes of memory free, not " +
                                    std::to_string(share.memory_bytes));
  hold(mine);
  return mine;
}

/// All of it is free.
void node_pool::hold(const held_share& share) {
  auto& node = nodes_[share.node];
  const auto before = free_if_up(node);
  node.free.take_exactly(share.cores);
  node.gpus.take_exactly(share.gpus);
  node.memory_free -= share.memory_bytes;
  ++node.units;
  note_free(share.node, before);
}

std::optional<held_share> node_pool::take_rest(const unit_need& need, const node_share& share) {
  const auto* index = index_of(share.node);
  if (index == nullptr)
    return std::nullopt;
  const auto& node = nodes_[*index];
  auto rest = share;
  std::sort(rest.cores.begin(), rest.cores.end());
  rest.cores.erase(std::unique(rest.cores.begin(), rest.cores.end()), rest.cores.end());
  if (need.exclusive) {
    rest.cores.resize(node.cores);
    std::iota(rest.cores.begin(), rest.cores.end(), std::uint16_t{0});
  }
  std::erase_if(rest.cores,
                [&](auto core) { return core >= node.cores || !node.free.is_free(core); });
  std::sort(rest.gpus.begin(), rest.gpus.end());
  rest.gpus.erase(std::unique(rest.gpus.begin(), rest.gpus.end()), rest.gpus.end());
  std::erase_if(rest.gpus, [&](auto gpu) { return !node.gpus.is_free(gpu); });
  rest.memory_bytes = std::min(rest.memory_bytes, node.memory_free);
  if (rest.cores.empty() && rest.gpus.empty())
    return std::nullopt;
  held_share mine{*index, rest.memory_bytes, std::move(rest.cores), std::move(rest.gpus)};
  hold(mine);
  return mine;
}

void node_pool::give(const held_share& held) {
  auto& node = nodes_[held.node];
  auto before = free_if_up(node);
  node.free.give(held.cores);
  node.gpus.give(held.gpus);
  node.memory_free += held.memory_bytes;
  --node.units;
  note_free(held.node, before);
}

} // namespace troupe::plan
