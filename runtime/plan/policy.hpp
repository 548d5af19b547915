// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/order.hpp"
#include "runtime/plan/types.hpp"

namespace troupe::plan {

/// How much may run at once; 0: no limit. Cores are those asked for, also of exclusive jobs.
struct run_limits {
  std::uint32_t units = 0;
  std::uint64_t cores = 0;

  bool operator==(const run_limits&) const = default;
};

/// A queue as the core sees it; who may use it, and times, are checked by the caller.
struct queue_config {
  std::int64_t priority = 0; ///< weighed by `priority_config::queue`
  run_limits all{};          ///< of all its jobs
  run_limits per_user{};     ///< of each user's jobs in it
  /// Queues whose units may be requeued so that a job of this one can start.
  std::vector<queue_index> preempts{};
  /// How long a preempted unit of this queue goes on.
  duration grace = 0;
};

/// Jobs go by priority, highest first:
///
///     age · (time since submission / age_period) + size · (cores / cores of the cluster)
///       + queue · (the queue's priority) + share · (its account's factor, 0 … 1) − nice · (its
///       nice)
///
/// Age is the same for all and never stops growing, so that the order of two jobs changes only with
/// shares and settings, never with time alone. `job_request::priority` goes before all of this.
struct priority_config {
  double age = 0, size = 0, queue = 0, share = 0, nice = 0;
  duration age_period = 7 * 24 * 3600; ///< in the caller's unit; above 0

  bool operator==(const priority_config&) const = default;
};

struct planner_config {
  bool backfill = true; ///< EASY; false: plain first come first served
  /// Assumed for units without a time limit; 0: they are taken to end after all others, in the
  /// order in which they started.
  duration unknown_limit = 0;
  /// Classes of jobs tried behind the reservations in one pass; 0: all.
  std::uint32_t backfill_depth = 0;
  std::uint32_t starts_per_pass_max = 65536;
  /// Units simulated for the expected start of one job when no estimates were handed in.
  std::uint32_t estimate_units_max = 1000;
  /// So many blocked jobs, in queue order, have a reservation; with as many as jobs it is
  /// conservative backfilling.
  std::uint32_t reservations = 100;
  /// `fcfs`: by priority. With any other the queue's priority goes first, then this.
  queue_order order = queue_order::fcfs;
  /// In which those behind the reservations are tried; `fcfs`: in the order of the queue.
  queue_order backfill_order = queue_order::fcfs;
  /// After so long a wait a job goes before all who have not waited so long, whatever the order; 0:
  /// none, but with the order `slowdown` a bound of its own (see `overtake_bound`).
  duration overtake_limit = 0;
  duration second = 1; ///< how long a second is in the caller's unit: the orders' formulas need it
};

} // namespace troupe::plan
