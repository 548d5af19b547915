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
  acknowledge_records known;
  std::set<group_key> over;
  for (auto& record : records) {
    if (record.group.step == 0)
      rest.push_back(std::move(record));
    else if (!take_step_record(node, record)) {
      known.sequences.push_back(record.sequence);
      if (ended_steps_.contains(record.group.step))
        over.insert(record.group);
    }
  }
  auto& at = slots_on(node);
  if (known.sequences.empty() || !at.entry)
    return rest;
  tell(at.entry->actor, cap_, std::move(known));
  for (const auto& group : over) // that it has ended was durable, and not told before a restart
    tell(at.entry->actor, cap_, forget_group{group});
  return rest;
}

/// False for what is known, or of no step that is.
bool job_state_machine::take_step_record(std::uint32_t node, const element_record& record) {
  const auto at = steps_.find(record.group.step);
  if (at == steps_.end() || at->second.ranks.incarnation != record.group.incarnation ||
      at->second.ranks.ending)
    return false;
  auto& step = at->second;
  auto& ranks = step.ranks;
  switch (record.what) {
  case element_record::kind::started: note_start(ranks, record); return true;
  case element_record::kind::revoked: return false;
  case element_record::kind::refused:
    world_.log->warn("job {}: the launcher of node {} refused step {}: {}", job_, node, ranks.step,
                     record.text);
    if (!ranks.verdict)
      ranks.verdict =
          exit_report{job_state::failed, 0, 0, fmt::format("not started: {}", record.text)};
    break;
  case element_record::kind::exited:
  case element_record::kind::start_failed:
    note_start(ranks, record);
    ranks.unacknowledged.push_back(record_of(node, record));
    if (!ranks.nodes_running.contains(node))
      return true;
    note_exit(ranks, record);
    break;
  }
  ranks.nodes_running.erase(node);
  if (ranks.verdict && !spec_of(ranks).notify_failures)
    end_step_ranks(step);
  ranks_gone(step, node);
  return true;
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
    what.ranks.ended_utc_ns = world_.clock.utc();
  what.ranks.verdict = final_report(what.ranks);
  if (what.spawned.spawn_request != 0 && (!what.ranks.ordered || !what.unregistered.empty()))
    answer_spawn(what.element, what.spawned, {}, what.ranks.verdict->reason);
  step_ends_.push_back(what.ranks.step);
  write_step_ends();
}

void job_state_machine::write_step_ends() {
  auto numbers = std::exchange(step_ends_, {});
  if (numbers.empty())
    return;
  append_entries entries;
  entries.essential = true;
  for (auto number : numbers) {
    const auto& step = steps_.at(number);
    ledger_entry entry;
    entry.job = job_;
    entry.element = step.element;
    entry.incarnation = step.ranks.incarnation;
    entry.what = ledger_entry::kind::step_ended;
    entry.encoded = to_cbor(step_ended_event{number, *step.ranks.verdict, step.ranks.started_utc_ns,
                                             step.ranks.ended_utc_ns});
    entry.uid = event_->identity.uid;
    entries.entries.push_back(std::move(entry));
  }
  ++writes_in_flight_;
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, numbers](entries_kept&) {
            --writes_in_flight_;
            for (auto number : numbers)
              step_end_kept(number);
            begin_waiting_steps();
            write_ends();
            publish();
          },
          [this, numbers](caf::error& why) {
            --writes_in_flight_;
            world_.log->error("job {}: cannot record ends of steps: {}; trying again", job_,
                              from_caf(why).text);
            step_ends_.insert(step_ends_.end(), numbers.begin(), numbers.end());
            tick_later(self_, world_, std::chrono::seconds(1));
          });
}

/// Its end is durable: its launchers may forget it, and its cores are free.
void job_state_machine::step_end_kept(std::uint32_t number) {
  auto& step = steps_.at(number);
  const auto element = step.element;
  const group_key group{job_, step.ranks.incarnation, number};
  acknowledge(step.ranks.unacknowledged);
  for (const auto& part : step.ranks.parts)
    if (part.ranks > 0 && slots_on(part.node).entry)
      tell(slots_on(part.node).entry->actor, cap_, forget_group{group});
  step.ranks.state = step.ranks.verdict->state;
  ended_step ended{step.request, location_of(step), view_of(step), step.spawned};
  ended.where.exit = *step.ranks.verdict;
  ended_steps_.emplace(number, std::move(ended));
  if (ended_steps_.size() > ended_steps_max)
    ended_steps_.erase(ended_steps_.begin());
  steps_.erase(number);
  answer_parked_step(number);
  go_on_without_steps(element);
}

/// The element's own ranks have ended: so do its steps. True while there are some.
bool job_state_machine::wait_for_steps(std::uint32_t element, active_element& what) {
  const auto last = std::none_of(steps_.begin(), steps_.end(), [&](const auto& each) {
    return each.second.element == element && each.second.ranks.incarnation == what.incarnation;
  });
  const auto first_time = !std::exchange(what.waits_for_steps, true);
  if (last || !first_time)
    return !last;
  what.state = job_state::completing;
  if (what.ended_utc_ns == 0)
    what.ended_utc_ns = world_.clock.utc();
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
    part_over(element, at->second);
    write_ends();
  }
  publish();
}

} // namespace troupe::actors
