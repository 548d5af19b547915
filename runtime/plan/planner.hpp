// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/policy.hpp"
#include "runtime/plan/types.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace troupe::plan {

/// See estimates.hpp.
struct queue_snapshot;
struct start_estimates;

/// The scheduling core: events in, decisions out. It owns the queue's order, the free resources
/// and the reservation; it knows no clock, no disk and no actor, and the same events give the same
/// decisions on any machine. A queue by priority or by one of the orders of order.hpp, with EASY
/// backfill (Lifka, "The ANL/IBM SP scheduling system", 1995) beside as many reservations as
/// configured, over nodes, cores, GPUs and memory.
///
/// Every event costs O(log n); a pass costs O(1) when no core is free or nothing changed, else a
/// look at the nodes per reservation, one attempt per class (jobs of equal shape and limit), and
/// about a microsecond per start.
///
/// The nodes' order is the order of `add_node`; ids do not matter. Not thread-safe.
class planner_core {
public:
  explicit planner_core(planner_config config = {});
  ~planner_core();
  planner_core(planner_core&&) noexcept;
  planner_core& operator=(planner_core&&) noexcept;

  // -- nodes ------------------------------------------------------------------------------------

  /// Fails for a repeated id, no or too many cores, and groups of another length than cores.
  expected<void> add_node(const node_config& node);
  expected<void> set_node_state(node_id node, node_state wanted);

  // -- policy -----------------------------------------------------------------------------------

  /// Also the order of the queue, in which all that waits is put anew.
  void set_config(const planner_config& config);

  /// Each of these applies from the next pass on.
  void set_priorities(const priority_config& priorities);
  /// Fails for an index from `queues_max` on, and for one that preempts itself.
  expected<void> set_queue(queue_index queue, const queue_config& config);
  /// A limit over all queues; without one of their own users have the default.
  void set_user_limits(user_id user, const run_limits& limits);
  void set_default_user_limits(const run_limits& limits);
  /// Nobody has limits of their own any more.
  void forget_user_limits();
  /// What runs now has used so far, by account: cores × seconds.
  std::vector<std::pair<account_id, double>> running_usage(instant now) const;
  /// The account's fair share factor, 0 (used far beyond its share) … 1; 1 until set. See
  /// `fair_share`.
  void set_share(account_id account, double factor);

  // -- advance reservations ---------------------------------------------------------------------

  /// Fails for an id in use, an unknown node, times that are over or in the wrong order, and, with
  /// counts instead of nodes, when so many are not free then. What runs on named nodes goes on.
  /// Answers the nodes.
  expected<std::vector<node_id>> reserve(const advance_reservation& wanted);
  /// Its jobs wait as `advance` until they are cancelled or changed.
  expected<void> cancel_reservation(reservation_id id);
  std::vector<advance_reservation> advance_reservations() const;

  // -- jobs -------------------------------------------------------------------------------------

  /// A sentence with numbers if the nodes, all up and idle, could not give this; else nothing.
  std::optional<std::string> impossible(const job_shape& shape) const;

  /// Queues a job. Fails (`errc::invalid`) with what `impossible` says, (`errc::conflict`) for an
  /// id that still has units. A job is forgotten when it has neither pending nor running units.
  expected<void> submit(const job_request& job);

  /// Queues a job without asking whether it is possible: for the recovery of what was
  /// acknowledged with nodes that are not there (yet). It waits as `impossible`.
  expected<void> restore(const job_request& job);

  expected<void> hold(job_id job);
  expected<void> release(job_id job);

  /// Elements were cancelled or requeued: `pending` units remain to be started. 0 cancels what
  /// waits; what runs is untouched.
  expected<void> set_pending(job_id job, std::uint32_t pending);
  /// The job is over: what waits of it, and the units it never heard of or gave no news of, go.
  expected<void> remove(job_id job);
  expected<void> set_priority(job_id job, std::int64_t priority);
  /// For units started from now on.
  expected<void> set_time_limit(job_id job, duration limit);
  expected<void> set_begin_time(job_id job, instant begin);
  /// The array's `%` limit; 0: none. Never ends what runs.
  expected<void> set_max_running(job_id job, std::uint32_t max_running);
  /// What runs of it counts for the new queue's limits from now on.
  expected<void> set_queue_of(job_id job, queue_index queue);
  expected<void> set_nice(job_id job, std::int32_t nice);

  bool knows(job_id job) const;
  /// How long its units are planned for; `never` without a limit, nothing of a job not known.
  std::optional<duration> limit_of(job_id job) const;
  /// Units that have not started; 0 of a job that is not known.
  std::uint32_t pending(job_id job) const;

