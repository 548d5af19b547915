// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"

#include <fmt/format.h>

// Purpose: carry the planner's decisions to jobs, and jobs' news to the planner.
// Input:   decisions made from an older state of the table.
// Action:  each is checked again against the table as it is now; what no longer holds is given
// back. Caveats: a job's actor is made here, at its first start, from what the ledger keeps of it.

namespace troupe::actors {

void scheduler_state::plan(std::vector<plan_event> events) {
  if (events.empty())
    return;
  plan_sequence_ += events.size();
  tell(to_.planner, cap_, plan_changes{plan_sequence_, std::move(events), scheduler_actor{self_}});
}

/// Units that nothing starts in. A job that is gone wants none instead of them.
void scheduler_state::give_back(job_id job, const std::vector<placed_unit>& units) {
  const auto gone = !jobs_.contains(job);
  std::vector<plan_event> events;
  for (const auto& unit : units) {
    plan_event event;
    event.what = gone ? plan_event::kind::ended : plan_event::kind::given_back;
    event.job = job;
    event.unit = unit.unit;
    events.push_back(std::move(event));
  }
  plan(std::move(events));
}

/// Its end is on its way to the disk, which may take a while: the planner shall not decide the same
/// again.
void scheduler_state::keep_from_starting(job_id job) {
  plan_event held;
  held.what = plan_event::kind::held;
  held.job = job;
  plan({std::move(held)});
}

void scheduler_state::place(place_jobs& what) {
  if (paused_) {
    placed_meanwhile_.push_back(std::move(what));
    return;
  }
  for (auto& lease : what.leases) {
    auto at = jobs_.find(lease.job);
    if (at != jobs_.end() && at->second.actor)
      tell(at->second.actor, cap_, allow_refill{lease.allowed});
    if (at != jobs_.end())
      at->second.lease = lease.allowed;
  }
  for (auto& placement : what.placements) {
    auto at = jobs_.find(placement.job);
    const auto gone = at == jobs_.end() || at->second.leaving;
    const auto nodes_up = [&] {
      for (const auto& unit : placement.units)
        for (const auto& part : unit.parts) {
          const auto node = nodes_.find(part.node);
          if (node == nodes_.end() || node->second.state() != node_state::up)
            return false;
        }
      return true;
    };
    if (at != jobs_.end() && at->second.leaving)
      keep_from_starting(placement.job);
    if (gone || at->second.holds != 0 || !nodes_up())
      give_back(placement.job, placement.units);
    else
      start(at, std::move(placement));
  }
  preempt(what.preemptions);
}

/// What has to make room is told to its job; the planner hears when it has.
void scheduler_state::preempt(const std::vector<place_jobs::preemption>& what) {
  for (const auto& each : what) {
    auto at = jobs_.find(each.job);
    if (at == jobs_.end() || !at->second.actor)
      continue;
    tell(at->second.actor, cap_,
         preempt_units{{each.unit}, each.grace_s, fmt::format("preempted by job {}", each.by)});
  }
}

void scheduler_state::start(job_table::iterator at, place_jobs::placement what) {
  auto& job = at->second;
  start_units message;
  message.units = std::move(what.units);
  message.first_promised_utc_ns = what.first_promised_utc_ns;
  message.last_promised_utc_ns = what.last_promised_utc_ns;
  std::set<std::uint32_t> seen;
  for (const auto& unit : message.units)
    for (const auto& part : unit.parts)
      if (auto node = nodes_.find(part.node); node != nodes_.end() && seen.insert(part.node).second)
        message.nodes.push_back(node->second.entry);
  if (job.actor) {
    tell(job.actor, cap_, std::move(message));
    return;
  }
  if (job.first_units) {
    auto& first = *job.first_units;
    std::move(message.units.begin(), message.units.end(), std::back_inserter(first.units));
    std::move(message.nodes.begin(), message.nodes.end(), std::back_inserter(first.nodes));
    return;
  }
  job.first_units = std::make_unique<start_units>(std::move(message));
  activate(at);
}

void scheduler_state::activate(job_table::iterator at) {
  if (at->second.activating || at->second.actor)
    return;
  at->second.activating = true;
  const auto id = at->first;
  ask(self_, to_.ledger, cap_, fetch_submission{id})
      .then([this, id](submission_found& found) { activate_with(id, found.event); },
            [this, id](caf::error& why) {
              world_.log->error("job {}: cannot be read back: {}", id, from_caf(why).text);
              if (auto record = jobs_.find(id); record != jobs_.end()) {
                record->second.activating = false;
                if (auto units = std::exchange(record->second.first_units, nullptr))
                  give_back(id, units->units);
              }
              activated(id);
            });
}

void scheduler_state::activate_with(job_id id, std::shared_ptr<submitted_event const> event) {
  auto at = jobs_.find(id);
  if (at == jobs_.end()) {
    activated(id);
    return;
  }
  auto& job = at->second;
  job.activating = false;
  job_birth birth;
  birth.job = id;
  birth.event = std::move(event);
  birth.row = job.row;
  auto& elements = birth.unstarted[1];
  if (const auto& array = birth.event->spec.array)
    for (const auto& range : array->ranges)
      elements.insert(static_cast<std::uint32_t>(range.first),
                      static_cast<std::uint32_t>(range.last));
  else
    elements.insert(no_element, no_element);
  auto actor = spawn_job(std::move(birth));
  if (!actor) {
    end_unstartable(at, fmt::format("not started: {}", actor.error().text));
    activated(id);
    return;
  }
  job.actor = std::move(*actor);
  activated(id);
  if (job.lease)
    tell(job.actor, cap_, allow_refill{true});
  if (auto units = std::exchange(job.first_units, nullptr)) {
    if (paused_) // the cluster has begun to stop since: as what is placed from now on
      placed_meanwhile_.push_back({0,
                                   {{id, std::move(units->units), units->first_promised_utc_ns,
                                     units->last_promised_utc_ns}},
                                   {},
                                   {}});
    else
      tell(job.actor, cap_, std::move(*units));
  }
  for (auto [first, last] = parked_.equal_range(id); first != last; first = parked_.erase(first))
    first->second.promise.delegate(job.actor, std::move(first->second.what));
}

/// What waited for the job's actor goes on, with it or without.
void scheduler_state::activated(job_id id) {
  auto [first, last] = parked_changes_.equal_range(id);
  std::vector<std::function<void(const job_actor&)>> waiting;
  for (auto at = first; at != last; ++at)
    waiting.push_back(std::move(at->second));
  parked_changes_.erase(first, last);
  auto at = jobs_.find(id);
  for (const auto& go_on : waiting)
    go_on(at == jobs_.end() ? job_actor{} : at->second.actor);
}

/// A job whose warrant does not hold any more (it was revoked, or is over), or one of whose
/// dependencies cannot, never starts: it ends.
void scheduler_state::end_unstartable(job_table::iterator at, const std::string& reason) {
  const auto id = at->first;
  world_.log->warn("job {}: {}", id, reason);
  if (at->second.actor || at->second.activating) {
    // Its actor knows which of its elements have ended already.
    cancel_jobs ending;
    ending.selector.targets.push_back({id, id, std::nullopt});
    ending.reason = reason;
    cancel(cap_, ending, {});
    return;
  }
  if (auto units = std::exchange(at->second.first_units, nullptr))
    give_back(id, units->units);
  at->second.leaving = true;
  append_entries entries;
  entries.essential = true;
  entries.entries.push_back(end_of_waiting(at->second, at->second.uid, reason));
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, id, reason](entries_kept&) {
            leave({id}, exit_report{job_state::cancelled, 0, 0, reason});
          },
          [this, id, reason](caf::error& failure) {
            world_.log->error("job {}: its end cannot be recorded: {}; trying again", id,
                              from_caf(failure).text);
            if (auto record = jobs_.find(id); record != jobs_.end())
              record->second.leaving = false;
            doomed_.emplace_back(id, reason); // for the next tick
          });
}

