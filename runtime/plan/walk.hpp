// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/policy.hpp"
#include "runtime/plan/queue.hpp"

#include <vector>

namespace troupe::plan {

/// May a job be overtaken for as long as others come that go first?
enum class overtaking : std::uint8_t {
  free,
  bounded_among_equals, ///< who is overdue goes first among those of equal priority
  bounded,              ///< he goes before all, but for a priority that was set
};

/// What a job's place follows from, beside its own.
struct ordering {
  queue_order order = queue_order::fcfs;
  overtaking bound = overtaking::free;
  bool computed = false;   ///< not what the queue's own keys say
  bool by_priority = true; ///< by the formula, before the order
  duration second = 1;

  /// The queue is always sorted like this; otherwise it is sorted for each walk, as far as needed.
  bool is_static() const { return !computed && bound == overtaking::free; }
  double score(const order_view& view, instant now) const {
    return order_key(order, {view.estimate, view.processors, view.submitted, never}, now / second);
  }
  queue_key key_at(queue_key key, const order_view& view, instant now) const;
};

/// A class where the queue is not sorted as it is walked.
struct ranked_class {
  std::uint64_t rank = 0; ///< by all that goes before the score
  double score = 0;
  std::uint64_t seq = 0;
  job_class* group = nullptr;
  duration limit = never;
  least_need least;

  bool operator<(const ranked_class& other) const {
    if (rank != other.rank)
      return rank < other.rank;
    if (score != other.score)
      return score < other.score;
    return seq != other.seq ? seq < other.seq : group->head.id < other.group->head.id;
  }
};

/// Goes through the waiting jobs in order, one of each class unless asked for more: who stands for
/// others that cannot start when it cannot.
class queue_walk {
public:
  /// `ranks` is the walk's to use.
  queue_walk(const job_queue& queue, const ordering& by, instant now,
             std::vector<ranked_class>& ranks);

  /// The next class by its first job, or a class that was kept by its next; nullptr at the end.
  const class_head* next();
  /// Who that is.
  job_record& job();

  /// That job goes on waiting, and so will all of its class: they are to be given, too.
  void keep_class();
  /// A unit of it has started: whoever is first in its class now comes in turn.
  void started();
  /// From now on classes may be left out that these turn down; they stay valid.
  void narrow(const room_bounds& free, const failed_needs& failed);

private:
  using cursor = std::set<queued>::const_iterator;
  struct entry {
    queue_key key;
    class_head head;
    cursor at;
    bool operator<(const entry& other) const { return other.key < key; } // for a heap
  };

  void rank_all();
  template <class F>
  void leave_out(F&& unwanted);
  void sort_on();
  const class_head* fresh();
  void push(const class_head& head, cursor at);

  const job_queue* queue_;
  ordering by_;
  instant now_;
  job_queue::head_list::position fresh_; ///< where the queue is always sorted
  std::vector<ranked_class>* ranks_;     ///< where it is not: the first `sorted_` are
  std::size_t next_ = 0, sorted_ = 0;
  class_head row_;       ///< of the class at `next_`
  bool has_row_ = false; ///< it has been made
  const failed_needs* failed_ = nullptr;
  bool ranked_ = false;
  std::vector<entry> kept_; ///< a heap
  class_head current_;
  cursor at_{};
  bool at_first_ = false; ///< `at_` is to be found in `current_`
};

} // namespace troupe::plan
