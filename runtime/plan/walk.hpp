// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/policy.hpp"
#include "runtime/plan/queue.hpp"

#include <vector>

namespace troupe::plan {

/// What a job's place follows from, beside its own.
struct ordering {
  queue_order order = queue_order::fcfs;
  bool by_priority = true; ///< `fcfs` by the queue's own keys
  bool bounded = false;    ///< who is overdue goes first
  duration second = 1;
  const run_counts* counts = nullptr;

  /// The queue is always sorted like this; otherwise it is sorted anew for each walk.
  bool is_static() const { return by_priority && !bounded; }
  queue_key key_at(const job_record& job, instant now) const;
};

/// Goes through the waiting jobs in order, one of each class unless asked for more: who stands for
/// others that cannot start when it cannot.
class queue_walk {
public:
  queue_walk(const job_queue& queue, const ordering& by, instant now);

  /// The next class by its first job, or a class that was kept by its next; nullptr at the end.
  const class_head* next();
  /// Who that is.
  job_record& job();

  /// That job goes on waiting, and so will all of its class: they are to be given, too.
  void keep_class();
  /// A unit of it has started: whoever is first in its class now comes in turn.
  void started();

private:
  using cursor = std::set<queued>::const_iterator;
  struct entry {
    queue_key key;
    class_head head;
    cursor at;
    bool operator<(const entry& other) const { return other.key < key; } // for a heap
  };

  const class_head* fresh() const;
  void push(const class_head& head, cursor at);

  const job_queue* queue_;
  ordering by_;
  instant now_;
  job_queue::head_list::position fresh_; ///< where the queue is always sorted
  std::vector<class_head> sorted_;       ///< where it is not
  std::size_t next_sorted_ = 0;
  std::vector<entry> kept_; ///< a heap
  class_head current_;
  cursor at_{};
  bool at_first_ = false; ///< `at_` is to be found in `current_`
};

} // namespace troupe::plan