/// Makes a job's actor, under the capability that its warrant gives.
auth::checked<job_actor> scheduler_state::spawn_job(job_birth birth) {
  const auto& event = *birth.event;
  if (birth.placed.empty()) // it starts: what runs already only has to come to its end
    if (auto good =
            world_.verifier.verify_warrant(event.warrant, event.warrant_seal, passed_.utc());
        !good)
      return tl::unexpected{good.error()};
  auto cap = world_.verifier.from_warrant(event.warrant, event.warrant_seal);
  if (!cap)
    return tl::unexpected{cap.error()};
  birth.cap = std::move(*cap);
  job_links links{to_.ledger, to_.authority, scheduler_actor{self_}};
  return self_->template spawn<shell<job_state_machine>>(std::ref(world_), self_->id(),
                                                         std::move(links), std::move(birth));
}

void scheduler_state::tell_waiters(job_progress& what, std::optional<exit_report> whole) {
  if (!waiters_.empty())
    settle({what.job, std::move(what.ends), std::move(what.withdrawn),
            std::move(what.withdrawn_reason), std::move(whole)});
}

void scheduler_state::take_progress(job_progress& what) {
  auto at = jobs_.find(what.job);
  if (at == jobs_.end())
    return;
  auto& record = at->second;
  const auto first_start = record.row.started_utc_ns == 0 && what.row.started_utc_ns != 0;
  const auto held = record.row.held;
  what.row.queue = record.row.queue();
  record.row = rows_.keep(std::move(what.row));
  record.row.held = held;
  auto events = std::move(what.events);
  for (auto& event : events)
    if (event.spec) {
      event.user = record.row.user();
      event.account = record.row.account();
      event.at_utc_ns = record.row.submitted_utc_ns;
    }
  for (const auto& end : what.ends)
    if (end.core_seconds > 0) {
      plan_event used;
      used.what = plan_event::kind::used;
      used.user = record.row.user();
      used.account = record.row.account();
      used.core_seconds = end.core_seconds;
      used.at_utc_ns = end.ended_utc_ns;
      events.push_back(std::move(used));
      if (tells_of_its_user(end.exit.state))
        events.push_back(ran_event(record.row.user(), record.row.time_limit_s,
                                   end.ended_utc_ns - end.started_utc_ns));
    }
  // A planner that had forgotten the job has it again from its spec; it may be held since.
  if (record.holds != 0 && std::any_of(events.begin(), events.end(), [](const plan_event& event) {
        return event.spec != nullptr;
      })) {
    auto& event = events.emplace_back();
    event.what = plan_event::kind::held;
    event.job = what.job;
  }
  if (what.finished) {
    ++finished_;
    plan_event gone;
    gone.what = plan_event::kind::removed;
    gone.job = what.job;
    events.push_back(std::move(gone));
  }
  plan(std::move(events));
  if (!what.finished) {
    if (first_start)
      dependency_changed(what.job, record.row);
    tell_waiters(what, std::nullopt);
    return;
  }
  const job_row row = at->second.row;
  erase(at);
  tell_waiters(what, exit_report{row.state, row.exit_code, row.signal, row.reason});
  dependency_changed(what.job, row);
}

} // namespace troupe::actors
