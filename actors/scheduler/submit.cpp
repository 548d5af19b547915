// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger_codec.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: take jobs that the authority says were asked for.
// Input:   warranted jobs; each spec was validated when its warrant was made.
// Action:  what the configuration does not allow and what this cluster can never give is refused;
//          the rest is kept by the ledger in one append, then answered, then told to the planner.
// Caveats: the answer comes after the disk; if the append fails nothing was taken. Jobs that depend
//          on ended ones wait for the ledger's word about those first.

namespace troupe::actors {

caf::result<jobs_submitted> scheduler_state::submit(request<submit_jobs>& what) {
  auto promise = self_->make_response_promise<jobs_submitted>();
  submit_known(what.cap, std::make_shared<submit_jobs>(std::move(what.msg)), {}, promise);
  return promise;
}

/// Once it is known of every dependency whether it is in the table or how it has ended: while the
/// ledger is asked for some, others may end.
void scheduler_state::submit_known(const verified_capability& cap,
                                   const std::shared_ptr<submit_jobs>& what, ended_jobs ended,
                                   const caf::typed_response_promise<jobs_submitted>& promise) {
  std::set<job_id> unknown;
  for (const auto& job : what->jobs)
    for (const auto& each : job.event->spec.dependencies)
      if (!jobs_.contains(each.job) && !ended.contains(each.job))
        unknown.insert(each.job);
  if (unknown.empty()) {
    submit_checked(cap, *what, ended, promise);
    return;
  }
  look_up_dependencies(
      cap, unknown,
      [this, cap, what, ended = std::move(ended), promise](ended_jobs& found) mutable {
        ended.merge(found);
        submit_known(cap, what, std::move(ended), promise);
      });
}

void scheduler_state::submit_checked(const verified_capability& cap, submit_jobs& what,
                                     const ended_jobs& ended,
                                     caf::typed_response_promise<jobs_submitted> promise) {
  struct taken_job {
    warranted_job job;
    std::vector<job_dependency> open;
    std::string queue; ///< that it is counted in until it is in the table
  };
  auto answer = std::make_shared<jobs_submitted>();
  auto taken = std::make_shared<std::vector<taken_job>>();
  append_entries entries;
  const auto now = world_.clock.utc();
  for (auto& job : what.jobs) {
    auto open = open_dependencies(cap, job.event->spec, ended);
    auto queue = open ? admit(cap, job.event->spec, job.event->identity)
                      : expected<admitted_queue>{tl::unexpected<error>{open.error()}};
    if (!queue) {
      answer->jobs.push_back(tl::unexpected<error>{queue.error()});
      continue;
    }
    job.event = with_defaults(*queue, std::move(job.event));
    ledger_entry entry;
    entry.job = job.job;
    entry.what = ledger_entry::kind::submitted;
    entry.encoded = to_cbor(*job.event);
    entry.request_id = job.request_id;
    entry.row = row_of_submission(job.job, *job.event, now);
    entry.uid = job.event->identity.uid;
    entry.submitted = job.event;
    entries.entries.push_back(std::move(entry));
    answer->jobs.push_back(job.job);
    // Counted now: those of one call must not pass a limit together.
    const auto& counted_in = queue->get().name;
    tally_.add(counted_in, job.event->identity.uid);
    taken->push_back({std::move(job), std::move(*open), counted_in});
  }
  if (entries.entries.empty()) {
    promise.deliver(std::move(*answer));
    return;
  }
  const auto depends = std::any_of(taken->begin(), taken->end(),
                                   [](const taken_job& each) { return !each.open.empty(); });
  const auto number = depends ? ended_meanwhile_.begin() : 0;
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, promise, answer, taken, number](entries_kept& kept) mutable {
            std::vector<plan_event> events;
            for (auto& each : *taken) {
              tally_.remove(each.queue, each.job.event->identity.uid);
              take_submitted(each.job, kept.at_utc_ns, std::move(each.open), events);
            }
            ended_meanwhile_.end(number);
            plan(std::move(events));
            promise.deliver(std::move(*answer));
          },
          [this, promise, taken, number](caf::error& why) mutable {
            ended_meanwhile_.end(number);
            for (const auto& each : *taken)
              tally_.remove(each.queue, each.job.event->identity.uid);
            promise.deliver(why);
          });
}

scheduler_state::job_table::iterator scheduler_state::insert(job_id job, job_record record) {
  tally_.add(record.row.queue(), record.uid);
  return jobs_.emplace_hint(jobs_.end(), job, std::move(record));
}

void scheduler_state::erase(job_table::iterator at) {
  tally_.remove(at->second.row.queue(), at->second.uid);
  if (auto open = not_met_.extract(at->first); !open.empty())
    for (const auto& dependency : open.mapped()) {
      auto [first, last] = dependents_.equal_range(dependency.job);
      while (first != last)
        first = first->second == at->first ? dependents_.erase(first) : std::next(first);
    }
  attended_.erase(at->first);
  jobs_.erase(at);
}

void scheduler_state::take_submitted(const warranted_job& job, utc_ns at,
                                     std::vector<job_dependency> open,
                                     std::vector<plan_event>& events) {
  ++submitted_;
  const auto& spec = job.event->spec;
  job_record entry;
  auto row = row_of_submission(job.job, *job.event, at);
  row.queue = queue_of(spec);
  events.push_back(submission_of(job.job, {job.event, &spec}, element_count(spec), row));
  entry.row = rows_.keep(std::move(row));
  entry.uid = job.event->identity.uid;
  if (spec.attached)
    attended_[job.job].unattended_since = world_.clock.boot();
  entry.holds = spec.held ? by_person : 0;
  const auto inserted = insert(job.job, std::move(entry));
  settle_meanwhile(job.job, open);
  if (open.empty())
    return;
  wait_for(inserted, std::move(open));
  set_hold(inserted, by_dependency, true, events);
}

/// A job may start when nothing holds it: the planner hears of the first reason and of the last.
void scheduler_state::set_hold(job_table::iterator at, hold_reason why, bool on,
                               std::vector<plan_event>& events) {
  auto& job = at->second;
  const auto before = job.holds;
  job.holds = static_cast<std::uint8_t>(on ? before | why : before & ~why);
  job.row.held = (job.holds & by_person) != 0;
  if ((before == 0) == (job.holds == 0) || job.leaving)
    return; // the planner keeps what is leaving from starting, and hears if it stays
  auto& event = events.emplace_back();
  event.what = on ? plan_event::kind::held : plan_event::kind::released;
  event.job = at->first;
}

} // namespace troupe::actors
