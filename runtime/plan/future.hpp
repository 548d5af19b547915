// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/fit.hpp"
#include "runtime/plan/nodes.hpp"
#include "runtime/plan/slots.hpp"

#include <functional>
#include <queue>

namespace troupe::plan {

/// The free resources at a time to come, if every unit runs to its predicted end and nothing else
/// starts: counts per node. Moves forward only.
class future {
public:
  future(const node_pool& pool, const slot_table& slots, instant now);

  instant at() const { return at_; }
  /// The last of the running units that has ended by then.
  end_key last_ended() const { return last_ended_; }

  /// Moves to the first time at which the unit fits; false if that never comes.
  bool advance_until_fits(const unit_need& need);

  /// Takes room for a unit from now until `end`.
  void start(const unit_need& need, const std::vector<task_share>& shares, instant end);

  const node_room& room(std::uint32_t node) const { return rooms_[node].room; }

  /// For `chooser`: nodes that are up.
  template <class F>
  void each(F&& f) const {
    for (std::uint32_t i = 0; i < rooms_.size(); ++i)
      if (rooms_[i].up && !f(i, rooms_[i].room))
        return;
  }

private:
  struct hypothetical {
    node_room room;
    std::uint32_t units = 0;
    bool up = false;
  };
  struct end_of_started {
    instant end = never;
    std::uint64_t order = 0;
    std::vector<held_share> held; ///< `cores` empty: counted in `cores`
    std::vector<std::uint32_t> cores;
    bool operator>(const end_of_started& other) const {
      return end != other.end ? end > other.end : order > other.order;
    }
  };

  void release_running(const unit_need& need, fit_counter& counter);
  bool release_next(const unit_need& need, fit_counter& counter);
  void give(const unit_need& need, fit_counter& counter, std::uint32_t node, std::uint32_t cores,
            std::uint64_t memory_bytes);

  const slot_table& slots_;
  instant at_ = 0;
  std::vector<hypothetical> rooms_;
  slot_table::end_order::const_iterator next_;
  end_key last_ended_{0, 0, 0};
  std::priority_queue<end_of_started, std::vector<end_of_started>, std::greater<>> started_;
  std::uint64_t order_ = 0;
};

/// A blocked job's reservation, and what others may still use of the nodes at that time without
/// delaying it. For `chooser`: what is free now *and* then.
class reserved_future {
public:
  /// The job must fit once everything has ended.
  reserved_future(const node_pool& pool, const slot_table& slots, instant now,
                  const unit_need& need);

  instant at() const { return at_; }
  end_key last_ended() const { return last_ended_; }
  const std::vector<task_share>& shares() const { return shares_; }

  /// A unit that starts now and outlasts the shadow time takes this much of what is spare.
  void take_spare(const unit_need& need, const std::vector<task_share>& shares);

  template <class F>
  void each(F&& f) const {
    pool_.each([&](std::uint32_t i, node_room room) {
      const auto& left = spare_[i];
      room.cores = std::min(room.cores, left.cores);
      room.memory_bytes = std::min(room.memory_bytes, left.memory_bytes);
      room.idle = room.idle && left.cores == room.cores_all;
      return room.cores == 0 || f(i, room);
    });
  }

private:
  struct left_over {
    std::uint32_t cores = 0;
    std::uint64_t memory_bytes = 0;
  };

  const node_pool& pool_;
  instant at_ = never;
  end_key last_ended_;
  std::vector<task_share> shares_;
  std::vector<left_over> spare_;
};

} // namespace troupe::plan
