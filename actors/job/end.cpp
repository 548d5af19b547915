// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: end, signal and withdraw elements.
// Input:   ranges of elements; none means all.
// Action:  what has not been placed is withdrawn durably before the answer; what runs gets SIGTERM,
//          its grace time, SIGKILL, by its launcher, and its end comes as any other. That it is to
//          end is durable before the answer, too: after a restart its launcher is told again.
// Caveats: an element whose order is on its way is ended right behind it.

namespace troupe::actors {

namespace {

bool in_ranges(const std::vector<number_range>& ranges, std::uint32_t element) {
  return ranges.empty() ||
         std::any_of(ranges.begin(), ranges.end(), [&](const number_range& range) {
           return range.first <= element && element <= range.last;
         });
}

} // namespace

caf::result<jobs_changed> job_state_machine::cancel(request<cancel_elements>& what) {
  const auto uid = event_->identity.uid;
  if (auto ok =
          what.cap.permits(verb::job_cancel, verb::job_cancel_any, uid, job_, world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  const auto& ranges = what.msg.ranges;
  const auto placed = cancel_active(ranges, what.msg.reason);
  auto withdrawn = withdraw(ranges);
  jobs_changed changed;
  changed.elements = placed.count();
  for (const auto& [incarnation, elements] : withdrawn)
    changed.elements += elements.count();
  changed.jobs = changed.elements > 0 ? 1 : 0;
  for (auto& [node, at] : nodes_)
    release_idle_slots(node);
  if (changed.elements == 0)
    return changed;
  auto promise = self_->make_response_promise<jobs_changed>();
  // The job's own end waits for this: no end is written while an append is under way.
  ++writes_in_flight_;
  ask(self_, links_.ledger, cap_, cancel_entries(what.msg, withdrawn, placed))
      .then(
          [this, promise, changed](entries_kept&) mutable {
            --writes_in_flight_;
            promise.deliver(changed);
            write_ends();
            publish();
          },
          [this, promise, withdrawn](caf::error& why) mutable {
            --writes_in_flight_;
            restore(withdrawn);
            promise.deliver(why);
            publish();
          });
  publish();
  return promise;
}

/// What is to be remembered of a cancel, in events of bounded size.
append_entries
job_state_machine::cancel_entries(const cancel_elements& what,
                                  const std::map<std::uint32_t, interval_set>& withdrawn,
                                  const interval_set& placed) {
  std::vector<cancelled_event> events(1);
  auto take = [&](const interval_set& elements, auto member) {
    for (auto [first, last] : elements.intervals()) {
      if ((events.back().*member).size() == cancelled_ranges_max)
        events.emplace_back();
      (events.back().*member).push_back({first, last});
    }
  };
  for (const auto& [incarnation, elements] : withdrawn)
    take(elements, &cancelled_event::elements);
  take(placed, &cancelled_event::placed);
  append_entries entries;
  entries.essential = !placed.empty(); // what runs can be ended though the disk is full
  for (auto& event : events) {
    event.by_uid = what.by_uid;
    event.reason = what.reason;
    ledger_entry entry;
    entry.job = job_;
    entry.what = ledger_entry::kind::cancelled;
    entry.encoded = to_cbor(event);
    entry.uid = event_->identity.uid;
    entries.entries.push_back(std::move(entry));
  }
  update_row();
  entries.entries.back().row = row_;
  return entries;
}

/// Takes unstarted elements out; what was taken, by incarnation.
std::map<std::uint32_t, interval_set>
job_state_machine::withdraw(const std::vector<number_range>& ranges) {
  std::map<std::uint32_t, interval_set> taken;
  for (auto& [incarnation, elements] : unstarted_) {
    interval_set gone;
    for (auto [first, last] : elements.intervals()) {
      if (ranges.empty())
        gone.insert(first, last);
      for (const auto& range : ranges) {
        auto low = std::max<std::uint64_t>(first, range.first);
        auto high = std::min<std::uint64_t>(last, range.last);
        if (low <= high)
          gone.insert(static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(high));
      }
    }
    for (auto [first, last] : gone.intervals())
      elements.erase(first, last);
    cancelled_ += static_cast<std::uint32_t>(gone.count());
    if (!gone.empty())
      taken[incarnation] = std::move(gone);
  }
  if (!taken.empty() && !worst_)
    worst_ = exit_report{job_state::cancelled, 0, 0, ""};
  if (!taken.empty())
    planner_event(plan_event::kind::pending_changed, 0,
                  static_cast<std::uint32_t>(unstarted_count()));
  return taken;
}

/// The withdrawal was not kept: the elements wait again, each in its incarnation.
void job_state_machine::restore(const std::map<std::uint32_t, interval_set>& withdrawn) {
  for (const auto& [incarnation, elements] : withdrawn) {
    for (auto [first, last] : elements.intervals())
      unstarted_[incarnation].insert(first, last);
    cancelled_ -= static_cast<std::uint32_t>(elements.count());
  }
  if (cancelled_ == 0 && worst_ && worst_->state == job_state::cancelled)
    worst_.reset();
  planner_event(plan_event::kind::pending_changed, 0,
                static_cast<std::uint32_t>(unstarted_count()));
}

/// Ends placed elements: one message per node and run of neighbours. Those that nobody had
/// cancelled before.
interval_set job_state_machine::cancel_active(const std::vector<number_range>& ranges,
                                              const std::string& reason) {
  interval_set changed;
  std::map<std::pair<std::uint32_t, std::uint32_t>, interval_set> by_node;
  for (auto& [element, active] : active_) {
    if (active.ending || !in_ranges(ranges, element))
      continue;
    if (!active.cancelled) {
      changed.insert(element, element);
      active.cancelled = true;
      active.cancel_reason = reason;
    }
    if (active.ordered)
      for (auto node : active.nodes_running)
        by_node[{node, active.incarnation}].insert(element, element);
  }
  for (const auto& [key, elements] : by_node)
    for (auto [first, last] : elements.intervals())
      tell(slots_on(key.first).entry->actor, cap_,
           end_group{{job_, key.second, 0}, first, last, event_->spec.grace_s});
  return changed;
}

caf::result<jobs_changed> job_state_machine::signal(request<signal_elements>& what) {
  const auto uid = event_->identity.uid;
  if (auto ok =
          what.cap.permits(verb::job_signal, verb::job_signal_any, uid, job_, world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  jobs_changed changed;
  std::map<std::pair<std::uint32_t, std::uint32_t>, interval_set> by_node;
  for (const auto& [element, active] : active_) {
    if (active.state != job_state::running || !in_ranges(what.msg.ranges, element))
      continue;
    ++changed.elements;
    for (auto node : active.nodes_running)
      by_node[{node, active.incarnation}].insert(element, element);
  }
  for (const auto& [key, elements] : by_node)
    for (auto [first, last] : elements.intervals())
      tell(slots_on(key.first).entry->actor, cap_,
           signal_group{{job_, key.second, 0}, first, last, what.msg.signal});
  // Its steps are as much the job as its script is.
  for (const auto& [number, step] : steps_)
    if (in_ranges(what.msg.ranges, step.element))
      signal_ranks(step, what.msg.signal);
  changed.jobs = changed.elements > 0 ? 1 : 0;
  if (changed.elements == 0)
    return auth::to_caf(
        error{errc::conflict, fmt::format("job {} runs nothing that a signal could reach; it is {}",
                                          job_, to_string(row_.state))});
  return changed;
}

/// Without the lease, what waits at a launcher is withdrawn: somebody else comes first.
void job_state_machine::set_lease(bool allowed) {
  lease_ = allowed;
  std::vector<chunk> chunks;
  for (auto& [node, at] : nodes_) {
    if (allowed) {
      fill(node, chunks);
      continue;
    }
    // With nothing left to order, the lease went because nothing needs it, not for somebody else.
    if (at.queued == 0 || unstarted_count() == 0)
      continue;
    std::set<std::uint32_t> incarnations;
    for (const auto& [element, active] : active_)
      if (active.unit == 0 && active.node == node && active.ordered)
        incarnations.insert(active.incarnation);
    for (auto incarnation : incarnations)
      tell(at.entry->actor, cap_, revoke_group{{job_, incarnation, 0}, 0});
  }
  write(std::move(chunks));
  publish();
}

} // namespace troupe::actors
