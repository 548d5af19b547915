// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/core_map.hpp"
#include "runtime/plan/fit.hpp"
#include "runtime/plan/gpu_map.hpp"
#include "runtime/plan/timeline.hpp"
#include "runtime/plan/types.hpp"

#include <bit>
#include <optional>
#include <unordered_map>
#include <vector>

namespace troupe::plan {

/// One node's resources as they are now.
struct node_entry {
  node_id id = 0;
  node_state state = node_state::up;
  std::uint32_t cores = 0;
  std::uint32_t units = 0; ///< running here
  std::uint64_t memory_bytes = 0, memory_free = 0;
  std::uint64_t features = 0;
  core_map free;
  gpu_map gpus;
  std::vector<std::uint32_t> core_groups; ///< of nodes with GPUs: which are near

  bool up() const { return state == node_state::up; }
  node_room room() const { return {free.free(), cores, memory_free, gpus.free(), features}; }
  node_room room_when_idle() const { return {cores, cores, memory_bytes, gpus.count(), features}; }
  /// Everything it has.
  amounts all() const {
    return {static_cast<std::int64_t>(memory_bytes), static_cast<std::int32_t>(cores),
            static_cast<std::int32_t>(gpus.count())};
  }
};

/// What a running unit holds on one node.
struct held_share {
  std::uint32_t node = 0; ///< index
  std::uint64_t memory_bytes = 0;
  std::vector<std::uint16_t> cores; ///< of an exclusive unit: all of the node's
  std::vector<std::uint16_t> gpus;

  amounts taken() const {
    return {static_cast<std::int64_t>(memory_bytes), static_cast<std::int32_t>(cores.size()),
            static_cast<std::int32_t>(gpus.size())};
  }
};

/// All nodes, in the order in which they were added: what is free now, and what is planned to be.
class node_pool {
public:
  expected<void> add(const node_config& node);
  expected<void> set_state(node_id node, node_state state);

  const std::vector<node_entry>& all() const { return nodes_; }
  /// What is free of each now, whatever its state.
  const std::vector<node_room>& rooms() const { return rooms_; }
  /// Of each: is it up?
  const std::vector<std::uint8_t>& ups() const { return ups_; }
  const node_entry& at(std::uint32_t index) const { return nodes_[index]; }
  /// nullptr if there is no such node.
  const std::uint32_t* index_of(node_id id) const;

  /// Free cores on nodes that are up.
  std::uint64_t cores_free() const { return cores_free_; }
  std::uint64_t cores_up() const { return cores_up_; }
  std::uint64_t nodes_up() const { return nodes_up_; }

  /// Takes `tasks` of a unit on a node that has the room; appends to `held` and `out`. To be
  /// planned, too.
  void take(const unit_need& need, const task_share& share, std::vector<held_share>& held,
            placement& out);
  /// Takes exactly these; fails, changing nothing, if they are not free.
  expected<held_share> take_exactly(const unit_need& need, const node_share& share);
  /// Takes what the node has of these and what is free of them; nothing if it has none of them.
  std::optional<held_share> take_rest(const unit_need& need, const node_share& share);
  void give(const held_share& held);

  /// What is free of the node when, as far as predictions and advance reservations go.
  const node_timeline& planned(std::uint32_t index) const { return timelines_[index]; }
  node_timeline& planned(std::uint32_t index) { return timelines_[index]; }

  /// How many nodes that are up have at least so many free cores; they are more than none.
  std::uint32_t with_free(std::uint32_t cores) const {
    if (counts_stale_)
      count_free();
    return cores < at_least_.size() ? at_least_[cores] : 0;
  }

  /// For `chooser`: what is free now, on nodes that are up and have a free core.
  template <class F>
  void each(F&& f) const {
    for (std::size_t w = 0; w < available_.size(); ++w)
      for (auto left = available_[w]; left != 0; left &= left - 1) {
        auto i =
            static_cast<std::uint32_t>(w * 64) + static_cast<std::uint32_t>(std::countr_zero(left));
        if (!f(i, rooms_[i]))
          return;
      }
  }

private:
  void hold(const held_share& share);
  std::uint32_t free_if_up(const node_entry& node) const {
    return node.up() ? node.free.free() : 0;
  }
  void note_free(std::uint32_t index, std::uint32_t cores_before);
  void count_free() const;

  std::vector<node_entry> nodes_;
  std::vector<node_room> rooms_;  ///< of `nodes_`, side by side
  std::vector<std::uint8_t> ups_; ///< the same
  std::vector<node_timeline> timelines_;
  std::unordered_map<node_id, std::uint32_t> by_id_;
  std::vector<std::uint64_t> available_;        ///< one bit per node: up, with a free core
  std::vector<std::uint32_t> with_free_;        ///< how many nodes up have so many free cores
  mutable std::vector<std::uint32_t> at_least_; ///< or more
  mutable bool counts_stale_ = true;
  std::uint64_t cores_free_ = 0, cores_up_ = 0, nodes_up_ = 0;
};

/// For `chooser`: every node idle, whatever its state.
struct idle_rooms {
  const node_pool& pool;
  bool only_up = false;

  template <class F>
  void each(F&& f) const {
    for (std::uint32_t i = 0; i < pool.all().size(); ++i)
      if ((!only_up || pool.at(i).up()) && !f(i, pool.at(i).room_when_idle()))
        return;
  }
};

} // namespace troupe::plan
