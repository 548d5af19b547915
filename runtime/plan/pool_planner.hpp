// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/order.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace troupe::plan {

enum class pool_policy : std::uint8_t {
  fcfs,         ///< nobody passes the first job that does not fit
  easy,         ///< one reservation, for the first job that does not fit
  conservative, ///< a reservation for every job (Mu'alem and Feitelson 2001)
  /// EASY whose queue goes by expected slowdown, with a bound on overtaking: ours, see
  /// docs/scheduling.md. Has orders of its own.
  slowdown,
};

std::string_view to_string(pool_policy policy);
std::optional<pool_policy> pool_policy_named(std::string_view name);

struct pool_config {
  std::uint32_t processors = 0;
  pool_policy policy = pool_policy::easy;
  queue_order order = queue_order::fcfs;
  queue_order backfill_order = queue_order::fcfs; ///< of easy
  /// After so long a wait nobody overtakes a job any more, whatever the order; 0: none, but
  /// slowdown makes its own (see `overtake_bound`). Not for conservative, which promises anyway.
  duration overtake_limit = 0;
};

struct pool_job {
  /// The caller's, from 0 without gaps, in the order of submission.
  std::uint32_t number = 0;
  std::uint32_t processors = 0;
  duration estimate = 0; ///< at least 1; what reservations are made with
  instant submitted = 0;
  duration expected = 0;      ///< what orders go by; 0: the estimate
  instant overdue_at = never; ///< set by the planner
};

struct pool_start {
  std::uint32_t number = 0;
  bool backfilled = false; ///< a job ahead of it in the queue goes on waiting

  bool operator==(const pool_start&) const = default;
};

/// What the first blocked job of `easy` was promised.
struct pool_promise {
  std::uint32_t number = 0;
  instant at = never;
};

/// The scheduling policies over a pool of interchangeable processors: events in, decisions out. For
/// replaying logs; nodes, cores and memory are `planner_core`'s. Knows no clock; times never go
/// back from one call to the next.
class pool_planner {
public:
  virtual ~pool_planner() = default;

  /// Fails for more processors than the pool has, none, and an estimate below 1.
  virtual expected<void> submit(const pool_job& job) = 0;

  /// A started job is over.
  virtual void ended(std::uint32_t number, instant now) = 0;

  /// A running job will end at `end`, not when it was predicted to. To be told before time reaches
  /// the old prediction's events: a job's processors count as free from its predicted end on.
  virtual void set_predicted_end(std::uint32_t number, instant end) = 0;

  /// Decides who starts now and appends them to `starts`, in the order of the decisions.
  virtual void pass(instant now, std::vector<pool_start>& starts) = 0;

  /// When to call `pass` next even if nothing happens; `never`: it need not be.
  virtual instant next_start() const { return never; }

  /// How many jobs have been submitted.
  virtual std::size_t submitted() const = 0;

  /// After a pass of easy: the reservation of the first job waiting, if it was needed.
  virtual std::optional<pool_promise> promise() const { return std::nullopt; }

  /// When a waiting job will start at the latest if everything goes as predicted; `never` where the
  /// policy promises nothing.
  virtual instant promised_start(std::uint32_t) const { return never; }
};

expected<std::unique_ptr<pool_planner>> make_pool_planner(const pool_config& config);

/// For planners: may this be the job of that number?
expected<void> check_pool_job(const pool_job& job, std::uint32_t processors, std::size_t number);

/// What its place in a queue follows from.
inline order_view as_ordered(const pool_job& job) {
  return {job.expected > 0 ? job.expected : job.estimate, job.processors, job.submitted,
          job.overdue_at};
}

} // namespace troupe::plan
