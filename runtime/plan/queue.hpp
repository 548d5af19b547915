// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/fit.hpp"
#include "runtime/plan/nodes.hpp"
#include "runtime/plan/types.hpp"

#include <map>
#include <set>

namespace troupe::plan {

/// The order of the queue: higher priority, then earlier submission.
struct queue_key {
  std::int64_t priority = 0;
  std::uint64_t seq = 0;
  job_id id = 0;

  bool operator==(const queue_key&) const = default;
  bool operator<(const queue_key& other) const {
    if (priority != other.priority)
      return priority > other.priority;
    return seq != other.seq ? seq < other.seq : id < other.id;
  }
};

struct job_record;
struct job_class;

/// A job in the queue; ordered by its key, carries where to find it.
struct queued {
  queue_key key;
  job_record* job = nullptr;
  bool operator<(const queued& other) const { return key < other.key; }
};

/// A class by its first job.
struct class_head {
  queue_key key;
  job_class* group = nullptr;
  bool operator<(const class_head& other) const { return key < other.key; }
};

/// All jobs of one shape, whatever their limits.
struct shape_entry {
  const job_shape* shape = nullptr;
  unit_need need;
  bool placeable = false;             ///< by the nodes that are up, when idle
  std::uint64_t no_room_in_pass = 0;  ///< last pass in which it did not fit
  std::uint64_t no_spare_in_pass = 0; ///< last pass in which it did not fit beside the reservation
  std::map<duration, job_class> classes; ///< by effective time limit
};

/// Jobs of one shape and limit that may start: when one cannot, none can.
struct job_class {
  shape_entry* shape = nullptr;
  duration limit = 0; ///< effective; `never` without one
  std::set<queued> waiting;
  std::size_t jobs = 0; ///< that refer to this class, waiting or not
  queue_key head;       ///< its entry in `job_queue::heads`, if it has one
  bool listed = false;
};

/// Where a job with pending units stands.
enum class standing : std::uint8_t { none, waiting, at_array_limit, before_begin };

struct job_record {
  queue_key key;
  job_class* group = nullptr;
  std::uint32_t pending = 0, running = 0, max_running = 0;
  bool held = false, is_array = false;
  standing stands = standing::none;
  instant begin_time = 0;

  bool at_limit() const { return max_running > 0 && running >= max_running; }
};

/// Who waits, in order. Jobs that may not start (held, begin time, array limit) are not among the
/// waiting and delay nobody; neither are classes that the nodes now up could never place.
class job_queue {
public:
  using head_set = std::set<class_head>;

  explicit job_queue(const node_pool& pool) : pool_(pool) {}

  job_class* join_class(const job_shape& shape, duration limit);
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
  const head_set& heads() const { return heads_; }
  const std::set<queued>& at_array_limit() const { return at_array_limit_; }
  const std::map<job_shape, shape_entry>& shapes() const { return shapes_; }

  /// How many waiting jobs are ahead of `key`.
  std::uint64_t ahead_of(const queue_key& key) const;

private:
  void list(job_class& group);

  const node_pool& pool_;
  std::map<job_shape, shape_entry> shapes_;
  head_set heads_;
  std::set<queued> at_array_limit_;
  std::set<std::pair<instant, queued>> before_begin_;
};

/// Resolves a shape against the nodes.
unit_need resolve(const job_shape& shape, const node_pool& pool);

} // namespace troupe::plan
