// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/types.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace troupe::plan {

/// The scheduling core: events in, decisions out. It owns the queue's order, the free resources
/// and the reservation; it knows no clock, no disk and no actor, and the same events give the same
/// decisions on any machine. First come first served with EASY backfill (Lifka, "The ANL/IBM SP
/// scheduling system", 1995) over cores, memory and nodes.
///
/// Every event costs O(log n); a pass costs O(1) when no core is free or nothing changed, else one
/// attempt per class (jobs of equal shape and limit) and about a microsecond per start.
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

  bool knows(job_id job) const;

  // -- running units ----------------------------------------------------------------------------

  /// Takes the resources of a unit that ran before this planner existed (recovery). The job must
  /// have been restored, with `pending` not counting this unit (a job all of whose units run is
  /// restored with pending 0 and adopted at once); adopt in the order of their starts. Works on
  /// nodes in any state. Fails with
  /// `errc::conflict`, changing nothing, if a core or the memory is taken.
  expected<slot_id> adopt(job_id job, const placement& where, instant predicted_end);

  /// The unit is over; its resources are free for the next pass.
  expected<void> ended(job_id job, slot_id slot);

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

  /// The earliest begin time of a job that waits for it: when to call `pass` at the latest.
  std::optional<instant> next_wakeup() const;

  // -- explaining -------------------------------------------------------------------------------

  /// Why `job` waits, as of `now`; changes nothing. Its cost grows with what is ahead in the queue.
  explanation why(job_id job, instant now) const;

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

/// Writes an instant for people ("14:05"); the core does not know its unit.
using instant_writer = std::function<std::string(instant)>;

/// One English sentence: "third in the queue; needs 4 nodes with 8 free cores each, 2 have them
/// now; waits for job 812 until 14:05; expected start 14:05".
std::string sentence(const explanation& why, const instant_writer& write);

} // namespace troupe::plan
