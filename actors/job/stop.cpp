// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

// Purpose: come to rest, because the cluster stops.
// Input:   the same request again and again, until nothing is left.
// Action:  what runs is ended as by a cancel; what was placed and does not run yet is withdrawn and
//          waits again; unstarted elements stay as they are, for the next start of the cluster.
// Caveats: of an element on several nodes nothing is withdrawn: a part of it may have begun. It is
//          ended once it is known to run.

namespace troupe::actors {

caf::result<elements_stopping> job_state_machine::stop(const stop_elements& what) {
  stopping_ = true;
  lease_ = false;
  withdraw_queued();
  put_back_unsent();
  elements_stopping left;
  std::vector<number_range> running;
  for (const auto& [element, active] : active_) {
    const auto alive = !active.ending && !active.returning &&
                       !(active.nodes_running.empty() && active.shepherds.empty());
    ++(alive ? left.running : left.unrecorded);
    if (!alive || active.state == job_state::starting || active.cancelled)
      continue;
    if (!running.empty() && running.back().last + 1 == element)
      running.back().last = element;
    else
      running.push_back({element, element});
  }
  const auto placed = running.empty() ? interval_set{} : cancel_active(running, what.reason);
  if (placed.empty()) {
    follow_up();
    return left;
  }
  auto promise = self_->make_response_promise<elements_stopping>();
  writer_.attempt(
      cancel_entries({{}, what.by_uid, what.reason}, {}, placed),
      [this, promise, left, placed](const entries_kept&) mutable {
        cancel_kept(placed);
        promise.deliver(left);
      },
      // They are being ended all the same: only a restart before their end would not know it.
      [promise](const error& why) mutable { promise.deliver(auth::to_caf(why)); });
  follow_up();
  return promise;
}

/// What no launcher has never ran: it waits again, durably.
void job_state_machine::put_back_unsent() {
  for (auto& [element, active] : active_) {
    if (active.ending || active.returning || active.cancelled || !is_nowhere(active) ||
        active.nodes_running.empty())
      continue;
    forget_queued(active);
    put_back(element, active, "the cluster was stopped before it started");
  }
}

/// What waits at a launcher for a slot comes back from there, and waits again here.
void job_state_machine::withdraw_queued() {
  std::set<std::pair<std::uint32_t, std::uint32_t>> groups;
  for (const auto& [element, active] : active_)
    if (active.unit == 0 && active.ordered && !active.ending && !active.cancelled)
      groups.insert({active.node, active.incarnation});
  for (const auto& [node, incarnation] : groups)
    slots_on(node).node.tell(cap_, revoke_group{{job_, incarnation, 0}, 0});
}

} // namespace troupe::actors
