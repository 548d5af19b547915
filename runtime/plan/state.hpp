// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/advance.hpp"
#include "runtime/plan/earliest.hpp"
#include "runtime/plan/estimate.hpp"
#include "runtime/plan/limits.hpp"
#include "runtime/plan/outlook.hpp"
#include "runtime/plan/overtake_bound.hpp"
#include "runtime/plan/planner.hpp"
#include "runtime/plan/queue.hpp"
#include "runtime/plan/slots.hpp"
#include "runtime/plan/snapshot.hpp"
#include "runtime/plan/walk.hpp"

#include <unordered_map>

namespace troupe::plan {

/// What `planner_core` is made of. Its verbs are spread over planner.cpp (events), settings.cpp,
/// pass.cpp (decisions), leases.cpp, why.cpp and forecast.cpp (explanations) and audit.cpp.
struct planner_core::state {
  explicit state(planner_config c)
      : config(c), advance(pool), queue(pool, advance, counts), bound(1) {
    config.reservations = std::max(config.reservations, 1u);
    config.second = std::max<duration>(config.second, 1);
  }

  planner_config config;
  priority_config priorities;
  node_pool pool;
  advance_table advance; ///< refers to `pool`
  run_counts counts;
  job_queue queue; ///< refers to the three before
  slot_table slots;
  std::unordered_map<job_id, job_record> jobs;
  shared_table<queue_snapshot::job> job_rows;   ///< of `jobs`, for snapshots
  shared_table<queue_snapshot::unit> unit_rows; ///< of `slots`, by their index
  row_numbers job_numbers;
  std::unordered_map<account_id, double> shares;
  similar_jobs history; ///< what users' jobs ran for
  overtake_bound bound; ///< in seconds
  std::uint64_t units_pending = 0, jobs_pending = 0;
  std::uint64_t cores_all = 0;

  instant now = 0;           ///< of the latest pass
  instant sorted_at = 0;     ///< when a pass last looked at the queue
  bool changed = true;       ///< since the latest pass, so that another decision is possible
  bool scores_stale = false; ///< what priorities follow from has changed
  std::uint64_t pass_number = 0;
  std::vector<reservation> reserved;   ///< by the latest pass that looked
  std::vector<job_id> promised;        ///< who has one of these
  job_record* first_blocked = nullptr; ///< of this pass
  std::vector<job_id> leases;          ///< reported as allowed; in queue order
  std::shared_ptr<const start_estimates> estimates;
  chooser choose;
  room_bounds bounds;                  ///< of this pass
  std::vector<ranked_class> ranks;     ///< a pass's, kept for its memory
  outlook plan;                        ///< of this pass
  bool planned = false;                ///< has been made
  std::optional<instant> next_advance; ///< an advance reservation begins or ends
  earliest_search search;

  job_record* find(job_id id);
  const job_record* find(job_id id) const;
  duration effective_limit(duration asked) const;
  void set_pending(job_record& job, std::uint32_t pending);
  void forget_if_done(job_id id, job_record& job);
  void submit(const job_request& request);
  void note_started(job_record& job);
  /// It runs, and holds this already.
  slot_id adopt(job_record& job, std::vector<held_share> held, instant predicted_end,
                instant started);
  void close_slot(job_record& job, slot_id id);
  /// The nodes' timelines follow a unit that starts, ends or moves.
  void plan_unit(const slot& unit);
  void unplan_unit(const slot& unit);
  void enter_unit(const job_record& job, const slot& unit);
  queue_snapshot::limit_rows limit_rows_of(const job_record& job) const;
  template <class F>
  expected<void> rejoin(job_id id, F&& change);

  // settings.cpp
  bool own_bound() const {
    return config.order == queue_order::slowdown && config.overtake_limit == 0;
  }
  overtaking bound_kind() const;
  ordering queue_ordering() const;
  ordering backfill_ordering() const;
  queue_key key_of(const job_record& job) const;
  class_key kind_of(const job_record& job, duration limit) const;
  pool_job as_counted(const job_record& job) const;
  void enter_class(job_record& job, job_class* group) const;
  void limit_overtaking(job_record& job);
  void rescore();
  void configure(const planner_config& wanted);

  // pass.cpp
  struct easy_view;
  void start_unit(job_record& job, bool backfilled, instant end, pass_result& result);
  std::optional<instant> next_sort() const;
  /// On a plan: does the unit fit from now until `end`, and when does it at the earliest?
  bool fits_from_now(const shape_entry& shape, const outlook& on, instant end, chooser& fit) const;
  bool find_earliest(const shape_entry& shape, duration limit, const outlook& on,
                     earliest_search& with) const;
  void begin_plan();
  void forget_promises(const std::vector<job_id>& before);
  reservation describe(const job_record& job, instant at,
                       const std::vector<task_share>& where) const;
  amounts taken_by(const unit_need& need, const task_share& share) const;
  /// The first job that could start if there were room; nullptr if none waits.
  job_record* first_waiting() const;
  const job_record* first_after_pass() const;

  // why.cpp
  outlook look_ahead(const queue_key* key, instant at) const;
  void count_positions(const job_record& job, explanation& out) const;
  void explain_room(const job_record& job, instant at, explanation& out) const;
  std::optional<instant> expected_start(const job_record& job) const;

  // estimates.cpp, forecast.cpp
  std::shared_ptr<queue_snapshot> copy(instant at);
  queue_snapshot::job row_of(const job_record& job) const;
  void note(const job_record& job) { job_rows.change(job.row) = row_of(job); }
  void foresee(const job_record& job, const queue_key& key, instant at, forecast& out) const;

  // audit.cpp
  std::string audit_rows() const;

  // leases.cpp
  void report_leases(pass_result& result);
  bool may_refill(const job_record& job, const job_record* first) const;

  // preempt.cpp
  bool make_room(job_record& job, pass_result& result);
};

std::string describe_impossible(const job_shape& shape, const node_pool& pool, bool only_up);

} // namespace troupe::plan
