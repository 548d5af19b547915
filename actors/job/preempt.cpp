// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: make room for a job of a queue that comes first.
// Input:   units of this one.
// Action:  that they are to wait again is durable first; then their launchers end them: SIGTERM,
//          the queue's grace time, SIGKILL. When all of an element has ended it is unstarted, in
//          its next incarnation. What no launcher has yet waits again at once.
// Caveats: what ends well within its grace time has completed. An element that has had all its
//          incarnations is cancelled, and so is one that reads what is streamed to it. A unit whose
//          element is not known yet is asked for again, with a back-off, by the job's one alarm:
//          the planner asks once.

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

void job_state_machine::preempt(const preempt_units& what) {
  for (auto unit : what.units)
    preempt_later_[unit] = {what.grace_s, what.reason};
  preempt_wait_.reset();
  preempt_due_ = 0;
  retry_preemptions();
  follow_up();
}

/// All that are asked for: those that cannot be preempted yet stay, each once.
void job_state_machine::retry_preemptions() {
  if (preempt_later_.empty() || preempt_due_ > world_.clock.boot())
    return;
  std::vector<std::uint32_t> elements;
  for (auto at = preempt_later_.begin(); at != preempt_later_.end();) {
    const auto& [unit, order] = *at;
    const auto is_of = [&, of = unit](const auto& each) { return each.second.unit == of; };
    const auto found = std::find_if(active_.begin(), active_.end(), is_of);
    if (found == active_.end() ? awaits_start(unit) : !may_be_preempted(found->second)) {
      ++at;
      continue;
    }
    if (found != active_.end() && !found->second.cancelled && !found->second.ending &&
        !found->second.returning) {
      found->second.preempt_reason = order.reason;
      found->second.preempt_grace_s = order.grace_s;
      if (is_nowhere(found->second))
        put_back(found->first, found->second, order.reason);
      else
        elements.push_back(found->first);
    }
    at = preempt_later_.erase(at);
  }
  preempt_due_ = preempt_later_.empty() ? 0 : world_.clock.boot() + preempt_wait_.next().count();
  write_preemptions(std::move(elements));
}

/// What is on its way to a launcher is not there yet.
bool job_state_machine::may_be_preempted(const active_element& what) {
  return what.cancelled || what.ending || what.returning || what.unsent.empty() ||
         (is_nowhere(what) && what.written);
}

/// It is durable before anything is told to end.
void job_state_machine::write_preemptions(std::vector<std::uint32_t> elements) {
  if (elements.empty())
    return;
  auto batch = std::make_shared<std::vector<std::uint32_t>>(std::move(elements));
  writer_.insist(
      "a preemption", [this, batch] { return preemption_entries(*batch); },
      [this, batch](const entries_kept&) {
        for (auto element : *batch)
          if (auto* active = find_element(element)) {
            active->preempted = true;
            end_preempted(element, *active);
          }
      });
}

/// For those that run still.
std::optional<append_entries>
job_state_machine::preemption_entries(std::vector<std::uint32_t>& batch) {
  std::erase_if(batch, [this](std::uint32_t element) {
    const auto* active = find_element(element);
    return active == nullptr || active->cancelled || active->ending || active->returning;
  });
  append_entries entries;
  std::erase_if(batch, [&](std::uint32_t element) {
    auto* active = find_element(element);
    if (active->preempted) { // asked for again
      end_preempted(element, *active);
      return true;
    }
    ledger_entry entry;
    entry.job = job_;
    entry.element = element;
    entry.incarnation = active->incarnation;
    entry.what = ledger_entry::kind::preempted;
    entry.encoded = to_cbor(requeued_event{element, element, active->preempt_reason});
    entries.entries.push_back(std::move(entry));
    return false;
  });
  if (entries.entries.empty())
    return std::nullopt;
  return entries;
}

void job_state_machine::end_preempted(std::uint32_t element, active_element& what) {
  if (what.nodes_running.empty() && !what.shepherds.empty())
    part_over(element, what); // what it spawned runs still
  for (auto node : what.nodes_running)
    tell_node(node, end_group{{job_, what.incarnation, 0}, element, element, what.preempt_grace_s});
}

/// Nothing of the element runs any more. True if it waits again.
bool job_state_machine::requeues_preempted(std::uint32_t element, active_element& what) {
  if (!what.preempted || what.cancelled || !what.verdict ||
      what.verdict->state == job_state::timed_out)
    return false;
  if (what.incarnation >= incarnations_max_) {
    what.verdict = exit_report{job_state::cancelled, 0, 0,
                               fmt::format("{}, for the last time it can be", what.preempt_reason)};
    return false;
  }
  if (event_->spec.stdin_path == "|") {
    what.verdict = exit_report{
        job_state::cancelled, 0, 0,
        fmt::format("{}; what it has read cannot be given to it again", what.preempt_reason)};
    return false;
  }
  world_.log->info("job {}: {} waits again: {}", job_, format_id(job_, element),
                   what.preempt_reason);
  what.verdict.reset();
  put_back(element, what, std::string{what.preempt_reason});
  return true;
}

} // namespace troupe::actors
