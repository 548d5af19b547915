// SPDX-License-Identifier: Apache-2.0
#include "actors/elements.hpp"
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
          what.cap.permits(verb::job_cancel, verb::job_cancel_any, uid, job_, world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  const auto& ranges = what.msg.ranges;
  if (auto ok = check_elements(job_, event_->spec.array, ranges); !ok)
    return auth::to_caf(ok.error());
  wake_resting(ranges);
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
  writer_.attempt(
      cancel_entries(what.msg, withdrawn, placed),
      [this, promise, changed, withdrawn, placed,
       reason = what.msg.reason](const entries_kept&) mutable {
        cancel_kept(placed);
        promise.deliver(changed);
        tell_withdrawn(withdrawn, reason);
      },
      [this, promise, withdrawn, placed](const error& why) mutable {
        restore(withdrawn);
        cancel_refused(placed);
        promise.deliver(auth::to_caf(why));
      });
  follow_up();
  return promise;
}

/// Whoever waits for an element that will not start hears of it.
void job_state_machine::tell_withdrawn(const std::map<std::uint32_t, interval_set>& withdrawn,
                                       const std::string& reason) {
  job_progress progress;
  progress.job = job_;
  progress.row = row_;
  progress.withdrawn_reason = reason;
  for (const auto& [incarnation, elements] : withdrawn)
    for (auto [first, last] : elements.intervals())
      progress.withdrawn.push_back({first, last});
  if (!progress.withdrawn.empty())
    tell(links_.scheduler, cap_, std::move(progress));
}

/// It is durable: what no launcher has of these elements never starts.
void job_state_machine::cancel_kept(const interval_set& placed) {
  for (auto [first, last] : placed.intervals())
    for (auto at = active_.lower_bound(first); at != active_.end() && at->first <= last; ++at)
      end_unsent(at->first, at->second);
}

/// Nobody will remember it: what no launcher has of these elements starts after all. What runs has
/// been told to end by now.
void job_state_machine::cancel_refused(const interval_set& placed) {
  for (auto [first, last] : placed.intervals())
    for (auto at = active_.lower_bound(first); at != active_.end() && at->first <= last; ++at) {
      auto& active = at->second;
      if (active.ending)
        continue;
      if (!is_nowhere(active) && !active.returning) {
        end_unsent(at->first, active); // the rest of it ends
        continue;
      }
      active.cancelled = false;
      for (auto node : active.unsent)
        unsent_.push_back({active.incarnation, at->first, at->first, node, 0});
    }
  send_orders();
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
  entries.essential = true; // what waits or runs can be ended though the disk is full
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
    tell_planner_of_waiting();
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
  tell_planner_of_waiting();
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
    if (active.nodes_running.empty() && !active.shepherds.empty())
      part_over(element, active); // what it spawned runs still
    for (auto node : active.nodes_running)
      if (active.ordered && !active.unsent.contains(node))
        by_node[{node, active.incarnation}].insert(element, element);
  }
  for (const auto& [key, elements] : by_node)
    for (auto [first, last] : elements.intervals())
      tell_node(key.first, end_group{{job_, key.second, 0}, first, last, event_->spec.grace_s});
  return changed;
}

caf::result<jobs_changed> job_state_machine::signal(request<signal_elements>& what) {
  const auto uid = event_->identity.uid;
  if (auto ok =
          what.cap.permits(verb::job_signal, verb::job_signal_any, uid, job_, world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (auto ok = check_elements(job_, event_->spec.array, what.msg.ranges); !ok)
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
      tell_node(key.first, signal_group{{job_, key.second, 0}, first, last, what.msg.signal});
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
      if (active.unit == 0 && active.node == node && active.ordered && active.unsent.empty())
        incarnations.insert(active.incarnation);
    for (auto incarnation : incarnations)
      at.node.tell(cap_, revoke_group{{job_, incarnation, 0}, 0});
  }
  write(std::move(chunks));
  follow_up();
}

} // namespace troupe::actors