  // -- running units ----------------------------------------------------------------------------

  /// Takes the resources of a unit that ran before this planner existed (recovery). The job must
  /// have been restored, with `pending` not counting this unit (a job all of whose units run is
  /// restored with pending 0 and adopted at once); adopt in the order of their starts. Works on
  /// nodes in any state. Fails with
  /// `errc::conflict`, changing nothing, if a core or the memory is taken.
  /// What it used since it `started` counts for `running_usage`; 0: since now.
  expected<slot_id> adopt(job_id job, const placement& where, instant predicted_end,
                          instant started = 0);

  /// The same of a unit whose nodes have changed under it: it takes what there still is of its
  /// place and nobody else has, be that nothing.
  expected<slot_id> adopt_rest(job_id job, const placement& where, instant predicted_end,
                               instant started = 0);

  /// The unit is over; its resources are free for the next pass.
  expected<void> ended(job_id job, slot_id slot);
  /// What its job's user is expected to run for from now on; after a unit that ran to its own end.
  void learn(user_id user, duration limit, duration run);

  /// A decision was not carried out: frees the slot and counts its unit as pending again.
  expected<void> give_back(job_id job, slot_id slot);

  /// The unit in this slot really started later, or got more time.
  expected<void> set_predicted_end(job_id job, slot_id slot, instant predicted_end);

  /// May this array start its next element in a slot it holds without asking? True while it has
  /// pending elements and no job that could start is ahead of it in the queue. Running at its own
  /// `max_running` does not matter: a refill raises nothing.
  bool refill_allowed(job_id job) const;

  /// The job went on in its slot with `taken` further elements, one after another; the one that
  /// runs now ends at `predicted_end`. Accepted even when the lease was withdrawn in the meantime:
  /// it has happened.
  expected<void> refilled(job_id job, slot_id slot, instant predicted_end, std::uint32_t taken);

  // -- deciding ---------------------------------------------------------------------------------

  /// Decides what starts now. `now` must not fall behind an earlier pass. Changes of leases since
  /// the last pass are reported here: those withdrawn first.
  pass_result pass(instant now);

  /// When to call `pass` at the latest even if nothing happens: a begin time, an advance
  /// reservation's begin or end, a job that becomes overdue.
  std::optional<instant> next_wakeup() const;

  // -- explaining -------------------------------------------------------------------------------

  /// Why `job` waits, as of `now`; changes nothing. Its cost grows with what is ahead in the queue.
  explanation why(job_id job, instant now) const;
  /// The same without its place in the queue: for many jobs at once.
  explanation in_brief(job_id job, instant now) const;

  /// When and where would this job start, if it were submitted now? Changes nothing. Exact while
  /// fewer jobs are ahead of it than have reservations; else by a simulation of the queue.
  forecast what_if(const job_request& job, instant now) const;

  /// Everything that expected starts depend on, to be evaluated elsewhere (see `estimate_starts`):
  /// a copy that shares nothing with the planner.
  std::shared_ptr<const queue_snapshot> snapshot(instant now) const;
  /// Estimates evaluated from a snapshot, for `why` and `expected_start`.
  void take_estimates(std::shared_ptr<const start_estimates> estimates);
  /// What those estimates said of the job while so many units of it waited.
  std::optional<told_start> told_of(job_id job, std::uint32_t units) const;
  /// What `why` says, without its reasons: cheap enough for lists.
  std::optional<instant> expected_start(job_id job) const;

  /// What the first job that cannot start would be promised now.
  std::optional<reservation> head_reservation(instant now) const;

  std::vector<node_view> nodes() const;
  totals total() const;

  /// Recomputes every derived figure from the slots and compares: empty, or what is wrong. For
  /// tests and for `console`; O(everything).
  std::string audit() const;

private:
  struct state;
  std::unique_ptr<state> state_;
};

/// What the core's numbers are called.
struct wording {
  std::function<std::string(instant)> time;        ///< "14:05"
  std::function<std::string(queue_index)> queue{}; ///< "main"; without it "the queue"
};

/// One English sentence: "third in queue `main`; needs 4 nodes with 8 free cores, 2 are free now; 2
/// more by 14:05 when job 812 reaches its limit; expected start 14:05".
std::string sentence(const explanation& why, const wording& words);

/// The same as its clauses, each of which stands alone.
std::vector<std::string> reasons(const explanation& why, const wording& words);

} // namespace troupe::plan
