// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/advance.hpp"
#include "runtime/plan/blocked_list.hpp"
#include "runtime/plan/fit.hpp"
#include "runtime/plan/limits.hpp"
#include "runtime/plan/nodes.hpp"
#include "runtime/plan/order.hpp"
#include "runtime/plan/room_bounds.hpp"
#include "runtime/plan/shared_table.hpp"
#include "runtime/plan/types.hpp"

#include <map>
#include <memory>
#include <set>

namespace troupe::plan {

/// The order of the queue: higher priority as set, then who is overdue, then the higher priority by
/// the formula, the lower score, and earlier submission.
struct queue_key {
  std::int64_t priority = 0;
  double points = 0; ///< by the formula of `priority_config`
  double score = 0;  ///< what the order says
  std::uint64_t seq = 0;
  job_id id = 0;
  bool overdue = false;

  bool operator==(const queue_key&) const = default;
  bool operator<(const queue_key& other) const {
    if (priority != other.priority)
      return priority > other.priority;
    if (overdue != other.overdue)
      return overdue;
    if (points != other.points)
      return points > other.points;
    if (score != other.score)
      return score < other.score;
    return seq != other.seq ? seq < other.seq : id < other.id;
  }
};

struct job_record;
struct job_class;
struct shape_entry;

/// A job in the queue; ordered by its key, carries where to find it.
struct queued {
  queue_key key;
  job_record* job = nullptr;
  bool operator<(const queued& other) const { return key < other.key; }
};

/// What jobs of one shape have in common to be a class.
struct class_key {
  duration limit = never; ///< effective
  queue_index queue = 0;
  user_id user = 0;
  duration expected = 0; ///< 0 where no order looks at it, as for the next two
  account_id account = 0;
  std::int32_t nice = 0;

  auto operator<=>(const class_key&) const = default;
};

/// A class by its first job, with what a pass turns most of them down by.
struct class_head {
  queue_key key;
  job_class* group = nullptr;
  shape_entry* shape = nullptr;
  duration limit = never;
  least_need least{};
  order_view view{}; ///< of its first job
  bool operator<(const class_head& other) const { return key < other.key; }
};

/// Passes look at all classes: nothing to skip blocks by.
struct no_summary {
  void add(const class_head&) {}
};

/// What a snapshot knows of a shape.
struct shape_row {
  unit_need need;
  bool placeable = false; ///< by the nodes that are up, when idle
  bool inside = false;    ///< an advance reservation:
  std::vector<std::uint32_t> nodes;
  instant from = 0, to = 0;
};

/// All jobs of one shape, whatever their limits.
struct shape_entry {
  const job_shape* shape = nullptr;
  std::uint32_t row = 0; ///< in `job_queue::table`
  unit_need need;
  bool placeable = false;            ///< by the nodes that are up, when idle
  std::uint64_t no_room_in_pass = 0; ///< last pass in which it did not fit
  /// Last pass in which it did not fit beside what is planned, and the least limit with which.
  std::uint64_t not_beside_in_pass = 0;
  duration not_beside_limit = never;
  std::map<class_key, job_class> classes;
};

/// Jobs of one shape and limit that may start: when one cannot, none can. In whatever order the
/// queue is, they go as submitted among themselves.
struct job_class {
  shape_entry* shape = nullptr;
  class_key kind;
  limit_group counts_for;
  std::set<queued> waiting;
  std::size_t jobs = 0;   ///< that refer to this class, waiting or not
  queue_key head;         ///< its entry in `job_queue::heads`, if it has one
  instant overdue_at = 0; ///< of the job submitted last
  bool listed = false;

  duration limit() const { return kind.limit; }
};

/// Where a job with pending units stands.
enum class standing : std::uint8_t { none, waiting, at_array_limit, before_begin };

/// A job's reservation.
struct promise {
  instant at = 0; ///< on the planner's own axis (see timeline.hpp)
  instant until = 0;
  std::vector<task_share> shares;
};

struct job_record {
  queue_key key;
  std::uint32_t row = 0; ///< in the snapshots' table
  job_class* group = nullptr;
  std::uint32_t pending = 0, running = 0, max_running = 0;
  std::uint32_t preempted = 0; ///< units that were told to make room
  bool held = false, is_array = false;
  standing stands = standing::none;
  instant begin_time = 0, submitted = 0;
  order_view view{}; ///< in seconds, but for `overdue_at`
  queue_index queue = 0;
  user_id user = 0;
  account_id account = 0;
  std::int32_t nice = 0;
  duration expected = 0;                   ///< as told; 0: guessed
  std::shared_ptr<const promise> promised; ///< by the latest pass that made reservations

  std::uint64_t unit_cores() const;
  bool at_limit() const { return max_running > 0 && running >= max_running; }
};

/// Who waits, in order. Jobs that may not start (held, begin time, array limit) are not among the
/// waiting and delay nobody; neither are classes that the nodes now up could never place.
class job_queue {
public:
  using head_list = blocked_list<class_head, no_summary>;

  job_queue(const node_pool& pool, const advance_table& advance, run_counts& counts)
      : pool_(pool), advance_(advance), counts_(counts) {}

  job_class* join_class(const job_shape& shape, const class_key& kind);
  void leave_class(job_class* group);

  /// Moves the job to where it belongs now.
  void place(job_record& job, instant now);
  void withdraw(job_record& job);

  /// Moves the jobs whose begin time has come. True if there were any.
  bool begin_due(instant now);
  std::optional<instant> next_begin() const;

  /// Nodes came, went or changed state.
  void nodes_changed();

  /// The classes that have somebody waiting, by their first job.
  const head_list& heads() const { return heads_; }
  /// What such an entry is made of.
  static class_head head_of(job_class& group);
  const std::set<queued>& at_array_limit() const { return at_array_limit_; }
  const std::map<job_shape, shape_entry>& shapes() const { return shapes_; }
  /// The same for snapshots.
  shared_table<shape_row>& table() { return table_; }
  const shared_table<shape_row>& table() const { return table_; }

private:
  void list(job_class& group);
  bool placeable(const shape_entry& entry) const;
  void resolve_again(shape_entry& entry);

  const node_pool& pool_;
  const advance_table& advance_;
  run_counts& counts_;
  std::map<job_shape, shape_entry> shapes_;
  shared_table<shape_row> table_;
  row_numbers rows_;
  head_list heads_;
  std::set<queued> at_array_limit_;
  std::set<std::pair<instant, queued>> before_begin_;
};

/// For `chooser`: the nodes of an advance reservation that are up, idle.
struct idle_inside {
  const node_pool& pool;
  const advance_table::entry& reservation;

  template <class F>
  void each(F&& f) const {
    for (auto i : reservation.nodes)
      if (pool.at(i).up() && !f(i, pool.at(i).room_when_idle()))
        return;
  }
};

/// Resolves a shape against the nodes.
unit_need resolve(const job_shape& shape, const node_pool& pool);

} // namespace troupe::plan
