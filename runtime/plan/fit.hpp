// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

/// Does a unit fit, and on which nodes: counts only, the cores' numbers come later. The test is
/// exact (it says no only if no placement exists); reservations rely on that.
namespace troupe::plan {

/// A shape with its node ids resolved to indexes and its spread computed.
struct unit_need {
  std::uint32_t nodes = 0; ///< 0: as few as possible
  std::uint32_t tasks = 1;
  std::uint32_t cores_per_task = 1;
  std::uint32_t gpus_per_task = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t features = 0;
  bool exclusive = false;
  bool unknown_node = false;  ///< requires a node that does not exist: never fits
  std::uint32_t least = 1;    ///< tasks that every node must hold
  std::uint32_t plus_one = 0; ///< how many nodes hold one more than `least`
  std::vector<std::uint32_t> required, excluded; ///< node indexes, sorted

  bool excludes(std::uint32_t node) const {
    return !excluded.empty() && std::binary_search(excluded.begin(), excluded.end(), node);
  }
  bool requires_node(std::uint32_t node) const {
    return !required.empty() && std::binary_search(required.begin(), required.end(), node);
  }
  /// Cores of one unit, wherever it runs; of an exclusive one those that it asks for.
  std::uint64_t cores() const { return std::uint64_t{tasks} * cores_per_task; }
  /// The most tasks that any one node must hold.
  std::uint32_t most() const { return least + (plus_one > 0 ? 1 : 0); }
};

/// What one node could give.
struct node_room {
  std::uint32_t cores = 0; ///< free
  std::uint32_t cores_all = 0;
  std::uint64_t memory_bytes = 0; ///< free
  std::uint32_t gpus = 0;         ///< free
  std::uint64_t features = 0;

  /// Whatever runs on a node has a core of it.
  bool idle() const { return cores == cores_all; }
};

/// How many tasks of the unit fit into this room.
inline std::uint32_t tasks_in(const unit_need& need, const node_room& room) {
  if (room.memory_bytes < need.memory_bytes || (room.features & need.features) != need.features ||
      (need.exclusive && !room.idle()))
    return 0;
  auto tasks = need.cores_per_task == 1 ? room.cores : room.cores / need.cores_per_task;
  return need.gpus_per_task == 0 ? tasks : std::min(tasks, room.gpus / need.gpus_per_task);
}

struct task_share {
  std::uint32_t node = 0; ///< index
  std::uint32_t tasks = 0;

  bool operator==(const task_share&) const = default;
};

/// Chooses the nodes of one unit; keeps its buffers between calls.
class chooser {
public:
  /// `rooms.each(f)` calls f(index, node_room) in node order until f returns false. On success
  /// `shares()` is the placement in node order.
  template <class Rooms>
  bool choose(const unit_need& need, const Rooms& rooms) {
    begin(need);
    if (need.unknown_node)
      return false;
    rooms.each([&](std::uint32_t node, const node_room& room) { return offer(need, node, room); });
    return finish(need);
  }

  /// The same without a choice, which may take longer than finding out.
  template <class Rooms>
  bool fits(const unit_need& need, const Rooms& rooms) {
    begin(need);
    if (need.unknown_node)
      return false;
    rooms.each([&](std::uint32_t node, const node_room& room) {
      return offer(need, node, room) &&
             !(may_stop_early_ && need.nodes == 0 && room_ >= need.tasks);
    });
    return need.nodes == 0 && may_stop_early_ ? room_ >= need.tasks : finish(need);
  }

  const std::vector<task_share>& shares() const { return shares_; }
  /// A choice that was made elsewhere.
  void set(const std::vector<task_share>& shares) { shares_ = shares; }

private:
  void begin(const unit_need& need);

  /// False when enough has been seen.
  bool offer(const unit_need& need, std::uint32_t node, const node_room& room) {
    auto tasks = tasks_in(need, room);
    if (tasks < need.least || need.excludes(node))
      return true;
    if (may_stop_early_ && need.nodes == 0 && tasks >= need.tasks) {
      candidates_.assign(1, {node, tasks});
      room_ = tasks;
      return false;
    }
    candidates_.push_back({node, tasks});
    room_ += tasks;
    with_one_more_ += tasks > need.least ? 1 : 0;
    return !(may_stop_early_ && need.nodes > 0 && candidates_.size() >= need.nodes &&
             with_one_more_ >= need.plus_one);
  }

  bool finish(const unit_need& need);
  bool finish_exact(const unit_need& need);
  bool finish_fewest(const unit_need& need);
  bool has_required(const unit_need& need) const;

  std::vector<task_share> candidates_; ///< node, and how many tasks fit
  std::vector<task_share> shares_;
  std::vector<std::uint8_t> picked_;
  std::vector<std::uint32_t> by_room_;
  std::uint64_t room_ = 0;
  std::uint32_t with_one_more_ = 0;
  bool may_stop_early_ = true;
};

} // namespace troupe::plan
