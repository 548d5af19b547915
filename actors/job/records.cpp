// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: turn a launcher's records into durable ends.
// Input:   records of this job from one node, in the launcher's order.
// Action:  `ended` is written, then the record is acknowledged, then everyone else is told.
// Caveats: records come again after a reconnect; what is durable already is acknowledged again.

namespace troupe::actors {

namespace {

/// Events of one append; more go with the next.
constexpr std::size_t ends_per_append_max = 65'536;

/// A new mean weighs an eighth: a few elements are enough to know whether they are short.
double blend(double mean, double value) {
  return mean <= 0 ? value : mean + (value - mean) / 8;
}

} // namespace

void job_state_machine::take_records(std::uint32_t node, std::vector<element_record>& records) {
  apply(node, take_step_records(node, records));
  go_on(node);
}

void job_state_machine::apply(std::uint32_t node, const std::vector<element_record>& records) {
  std::vector<node_record> known;
  for (const auto& record : records) {
    const auto ranged = record.what == element_record::kind::revoked ||
                        record.what == element_record::kind::refused;
    if (!ranged) {
      auto at = active_.find(record.element);
      if (at == active_.end() || at->second.incarnation != record.group.incarnation) {
        known.push_back(record_of(node, record));
        continue;
      }
    }
    switch (record.what) {
    case element_record::kind::started: take_started(node, record); break;
    case element_record::kind::exited:
    case element_record::kind::start_failed: take_exit(node, record); break;
    case element_record::kind::refused: take_refusal(node, record); break;
    case element_record::kind::revoked: take_revoked(node, record); break;
    }
  }
  acknowledge(known);
}

job_state_machine::node_record job_state_machine::record_of(std::uint32_t node,
                                                            const element_record& record) {
  return {node, node_of(node).instance().value_or(launcher_instance{}), record.sequence};
}

/// What follows from a node's news: more is ordered there, or what is idle is given back.
void job_state_machine::go_on(std::uint32_t node) {
  std::vector<chunk> chunks;
  fill(node, chunks);
  write(std::move(chunks));
  release_idle_slots(node);
  begin_waiting_steps();
  retry_preemptions();
  follow_up();
}

void job_state_machine::note_start(active_element& what, const element_record& record) const {
  if (what.started_utc_ns == 0)
    what.started_utc_ns = record.started_utc_ns;
  if (what.state == job_state::starting)
    what.state = job_state::running;
}

/// An element that was ordered for any slot of a node has, or had, this one; none if that was known
/// already.
slot_state* job_state_machine::settle(node_slots& at, active_element& what, std::uint32_t slot) {
  if (what.unit != 0 || slot >= at.slots.size() || at.slots[slot].unit == 0 || !at.slots[slot].lone)
    return nullptr;
  what.unit = at.slots[slot].unit;
  what.parts = {at.slots[slot].part};
  at.slots[slot].incarnation = what.incarnation;
  at.slots[slot].leaving = false;
  forget_queued(what, true);
  return &at.slots[slot];
}

void job_state_machine::take_started(std::uint32_t node, const element_record& record) {
  auto* found = find_element(record.element);
  if (found == nullptr)
    return;
  auto& active = *found;
  slots_on(node).unseen.erase({active.incarnation, record.element});
  if (active.returning)
    return;
  note_start(active, record);
  if (!active.nodes_running.contains(node))
    return; // told again behind its end: its slot may be another job's by now
  restore_slot(slots_on(node), record.slot, active.started_utc_ns);
  auto* slot = settle(slots_on(node), active, record.slot);
  if (!slot)
    return;
  const auto reused = slot->element != no_element;
  slot->busy = true;
  slot->element = record.element;
  if (reused && event_->spec.time_limit_s != 0)
    planner_event(plan_event::kind::refilled, slot->unit, 0, predicted_end(world_.clock.utc()));
}

/// What a node's ranks used, and how they failed, if they are the first to.
void job_state_machine::note_exit(active_element& what, const element_record& record) const {
  what.ended_utc_ns = std::max(what.ended_utc_ns, record.ended_utc_ns);
  what.user_us += record.user_us;
  what.system_us += record.system_us;
  what.max_rss_bytes = std::max(what.max_rss_bytes, record.max_rss_bytes);
  const auto failed_start = record.what == element_record::kind::start_failed;
  const auto bad = failed_start || record.timed_out || record.exit_code != 0 || record.signal != 0;
  if (!bad || what.verdict)
    return;
  const auto& spec = spec_of(what);
  exit_report report;
  report.state = record.timed_out ? job_state::timed_out : job_state::failed;
  report.exit_code = record.exit_code;
  report.signal = record.signal;
  if (failed_start)
    report.reason = record.text;
  else if (record.timed_out)
    report.reason = fmt::format("reached its time limit of {} s", spec.time_limit_s);
  else if (spec.tasks > 1 && !spec.batch)
    report.reason = fmt::format("rank {} ended first", record.rank);
  what.verdict = std::move(report);
}

void job_state_machine::take_exit(std::uint32_t node, const element_record& record) {
  const auto element = record.element;
  auto* found = find_element(element);
  if (found == nullptr)
    return;
  auto& active = *found;
  note_start(active, record);
  // Its steps run on in its slot, also when both go back to before a restart.
  const auto goes_on = has_steps(element, active);
  if (goes_on)
    restore_slot(slots_on(node), record.slot, active.started_utc_ns);
  // It may have ended before its start was told: then the next one has its slot already.
  if (auto* slot = settle(slots_on(node), active, record.slot); slot && !slot->busy)
    slot->element = element;
  active.unacknowledged.push_back(record_of(node, record));
  if (active.nodes_running.erase(node) == 0)
    return;
  active.unsent.erase(node);
  const auto failed_before = active.verdict.has_value();
  if (record.what == element_record::kind::start_failed && record.passes)
    note_shortage(node, element, active, record);
  else
    note_exit(active, record);
  if (active.verdict && !failed_before && !event_->spec.notify_failures)
    end_other_nodes(element, active, node);
  if (record.leftovers_ended > 0)
    world_.log->info("job {}: {} processes that {} left behind on node {} were ended", job_,
                     record.leftovers_ended, format_id(job_, element), node);
  auto& at = slots_on(node);
  if (record.what == element_record::kind::exited) {
    at.refusals.reset();
    active.ran = active.ran || active.parts.size() > 1;
  }
  at.unseen.erase({active.incarnation, element});
  forget_queued(active);
  if (active.unit != 0 && record.slot < at.slots.size() && at.slots[record.slot].lone &&
      at.slots[record.slot].element == element)
    at.slots[record.slot].busy = goes_on;
  if (active.ended_utc_ns > active.started_utc_ns && active.started_utc_ns > 0)
    mean_run_ns_ =
        blend(mean_run_ns_, static_cast<double>(active.ended_utc_ns - active.started_utc_ns));
  part_over(element, active);
}

/// Nothing of it ran on this node for want of something that may come back: it waits again once the
/// other nodes have ended theirs.
void job_state_machine::note_shortage(std::uint32_t node, std::uint32_t element,
                                      active_element& what, const element_record& record) {
  what.again = record.text;
  what.again_due = hold_node(node, record.text);
  end_other_nodes(element, what, node);
}

/// Nothing of it runs any more: it waits again. But where some of it has run, it runs a second time
/// only if that was asked for; MPI ranks do not begin without each other. What was lost stays lost.
void job_state_machine::run_again(std::uint32_t element, active_element& what) {
  if (what.ran && what.verdict && what.verdict->state == job_state::lost)
    return element_over(element, what);
  if (!what.ran || is_mpi() || event_->spec.requeue)
    return put_back(element, what, std::string{what.again}, what.again_due);
  what.verdict = exit_report{job_state::lost, 0, 0,
                             fmt::format("a part of it could not be started while others ran: {}; "
                                         "submit it again if it is to run again",
                                         what.again)};
  element_over(element, what);
}

/// Nothing of it runs any more, and its shepherds have said their last words: it is over, or waits
/// again. A shepherd has its last word after the last step that it serves: of what was to end, the
/// steps do not wait for it.
void job_state_machine::part_over(std::uint32_t element, active_element& what) {
  if (what.ending || what.returning)
    return;
  const auto to_end = what.cancelled || what.preempted || what.verdict || !what.again.empty();
  if (what.nodes_running.empty() && to_end)
    (void)wait_for_steps(element, what);
  if (!what.nodes_running.empty() || !what.shepherds.empty())
    what.state = job_state::completing;
  else if (wait_for_steps(element, what))
    return;
  else if (!what.again.empty() && !what.cancelled)
    run_again(element, what);
  else
    element_over(element, what);
}

/// A failed rank ends the element everywhere.
void job_state_machine::end_other_nodes(std::uint32_t element, const active_element& what,
                                        std::uint32_t except) {
  for (auto node : what.nodes_running)
    if (node != except)
      tell_node(
          node,
          end_group{{job_, what.incarnation, what.step}, element, element, spec_of(what).grace_s});
}

/// Elements that were withdrawn before they started are unstarted again, in a new incarnation.
void job_state_machine::take_revoked(std::uint32_t node, const element_record& record) {
  std::vector<std::uint32_t> elements, wide;
  for (auto at = active_.lower_bound(record.element);
       at != active_.end() && at->first <= record.element_last; ++at) {
    const auto& active = at->second;
    if (active.incarnation == record.group.incarnation && !active.ending && !active.returning &&
        active.nodes_running.contains(node))
      (active.unit == 0 ? elements : wide).push_back(at->first);
  }
  for (auto element : wide) {
    auto* found = find_element(element);
    if (found == nullptr)
      continue;
    auto& active = *found;
    active.nodes_running.erase(node);
    part_lost(element, active, "a part of it was withdrawn before it started");
  }
  for (auto element : elements) {
    auto* found = find_element(element);
    if (found == nullptr)
      continue;
    auto& active = *found;
    forget_queued(active);
    active.nodes_running.clear();
    if (active.cancelled)
      element_over(element, active);
    else
      put_back(element, active, "withdrawn before it started");
  }
  acknowledge({record_of(node, record)});
}

exit_report job_state_machine::final_report(const active_element& what) const {
  exit_report report = what.verdict.value_or(exit_report{});
  if (what.cancelled && report.state != job_state::timed_out) {
    report.state = job_state::cancelled;
    report.reason = what.cancel_reason;
  }
  if (report.reason.empty() && report.state == job_state::completed)
    report.reason = unconnected(what);
  return report;
}

/// An element's end counts towards the job's: the worst of them is its own.
void job_state_machine::count_end(const exit_report& report) {
  switch (report.state) {
  case job_state::failed: ++failed_; break;
  case job_state::timed_out: ++timed_out_; break;
  case job_state::lost: ++lost_; break;
  case job_state::cancelled: ++cancelled_; break;
  default: ++completed_; break;
  }
  auto rank = [](job_state state) {
    constexpr std::array order{job_state::completed, job_state::cancelled, job_state::lost,
                               job_state::timed_out, job_state::failed};
    return std::find(order.begin(), order.end(), state) - order.begin();
  };
  if (!worst_ || rank(report.state) > rank(worst_->state) ||
      (report.state == worst_->state && report.exit_code > worst_->exit_code))
    worst_ = report;
}

/// Now, as the wall clock would show it had nobody set it since the job began: a run is as long as
/// it was.
utc_ns job_state_machine::end_of_run() const {
  if (started_at_)
    return row_.started_utc_ns + (world_.clock.now() - *started_at_);
  return std::max(row_.started_utc_ns, world_.clock.utc());
}

/// Nothing of the element runs any more: count its end once, and write it with the next batch.
void job_state_machine::element_over(std::uint32_t element, active_element& what) {
  if (what.ending || what.returning || wait_for_steps(element, what) ||
      requeues_preempted(element, what))
    return;
  what.ending = true;
  what.state = job_state::completing;
  if (what.ended_utc_ns == 0)
    what.ended_utc_ns = std::max(what.started_utc_ns, world_.clock.utc());
  const auto report = final_report(what);
  what.verdict = report;
  count_end(report);
  to_write_.push_back(element);
}

std::uint32_t job_state_machine::cores_of(const active_element& what) {
  std::size_t cores = 0;
  for (const auto& part : what.parts)
    cores += part.cores.size();
  return static_cast<std::uint32_t>(cores);
}

double job_state_machine::core_seconds_of(const active_element& what) {
  if (what.started_utc_ns == 0 || what.ended_utc_ns <= what.started_utc_ns)
    return 0;
  return static_cast<double>(what.ended_utc_ns - what.started_utc_ns) / ns_per_s * cores_of(what);
}

ledger_entry job_state_machine::end_entry(std::uint32_t element, const active_element& what) {
  ended_event ended;
  ended.exit = *what.verdict;
  ended.started_utc_ns = what.started_utc_ns;
  ended.ended_utc_ns = what.ended_utc_ns;
  ended.user_us = what.user_us;
  ended.system_us = what.system_us;
  ended.max_rss_bytes = what.max_rss_bytes;
  ended.cores = cores_of(what);
  ended.user = event_->identity.user;
  ended.account = event_->spec.account;
  ended.time_limit_s = event_->spec.time_limit_s;
  auto view = element_row(element, what);
  view.state = what.verdict->state;
  ended.nodelist = view.nodelist;
  ledger_entry entry;
  entry.job = job_;
  entry.element = element;
  entry.incarnation = what.incarnation;
  entry.what = ledger_entry::kind::ended;
  entry.encoded = to_cbor(ended);
  entry.element_end = std::move(view);
  entry.uid = event_->identity.uid;
  return entry;
}

/// Nothing is left of the job but its own end.
bool job_state_machine::is_over() const {
  return waiting_count() == 0 && asks_in_flight_ == 0 && writer_.is_idle() &&
         row_.ended_utc_ns == 0 &&
         std::all_of(active_.begin(), active_.end(),
                     [](const auto& each) { return each.second.ending; });
}

/// Writes the ends that are due; with the job's own end, when they are the last.
void job_state_machine::write_ends() {
  if (finished_ || writer_.due() != 0 || (to_write_.empty() && !(active_.empty() && is_over())))
    return;
  auto batch = std::make_shared<ends_batch>();
  writer_.insist(
      "ends", [this, batch] { return end_entries(*batch); },
      [this, batch](const entries_kept&) {
        row_ = batch->row;
        ends_kept(batch->elements);
      });
}

/// Those of the batch and those that came since, as many as one append takes.
std::optional<append_entries> job_state_machine::end_entries(ends_batch& batch) {
  const auto more = std::min(to_write_.size(), ends_per_append_max - batch.elements.size());
  const auto upto = to_write_.begin() + static_cast<std::ptrdiff_t>(more);
  batch.elements.insert(batch.elements.end(), to_write_.begin(), upto);
  to_write_.erase(to_write_.begin(), upto);
  append_entries entries;
  entries.essential = true;
  for (auto element : batch.elements)
    if (const auto* ended = find_element(element))
      entries.entries.push_back(end_entry(element, *ended));
  update_row();
  batch.row = row_;
  if (to_write_.empty() && is_over()) {
    const auto worst = worst_.value_or(exit_report{job_state::cancelled, 0, 0, ""});
    batch.row.state = worst.state;
    batch.row.exit_code = worst.exit_code;
    batch.row.signal = worst.signal;
    batch.row.reason = worst.reason;
    batch.row.elements_running = 0;
    batch.row.ended_utc_ns = end_of_run();
    if (entries.entries.empty()) {
      ledger_entry finished;
      finished.job = job_;
      finished.what = ledger_entry::kind::finished;
      entries.entries.push_back(std::move(finished));
    }
    entries.entries.back().finishes = true;
  }
  if (entries.entries.empty())
    return std::nullopt;
  entries.entries.back().row = batch.row;
  entries.entries.back().uid = event_->identity.uid;
  return entries;
}

void job_state_machine::ends_kept(const std::vector<std::uint32_t>& elements) {
  std::vector<node_record> durable;
  for (auto element : elements) {
    auto at = active_.find(element);
    if (at == active_.end())
      continue;
    auto& active = at->second;
    durable.insert(durable.end(), active.unacknowledged.begin(), active.unacknowledged.end());
    ends_.push_back({job_, element, *active.verdict, core_seconds_of(active), active.ended_utc_ns,
                     active.started_utc_ns});
    free_unit(active, element);
    active_.erase(at);
    answer_parked(element);
  }
  acknowledge(durable);
}

/// What these records told is durable: their launchers may forget it.
void job_state_machine::acknowledge(const std::vector<node_record>& records) {
  std::map<std::pair<std::uint32_t, launcher_instance>, acknowledge_records> by_launcher;
  for (const auto& [node, instance, sequence] : records)
    by_launcher[{node, instance}].sequences.push_back(sequence);
  for (auto& [launcher, message] : by_launcher) {
    message.instance = launcher.second;
    tell_node(launcher.first, std::move(message));
  }
}

/// A wide element's unit is its own; lone ones' are freed with their slots.
void job_state_machine::free_unit(const active_element& what, std::uint32_t element) {
  auto wide = false;
  for (auto& [node, at] : nodes_) {
    for (auto& slot : at.slots) {
      if (slot.unit == 0 || slot.lone || slot.element != element)
        continue;
      wide = true;
      slot = {};
    }
    while (!at.slots.empty() && at.slots.back().unit == 0)
      at.slots.pop_back();
  }
  if (wide)
    planner_event(plan_event::kind::ended, what.unit);
}

} // namespace troupe::actors
