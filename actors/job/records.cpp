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

/// So many incarnations of an element may be refused before it fails.
constexpr std::uint32_t orders_refused_max = 4;

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
        // Told again while it is being put back: no more durable than when it was told first.
        const auto held = putting_back_.find(record.element);
        auto& to = held == putting_back_.end() ? known : *held->second;
        to.push_back(record_of(node, record));
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
  const auto& entry = slots_on(node).entry;
  return {node, entry ? entry->instance : launcher_instance{}, record.sequence};
}

/// What follows from a node's news: more is ordered there, or what is idle is given back.
void job_state_machine::go_on(std::uint32_t node) {
  std::vector<chunk> chunks;
  fill(node, chunks);
  write(std::move(chunks));
  release_idle_slots(node);
  begin_waiting_steps();
  write_ends();
  publish();
}

void job_state_machine::note_start(active_element& what, const element_record& record) const {
  if (what.started_utc_ns == 0)
    what.started_utc_ns = record.started_utc_ns;
  if (what.state == job_state::starting)
    what.state = job_state::running;
}

/// An element that was ordered for any slot of a node has, or had, this one; none if that was known
/// already.
job_state_machine::slot_state* job_state_machine::settle(node_slots& at, active_element& what,
                                                         std::uint32_t slot) {
  if (what.unit != 0 || slot >= at.slots.size() || at.slots[slot].unit == 0 || !at.slots[slot].lone)
    return nullptr;
  what.unit = at.slots[slot].unit;
  what.parts = {at.slots[slot].part};
  at.slots[slot].incarnation = what.incarnation;
  at.queued -= std::min(at.queued, 1u);
  return &at.slots[slot];
}

void job_state_machine::take_started(std::uint32_t node, const element_record& record) {
  auto& active = active_.at(record.element);
  note_start(active, record);
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
  auto& active = active_.at(element);
  note_start(active, record);
  // It may have ended before its start was told: then the next one has its slot already.
  if (auto* slot = settle(slots_on(node), active, record.slot); slot && !slot->busy)
    slot->element = element;
  active.unacknowledged.push_back(record_of(node, record));
  if (active.nodes_running.erase(node) == 0)
    return;
  const auto failed_before = active.verdict.has_value();
  note_exit(active, record);
  if (active.verdict && !failed_before && !event_->spec.notify_failures)
    end_other_nodes(element, active, node);
  if (record.leftovers_ended > 0)
    world_.log->info("job {}: {} processes that {} left behind on node {} were ended", job_,
                     record.leftovers_ended, format_id(job_, element), node);
  auto& at = slots_on(node);
  if (active.unit == 0)
    at.queued -= std::min(at.queued, 1u);
  else if (record.slot < at.slots.size() && at.slots[record.slot].lone &&
           at.slots[record.slot].element == element)
    at.slots[record.slot].busy = false;
  if (active.ended_utc_ns > active.started_utc_ns && active.started_utc_ns > 0)
    mean_run_ns_ =
        blend(mean_run_ns_, static_cast<double>(active.ended_utc_ns - active.started_utc_ns));
  part_over(element, active);
}

/// Nothing of it runs any more, and its shepherds have said their last words: it is over, or waits
/// again.
void job_state_machine::part_over(std::uint32_t element, active_element& what) {
  if (what.ending)
    return;
  if (!what.nodes_running.empty() || !what.shepherds.empty())
    what.state = job_state::completing;
  else if (wait_for_steps(element, what))
    return;
  else if (!what.again.empty() && !what.cancelled)
    put_back(element, what, std::string{what.again});
  else
    element_over(element, what);
}

/// A failed rank ends the element everywhere.
void job_state_machine::end_other_nodes(std::uint32_t element, const active_element& what,
                                        std::uint32_t except) {
  for (auto node : what.nodes_running)
    if (node != except && slots_on(node).entry)
      tell(slots_on(node).entry->actor, cap_,
           end_group{{job_, what.incarnation, what.step}, element, element, spec_of(what).grace_s});
}

/// The launcher took none of these elements: they never ran.
void job_state_machine::take_refusal(std::uint32_t node, const element_record& record) {
  world_.log->warn("job {}: the launcher of node {} refused an order: {}", job_, node, record.text);
  std::vector<std::uint32_t> elements;
  for (auto at = active_.lower_bound(record.element);
       at != active_.end() && at->first <= record.element_last; ++at)
    if (at->second.incarnation == record.group.incarnation && !at->second.ending &&
        at->second.state == job_state::starting && at->second.nodes_running.contains(node))
      elements.push_back(at->first);
  for (auto element : elements) {
    auto& active = active_.at(element);
    forget_queued(active);
    active.refused.insert(node);
    active.nodes_running.erase(node);
    // An order can cross with a launcher's new start: then it is made anew, a few times.
    const auto all_refused = active.refused.size() == ordered_parts(active.parts);
    if (all_refused && active.incarnation < orders_refused_max) {
      put_back(element, active, "its launcher refused the order");
      continue;
    }
    if (!all_refused) {
      part_lost(element, active, "a launcher refused its part: " + record.text);
      continue;
    }
    active.verdict =
        exit_report{job_state::failed, 0, 0, fmt::format("not started: {}", record.text)};
    part_over(element, active);
  }
}

