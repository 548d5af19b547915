// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: end, signal and withdraw elements.
// Input:   ranges of elements; none means all.
// Action:  what has not been placed is withdrawn durably before the answer; what runs gets SIGTERM,
//          its grace time, SIGKILL, by its launcher, and its end comes as any other.
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
  auto changed = cancel_active(ranges, what.msg.reason);
  auto withdrawn = withdraw(ranges);
  for (const auto& range : withdrawn)
    changed.elements += range.last - range.first + 1;
  changed.jobs = changed.elements > 0 ? 1 : 0;
  write_ends();
  if (withdrawn.empty()) {
    publish();
    return changed;
  }
  planner_event(plan_event::kind::pending_changed, 0,
                static_cast<std::uint32_t>(unstarted_count()));
  cancelled_event event;
  event.by_uid = what.msg.by_uid;
  event.elements = withdrawn;
  event.reason = what.msg.reason;
  ledger_entry entry;
  entry.job = job_;
  entry.what = ledger_entry::kind::cancelled;
  entry.encoded = to_cbor(event);
  update_row();
  entry.row = row_;
  entry.uid = uid;
  append_entries entries;
  entries.entries.push_back(std::move(entry));
  auto promise = self_->make_response_promise<jobs_changed>();
  ++writes_in_flight_;
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, promise, changed](entries_kept&) mutable {
            --writes_in_flight_;
            promise.deliver(changed);
            write_ends();
            publish();
          },
          [this, promise, withdrawn](caf::error& why) mutable {
            --writes_in_flight_;
            for (const auto& range : withdrawn)
              unstarted_[1].insert(static_cast<std::uint32_t>(range.first),
                                   static_cast<std::uint32_t>(range.last));
            promise.deliver(why);
            publish();
          });
  return promise;
}

/// Takes unstarted elements out; what was taken.
std::vector<number_range> job_state_machine::withdraw(const std::vector<number_range>& ranges) {
  std::vector<number_range> taken;
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
    for (auto [first, last] : gone.intervals()) {
      elements.erase(first, last);
      taken.push_back({first, last});
    }
  }
  for (const auto& range : taken) {
    cancelled_ += static_cast<std::uint32_t>(range.last - range.first + 1);
    if (!worst_)
      worst_ = exit_report{job_state::cancelled, 0, 0, ""};
  }
  return taken;
}

/// Ends placed elements: one message per node and run of neighbours.
jobs_changed job_state_machine::cancel_active(const std::vector<number_range>& ranges,
                                              const std::string& reason) {
  jobs_changed changed;
  std::map<std::pair<std::uint32_t, std::uint32_t>, interval_set> by_node;
  for (auto& [element, active] : active_) {
    if (active.ending || !in_ranges(ranges, element))
      continue;
    if (!active.cancelled) {
      ++changed.elements;
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
