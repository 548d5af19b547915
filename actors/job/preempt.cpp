// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"
#include "messages/exec.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: make room for a job of a queue that comes first.
// Input:   units of this one.
// Action:  that they are to wait again is durable first; then their launchers end them: SIGTERM,
// the
//          queue's grace time, SIGKILL. When all of an element has ended it is unstarted, in its
//          next incarnation.
// Caveats: what ends well within its grace time has completed. An element that has had all its
//          incarnations is cancelled.

namespace troupe::actors {

/// Whether the unit is ours and its element has not been seen to start yet.
bool job_state_machine::awaits_start(std::uint64_t unit) const {
  const auto placed = [&](const auto& each) { return each.second.unit == unit; };
  if (std::any_of(active_.begin(), active_.end(), placed))
    return false;
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
    return std::any_of(node.second.slots.begin(), node.second.slots.end(),
                       [&](const slot_state& slot) { return slot.unit == unit; });
  });
}

void job_state_machine::preempt_soon(std::uint64_t unit, const preempt_units& what) {
  preempt_later_.push_back({{unit}, what.grace_s, what.reason});
  tick_later(self_, world_, std::chrono::milliseconds(100));
}

void job_state_machine::preempt(const preempt_units& what) {
  std::vector<std::uint32_t> elements;
  append_entries entries;
  for (auto unit : what.units)
    if (awaits_start(unit))
      preempt_soon(unit, what);
  for (auto& [element, active] : active_) {
    if (active.unit == 0 || active.ending || active.cancelled ||
        std::find(what.units.begin(), what.units.end(), active.unit) == what.units.end())
      continue;
    if (!active.ordered) {
      preempt_soon(active.unit, what);
      continue;
    }
    elements.push_back(element);
    if (active.preempted)
      continue;
    ledger_entry entry;
    entry.job = job_;
    entry.element = element;
    entry.incarnation = active.incarnation;
    entry.what = ledger_entry::kind::preempted;
    entry.encoded = to_cbor(requeued_event{element, element, what.reason});
    entries.entries.push_back(std::move(entry));
  }
  if (entries.entries.empty()) {
    end_preempted(elements, what.grace_s);
    return;
  }
  ++writes_in_flight_;
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, elements, what](entries_kept&) {
            --writes_in_flight_;
            for (auto element : elements)
              if (auto at = active_.find(element); at != active_.end()) {
                at->second.preempted = true;
                at->second.preempt_reason = what.reason;
              }
            end_preempted(elements, what.grace_s);
            write_ends();
            publish();
          },
          [this](caf::error& why) {
            --writes_in_flight_;
            world_.log->error("job {}: cannot record a preemption: {}", job_, from_caf(why).text);
            write_ends();
            publish();
          });
}

void job_state_machine::end_preempted(const std::vector<std::uint32_t>& elements,
                                      std::uint32_t grace_s) {
  for (auto element : elements) {
    auto at = active_.find(element);
    if (at == active_.end())
      continue;
    for (auto node : at->second.nodes_running)
      if (const auto& entry = slots_on(node).entry)
        tell(entry->actor, cap_,
             end_group{{job_, at->second.incarnation, 0}, element, element, grace_s});
  }
}

/// Nothing of the element runs any more. True if it waits again; `what` is gone then.
bool job_state_machine::requeues_preempted(std::uint32_t element, active_element& what) {
  if (!what.preempted || what.cancelled || !what.verdict ||
      what.verdict->state == job_state::timed_out)
    return false;
  if (what.incarnation >= incarnations_max(event_->spec)) {
    what.verdict = exit_report{job_state::cancelled, 0, 0,
                               fmt::format("{}, for the last time it can be", what.preempt_reason)};
    return false;
  }
  world_.log->info("job {}: {} waits again: {}", job_, format_id(job_, element),
                   what.preempt_reason);
  put_back(element, what, what.preempt_reason);
  return true;
}

} // namespace troupe::actors