/// Elements that were withdrawn before they started are unstarted again, in a new incarnation.
void job_state_machine::take_revoked(std::uint32_t node, const element_record& record) {
  std::vector<std::uint32_t> elements, wide;
  for (auto at = active_.lower_bound(record.element);
       at != active_.end() && at->first <= record.element_last; ++at) {
    const auto& active = at->second;
    if (active.incarnation == record.group.incarnation && !active.ending &&
        active.nodes_running.contains(node))
      (active.unit == 0 ? elements : wide).push_back(at->first);
  }
  for (auto element : wide) {
    auto& active = active_.at(element);
    active.nodes_running.erase(node);
    part_lost(element, active, "a part of it was withdrawn before it started");
  }
  auto& at = slots_on(node);
  at.queued -= std::min<std::uint32_t>(at.queued, static_cast<std::uint32_t>(elements.size()));
  for (auto element : elements) {
    auto& active = active_.at(element);
    active.nodes_running.clear();
    if (active.cancelled)
      element_over(element, active);
    else
      put_back(element, active, "withdrawn before it started");
  }
  acknowledge({record_of(node, record)});
  planner_event(plan_event::kind::pending_changed, 0,
                static_cast<std::uint32_t>(unstarted_count()));
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

/// Nothing of the element runs any more: count its end once, and write it with the next batch.
void job_state_machine::element_over(std::uint32_t element, active_element& what) {
  if (what.ending || wait_for_steps(element, what) || requeues_preempted(element, what))
    return;
  what.ending = true;
  what.state = job_state::completing;
  if (what.ended_utc_ns == 0)
    what.ended_utc_ns = world_.clock.utc();
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

/// Writes the ends that are due; with the job's own end, when they are the last.
void job_state_machine::write_ends() {
  if (finished_)
    return;
  const auto last = unstarted_count() == 0 && writes_in_flight_ == 0 &&
                    std::all_of(active_.begin(), active_.end(),
                                [](const auto& each) { return each.second.ending; });
  if (to_write_.empty() && !(last && active_.empty() && row_.ended_utc_ns == 0))
    return;
  auto elements = std::exchange(to_write_, {});
  append_entries entries;
  entries.essential = true;
  for (auto element : elements)
    entries.entries.push_back(end_entry(element, active_.at(element)));
  update_row();
  auto row = row_;
  if (last) {
    const auto worst = worst_.value_or(exit_report{job_state::cancelled, 0, 0, ""});
    row.state = worst.state;
    row.exit_code = worst.exit_code;
    row.signal = worst.signal;
    row.reason = worst.reason;
    row.elements_running = 0;
    row.ended_utc_ns = world_.clock.utc();
    if (entries.entries.empty()) {
      ledger_entry finished;
      finished.job = job_;
      finished.what = ledger_entry::kind::finished;
      entries.entries.push_back(std::move(finished));
    }
    entries.entries.back().finishes = true;
  }
  entries.entries.back().row = row;
  entries.entries.back().uid = event_->identity.uid;
  ++writes_in_flight_;
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, elements, row](entries_kept& kept) {
            --writes_in_flight_;
            row_ = row;
            ends_kept(elements, kept.at_utc_ns);
          },
          [this, elements](caf::error& why) {
            --writes_in_flight_;
            world_.log->error("job {}: cannot record ends: {}; trying again", job_,
                              from_caf(why).text);
            to_write_.insert(to_write_.end(), elements.begin(), elements.end());
            tick_later(self_, world_, std::chrono::seconds(1));
          });
}

void job_state_machine::ends_kept(std::vector<std::uint32_t> elements, utc_ns) {
  std::vector<node_record> durable;
  for (auto element : elements) {
    auto at = active_.find(element);
    auto& active = at->second;
    durable.insert(durable.end(), active.unacknowledged.begin(), active.unacknowledged.end());
    ends_.push_back({job_, element, *active.verdict, core_seconds_of(active), active.ended_utc_ns,
                     active.started_utc_ns});
    free_unit(active, element);
    active_.erase(at);
    answer_parked(element);
  }
  acknowledge(durable);
  if (all_over() && writes_in_flight_ == 0 && row_.ended_utc_ns == 0)
    write_ends();
  publish();
}

/// What these records told is durable: their launchers may forget it.
void job_state_machine::acknowledge(const std::vector<node_record>& records) {
  std::map<std::pair<std::uint32_t, launcher_instance>, acknowledge_records> by_launcher;
  for (const auto& [node, instance, sequence] : records)
    by_launcher[{node, instance}].sequences.push_back(sequence);
  for (auto& [launcher, message] : by_launcher) {
    message.instance = launcher.second;
    if (const auto& entry = slots_on(launcher.first).entry)
      tell(entry->actor, cap_, std::move(message));
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
