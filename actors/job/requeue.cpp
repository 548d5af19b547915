// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: let elements wait again, in their next incarnation.
// Input:   elements of which no launcher has anything any more.
// Action:  `requeued` is durable first, however long that takes; only then they are unstarted, and
//          what launchers told of them is acknowledged. Some rest before they are unstarted: what
//          kept them from starting may pass.
// Caveats: until it is durable an element stays where it was, and can be cancelled.

namespace troupe::actors {

namespace {

/// Events of one append; more go with the next.
constexpr std::size_t entries_max = 16'384;

} // namespace

/// Unstarted again, once that is durable; not before `due` (boot time).
void job_state_machine::put_back(std::uint32_t element, active_element& what,
                                 const std::string& why, boot_ns due) {
  if (what.returning || what.ending)
    return;
  what.nodes_running.clear();
  what.unsent.clear();
  what.again = why;
  what.again_due = due;
  if (wait_for_steps(element, what))
    return; // it comes here again when they have ended
  if (!what.cancelled && what.incarnation >= incarnations_max_)
    what.verdict = exit_report{
        job_state::failed, 0, 0,
        fmt::format("not started: it had to wait again {} times, which is the most there are; the "
                    "last time because: {}",
                    what.incarnation, why)};
  if (what.cancelled || what.incarnation >= incarnations_max_) {
    element_over(element, what);
    return;
  }
  what.returning = true;
  what.state = job_state::pending;
  if (what.written)
    to_return_.push_back(element);
}

/// Writes what is due; neighbours go together.
void job_state_machine::write_returns() {
  if (to_return_.empty() || writer_.due() != 0)
    return;
  auto batch = std::make_shared<std::vector<std::uint32_t>>();
  writer_.insist(
      "a requeue",
      [this, batch]() -> std::optional<append_entries> { return requeue_entries(*batch); },
      [this, batch](const entries_kept&) { returns_kept(*batch); });
}

/// For those of the batch and those that came since. What was cancelled meanwhile ends instead.
std::optional<append_entries>
job_state_machine::requeue_entries(std::vector<std::uint32_t>& batch) {
  batch.insert(batch.end(), to_return_.begin(), to_return_.end());
  to_return_.clear();
  std::sort(batch.begin(), batch.end());
  append_entries entries;
  entries.essential = true;
  std::vector<std::uint32_t> written, left;
  std::optional<requeued_event> run;
  const auto close = [&](std::uint32_t incarnation) {
    if (!run)
      return;
    ledger_entry entry;
    entry.job = job_;
    entry.element = run->element_first;
    entry.incarnation = incarnation;
    entry.what = ledger_entry::kind::requeued;
    entry.encoded = to_cbor(*run);
    entries.entries.push_back(std::move(entry));
    run.reset();
  };
  std::uint32_t incarnation = 0;
  for (auto element : batch) {
    auto* active = find_element(element);
    if (active == nullptr || !active->returning)
      continue;
    if (active->cancelled) {
      active->returning = false;
      element_over(element, *active);
      continue;
    }
    if (entries.entries.size() >= entries_max) {
      left.push_back(element);
      continue;
    }
    const auto follows = run && run->element_last + 1 == element &&
                         incarnation == active->incarnation + 1 && run->reason == active->again;
    if (!follows) {
      close(incarnation);
      incarnation = active->incarnation + 1;
      run = requeued_event{element, element, active->again};
    }
    run->element_last = element;
    written.push_back(element);
  }
  close(incarnation);
  to_return_ = std::move(left);
  batch = std::move(written);
  if (entries.entries.empty())
    return std::nullopt;
  update_row();
  entries.entries.back().row = row_;
  entries.entries.back().uid = event_->identity.uid;
  return entries;
}

void job_state_machine::returns_kept(const std::vector<std::uint32_t>& elements) {
  const auto now = world_.clock.boot();
  std::vector<node_record> durable;
  std::set<std::uint32_t> nodes;
  interval_set cancelled;
  for (auto element : elements) {
    const auto at = active_.find(element);
    if (at == active_.end())
      continue;
    auto& active = at->second;
    durable.insert(durable.end(), active.unacknowledged.begin(), active.unacknowledged.end());
    for (const auto& part : active.parts)
      nodes.insert(part.node);
    if (active.cancelled)
      cancelled.insert(element, element);
    const auto incarnation = active.incarnation + 1;
    if (active.again_due > now && !active.cancelled)
      resting_.emplace(active.again_due, resting_element{incarnation, element});
    else
      unstarted_[incarnation].insert(element, element);
  }
  acknowledge(durable);
  // The planner forgets a job that neither waits nor runs: it hears of the waiting first.
  tell_planner_of_waiting();
  for (auto element : elements) {
    const auto at = active_.find(element);
    if (at == active_.end())
      continue;
    free_unit(at->second, element);
    active_.erase(at);
    answer_parked(element);
  }
  withdraw_cancelled(cancelled);
  std::vector<chunk> chunks;
  for (auto node : nodes)
    fill(node, chunks);
  write(std::move(chunks));
  for (auto node : nodes)
    release_idle_slots(node);
}

/// Cancelled while their requeue was on its way to the disk: the ledger has them as unstarted.
void job_state_machine::withdraw_cancelled(const interval_set& elements) {
  if (elements.empty())
    return;
  std::vector<number_range> ranges;
  for (auto [first, last] : elements.intervals())
    ranges.push_back({first, last});
  cancel_elements what;
  what.ranges = ranges;
  what.by_uid = event_->identity.uid;
  what.reason = "cancelled while it was to wait again";
  auto withdrawn = std::make_shared<std::map<std::uint32_t, interval_set>>(withdraw(ranges));
  writer_.insist(
      "a cancel",
      [this, what, withdrawn]() -> std::optional<append_entries> {
        return cancel_entries(what, *withdrawn, {});
      },
      [](const entries_kept&) {});
}

/// What has rested long enough is unstarted.
void job_state_machine::wake_resting() {
  const auto now = world_.clock.boot();
  const auto upto = resting_.upper_bound(now);
  if (upto == resting_.begin())
    return;
  for (auto at = resting_.begin(); at != upto; ++at)
    unstarted_[at->second.incarnation].insert(at->second.element, at->second.element);
  resting_.erase(resting_.begin(), upto);
  tell_planner_of_waiting();
}

/// Nobody rests who is to be cancelled.
void job_state_machine::wake_resting(const std::vector<number_range>& ranges) {
  for (auto at = resting_.begin(); at != resting_.end();) {
    const auto element = at->second.element;
    const auto meant =
        ranges.empty() || std::any_of(ranges.begin(), ranges.end(), [&](const number_range& range) {
          return range.first <= element && element <= range.last;
        });
    if (!meant) {
      ++at;
      continue;
    }
    unstarted_[at->second.incarnation].insert(element, element);
    at = resting_.erase(at);
  }
}

void job_state_machine::tell_planner_of_waiting() {
  planner_event(plan_event::kind::pending_changed, 0,
                static_cast<std::uint32_t>(unstarted_count()));
}

} // namespace troupe::actors
