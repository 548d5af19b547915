// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/policy.hpp"

#include <map>
#include <unordered_map>
#include <vector>

namespace troupe::plan {

/// What runs of somebody, and how much of it may.
struct running_count {
  run_limits running;
  run_limits most;
  std::uint32_t row = 0; ///< among all counts

  bool has_room(std::uint64_t cores) const {
    return (most.units == 0 || running.units < most.units) &&
           (most.cores == 0 ||
            (running.cores <= most.cores && cores <= most.cores - running.cores));
  }
};

/// Whose limits a job's units count for. Pointers stay valid.
struct limit_group {
  queue_index queue = 0;
  running_count* of_queue = nullptr;
  running_count* of_user = nullptr;
  running_count* of_user_in_queue = nullptr;

  /// May another unit of so many cores start? `not_waiting`: yes; else whose limit says no.
  wait_reason blocked(std::uint64_t cores) const {
    if (!of_queue->has_room(cores))
      return wait_reason::queue_limit;
    return of_user->has_room(cores) && of_user_in_queue->has_room(cores) ? wait_reason::not_waiting
                                                                         : wait_reason::user_limit;
  }
  void start(std::uint64_t cores) { count(1, cores); }
  void end(std::uint64_t cores) { count(~std::uint32_t{0}, ~cores + 1); }

private:
  void count(std::uint32_t units, std::uint64_t cores) {
    for (auto* each : {of_queue, of_user, of_user_in_queue}) {
      each->running.units += units;
      each->running.cores += cores;
    }
  }
};

/// Queues' settings, and what runs of each queue and user.
class run_counts {
public:
  void set_queue(queue_index queue, const queue_config& config);
  void set_user(user_id user, const run_limits& limits);
  void set_default_user(const run_limits& limits);
  /// All users have the default.
  void forget_users();

  const queue_config& queue(queue_index queue) const;
  limit_group group_of(queue_index queue, user_id user);

  /// Each in its row.
  std::vector<running_count> all() const;

  /// Is anything limited at all?
  bool any() const { return any_; }
  /// May any queue's jobs preempt?
  bool preempting() const { return preempting_; }
  bool may_preempt(queue_index asking, queue_index running) const;

private:
  struct queue_entry {
    queue_config config;
    running_count running;
    std::unordered_map<user_id, running_count> users;
  };

  void note_limits();
  queue_entry& entry_of(queue_index queue);
  running_count& count_of(user_id user);
  void enter(running_count& count);

  std::map<queue_index, queue_entry> queues_;
  std::unordered_map<user_id, running_count> users_;
  std::unordered_map<user_id, run_limits> own_limits_;
  run_limits default_limits_;
  std::vector<const running_count*> rows_;
  bool any_ = false, preempting_ = false;
};

} // namespace troupe::plan
