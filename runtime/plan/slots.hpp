// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/nodes.hpp"
#include "runtime/plan/types.hpp"

#include <set>
#include <vector>

namespace troupe::plan {

/// A running unit.
struct slot {
  job_id job = 0;
  instant predicted_end = never;
  std::uint64_t order = 0; ///< of starting: rises
  instant started = 0;
  instant since = 0; ///< of its current unit: what runs in a slot may be the next of an array
  std::uint32_t generation = 0;
  bool used = false;
  bool preempted = false; ///< told to make room by its predicted end
  std::vector<held_share> held;
};

/// When a unit ends, compared with others. Units without a known end are taken to end after all
/// that have one, in the order in which they started: so a unit that is backfilled without a limit
/// stays behind those that a reservation waits for.
struct end_key {
  instant end = never;
  std::uint64_t order = 0;
  std::uint32_t index = 0; ///< of the slot

  bool operator<(const end_key& other) const {
    return end != other.end ? end < other.end : order < other.order;
  }
};

/// Running units by number and by predicted end. A number is an index and the count of its uses, so
/// that a late message about an earlier unit finds nothing.
class slot_table {
public:
  using end_order = std::set<end_key>;

  /// A free entry, whose `held` is to be filled.
  slot_id open(job_id job, instant started, instant predicted_end) {
    std::uint32_t index = 0;
    if (free_.empty()) {
      index = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      index = free_.back();
      free_.pop_back();
    }
    auto& entry = slots_[index];
    entry.job = job;
    entry.predicted_end = predicted_end;
    entry.started = started;
    entry.since = started;
    entry.used = true;
    entry.preempted = false;
    entry.order = ++started_;
    ++entry.generation;
    ends_.insert({predicted_end, entry.order, index});
    return slot_id{entry.generation} << 32 | index;
  }

  void close(slot_id id) {
    auto& entry = slots_[index_of(id)];
    ends_.erase({entry.predicted_end, entry.order, index_of(id)});
    entry.used = false;
    entry.held.clear();
    free_.push_back(index_of(id));
  }

  slot& at(std::uint32_t index) { return slots_[index]; }
  std::uint32_t index_of(const slot& unit) const {
    return static_cast<std::uint32_t>(&unit - slots_.data());
  }

  slot* find(job_id job, slot_id id) {
    if (index_of(id) >= slots_.size())
      return nullptr;
    auto& entry = slots_[index_of(id)];
    bool same = entry.used && entry.generation == id >> 32 && entry.job == job;
    return same ? &entry : nullptr;
  }

  void set_end(slot_id id, instant predicted_end) {
    move_end(id, predicted_end, slots_[index_of(id)].order);
  }

  /// The slot's next unit started.
  void restart(slot_id id, instant predicted_end) { move_end(id, predicted_end, ++started_); }

  /// Where on the planner's axis it is predicted to end.
  static instant planned(const slot& unit) { return planned_end(unit.predicted_end, unit.order); }

  slot_id id_at(std::uint32_t index) const {
    return slot_id{slots_[index].generation} << 32 | index;
  }
  const slot& at(std::uint32_t index) const { return slots_[index]; }
  const end_order& by_end() const { return ends_; }
  /// The order that the next unit to start will have.
  std::uint64_t next_order() const { return started_ + 1; }
  std::size_t running() const { return ends_.size(); }

private:
  static std::uint32_t index_of(slot_id id) { return static_cast<std::uint32_t>(id); }

  void move_end(slot_id id, instant predicted_end, std::uint64_t order) {
    auto& entry = slots_[index_of(id)];
    auto node = ends_.extract({entry.predicted_end, entry.order, index_of(id)});
    node.value().end = entry.predicted_end = predicted_end;
    node.value().order = entry.order = order;
    ends_.insert(std::move(node));
  }

  std::vector<slot> slots_;
  std::vector<std::uint32_t> free_;
  end_order ends_;
  std::uint64_t started_ = 0;
};

} // namespace troupe::plan
