// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: turn a launcher's records of steps into durable ends.
// Input:   records of groups beyond step 0.
// Action:  `step_ended` is written, then the records are acknowledged and the group forgotten, then
//          whoever waits is told, and the step's cores go to the next one.
// Caveats: an element whose own ranks have ended ends its steps, and is over when they are.

namespace troupe::actors {

/// Takes those of steps; what is left is of step 0.
std::vector<element_record>
job_state_machine::take_step_records(std::uint32_t node, std::vector<element_record>& records) {
  std::vector<element_record> rest;
  std::vector<node_record> known;
  std::set<group_key> over;
  for (auto& record : records) {
    if (record.group.step == 0) {
      rest.push_back(std::move(record));
    } else if (!take_step_record(node, record)) {
      known.push_back(record_of(node, record));
      if (ended_steps_.contains(record.group.step))
        over.insert(record.group);
    }
  }
  acknowledge(known);
  for (const auto& group : over) // that it has ended was durable, and not told before a restart
    tell_node(node, forget_group{group});
  return rest;
}

/// False for what is durable, or of no step that is.
bool job_state_machine::take_step_record(std::uint32_t node, const element_record& record) {
  using kind = element_record::kind;
  auto* step = find_step(record.group.step);
  if (step == nullptr || step->ranks.incarnation != record.group.incarnation)
    return false;
  auto& ranks = step->ranks;
  if (record.what == kind::started) {
    note_start(ranks, record);
    return true;
  }
  if (record.what == kind::refused) {
    take_step_refusal(node, *step, record);
    return true;
  }
  const auto here = ranks.nodes_running.contains(node) && !ranks.unsent.contains(node);
  if (here && record.what == kind::start_failed && record.passes && !ranks.cancelled) {
    order_step_again(node, *step, record);
    return false; // there is no end to keep
  }
  // Told again while its end is on its way to the disk: no more durable than when told first.
  ranks.unacknowledged.push_back(record_of(node, record));
  if (!here || ranks.ending)
    return true;
  if (record.what != kind::revoked) {
    note_start(ranks, record);
    note_exit(ranks, record);
  }
  step_part_over(node, *step);
  return true;
}

/// Nothing more of it runs on this node.
void job_state_machine::step_part_over(std::uint32_t node, job_step& what) {
  what.ranks.nodes_running.erase(node);
  if (what.ranks.verdict && !spec_of(what.ranks).notify_failures)
    end_step_ranks(what);
  ranks_gone(what, node);
}

/// What passes is no end of it: it is ordered again, later.
void job_state_machine::take_step_refusal(std::uint32_t node, job_step& what,
                                          const element_record& record) {
  auto& ranks = what.ranks;
  world_.log->warn("job {}: the launcher of node {} refused step {}: {}", job_, node, ranks.step,
                   record.text);
  if (ranks.ending || !ranks.nodes_running.contains(node) || ranks.unsent.contains(node))
    return;
  if (record.passes)
    return order_step_again(node, what, record);
  if (!ranks.verdict)
    ranks.verdict =
        exit_report{job_state::failed, 0, 0, fmt::format("not started: {}", record.text)};
  step_part_over(node, what);
}

/// Nothing of it ran on this node: its order goes there again.
void job_state_machine::order_step_again(std::uint32_t node, job_step& what,
                                         const element_record& record) {
  const group_key group{job_, what.ranks.incarnation, what.ranks.step};
  const auto due = hold_node(node, record.text);
  tell(links_.authority, cap_, release_orders{group, node, what.element, what.element});
  if (record.what == element_record::kind::start_failed) {
    acknowledge({record_of(node, record)});
    tell_node(node, forget_group{group}); // it would refuse what repeats it
  }
  what.ranks.unsent.insert(node);
  if (is_nowhere(what.ranks))
    what.ranks.ordered = false;
  if (what.ranks.cancelled)
    return drop_unsent(what);
  unsent_steps_.push_back({what.ranks.step, node, due});
}

/// Ends its ranks wherever some are left.
void job_state_machine::end_step_ranks(job_step& what) {
  end_other_nodes(what.element, what.ranks, no_element);
}

/// Its ranks on a node have ended. Its shepherd there may have a last word about it.
void job_state_machine::ranks_gone(job_step& what, std::uint32_t node) {
  if (what.ranks.shepherds.contains(node)) {
    shepherd::to_shepherd frame;
    frame.forget_step = shepherd::forget_step{what.ranks.step};
    tell_its_shepherd(node, what.element, what.ranks, std::move(frame));
  }
  if (!what.ranks.nodes_running.empty()) {
    what.ranks.state = job_state::completing;
    return;
  }
  if (!what.ranks.shepherds.empty() || what.ranks.ending)
    return;
  what.ranks.ending = true;
  what.ranks.state = job_state::completing;
  if (what.ranks.ended_utc_ns == 0)
    what.ranks.ended_utc_ns = std::max(what.ranks.started_utc_ns, world_.clock.utc());
  what.ranks.verdict = final_report(what.ranks);
  if (what.spawned.spawn_request != 0 && (!what.ranks.ordered || !what.unregistered.empty()))
    answer_spawn(what.element, what.spawned, {}, what.ranks.verdict->reason);
  step_ends_.push_back(what.ranks.step);
}

void job_state_machine::write_step_ends() {
  if (step_ends_.empty() || writer_.due() != 0)
    return;
  auto batch = std::make_shared<std::vector<std::uint32_t>>();
  writer_.insist(
      "ends of steps", [this, batch] { return step_end_entries(*batch); },
      [this, batch](const entries_kept&) {
        for (auto number : *batch)
          step_end_kept(number);
        begin_waiting_steps();
      });
}

/// Of those of the batch and those that came since.
std::optional<append_entries>
job_state_machine::step_end_entries(std::vector<std::uint32_t>& batch) {
  batch.insert(batch.end(), step_ends_.begin(), step_ends_.end());
  step_ends_.clear();
  append_entries entries;
  entries.essential = true;
  for (auto number : batch) {
    const auto* found = find_step(number);
    if (found == nullptr)
      continue;
    const auto& step = *found;
    ledger_entry entry;
    entry.job = job_;
    entry.element = step.element;
    entry.incarnation = step.ranks.incarnation;
    entry.what = ledger_entry::kind::step_ended;
    entry.encoded = to_cbor(step_ended_event{number, step.ranks.verdict.value_or(exit_report{}),
                                             step.ranks.started_utc_ns, step.ranks.ended_utc_ns});
    entry.uid = event_->identity.uid;
    entries.entries.push_back(std::move(entry));
  }
  if (entries.entries.empty())
    return std::nullopt;
  return entries;
}

/// Its end is durable: its launchers may forget it, and its cores are free.
void job_state_machine::step_end_kept(std::uint32_t number) {
  auto* found = find_step(number);
  if (found == nullptr)
    return;
  auto& step = *found;
  const auto element = step.element;
  const group_key group{job_, step.ranks.incarnation, number};
  acknowledge(step.ranks.unacknowledged);
  for (const auto& part : step.ranks.parts)
    if (part.ranks > 0)
      tell_node(part.node, forget_group{group});
  const auto exit = step.ranks.verdict.value_or(exit_report{});
  step.ranks.state = exit.state;
  ended_step ended{step.request, location_of(step), view_of(step), step.spawned};
  ended.where.exit = exit;
  steps_.erase(number);
  remember_ended(number, std::move(ended));
  go_on_without_steps(element);
}

/// Whoever waits is answered; then the step that ended first is the ledger's alone, if there are
/// too many.
void job_state_machine::remember_ended(std::uint32_t number, ended_step what) {
  if (ended_steps_.insert_or_assign(number, std::move(what)).second)
    ended_order_.push_back(number);
  answer_parked_step(number);
  while (ended_order_.size() > ended_steps_max) {
    ended_steps_.erase(ended_order_.front());
    ended_order_.pop_front();
  }
}

bool job_state_machine::has_steps(std::uint32_t element, const active_element& what) const {
  return std::any_of(steps_.begin(), steps_.end(), [&](const auto& each) {
    return each.second.element == element && each.second.ranks.incarnation == what.incarnation;
  });
}

/// Nothing of the element is in its slot any more: the next one may have it, or somebody else.
void job_state_machine::leave_slot(std::uint32_t element) {
  std::vector<std::uint32_t> left;
  for (auto& [node, at] : nodes_)
    for (auto& slot : at.slots)
      if (slot.unit != 0 && slot.lone && slot.busy && slot.element == element) {
        slot.busy = false;
        left.push_back(node);
      }
  for (auto node : left)
    go_on(node);
}

/// The element's own ranks have ended: so do its steps. True while there are some.
bool job_state_machine::wait_for_steps(std::uint32_t element, active_element& what) {
  const auto last = !has_steps(element, what);
  const auto first_time = !std::exchange(what.waits_for_steps, true);
  if (last || !first_time)
    return !last;
  what.state = job_state::completing;
  if (what.ended_utc_ns == 0)
    what.ended_utc_ns = std::max(what.started_utc_ns, world_.clock.utc());
  for (auto& [number, step] : steps_)
    if (step.element == element && step.ranks.incarnation == what.incarnation)
      end_step(step, "its job came to its end");
  return true;
}

/// An element may have waited for its last step.
void job_state_machine::go_on_without_steps(std::uint32_t element) {
  begin_waiting_steps();
  if (const auto at = active_.find(element);
      at != active_.end() && at->second.waits_for_steps && !at->second.ending) {
    const auto left = at->second.nodes_running.empty() && !has_steps(element, at->second);
    part_over(element, at->second);
    if (left)
      leave_slot(element);
  }
}

} // namespace troupe::actors
