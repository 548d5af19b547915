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
  std::set<job_id> unknown;
  for (const auto& job : what.msg.jobs)
    unknown.merge(unknown_dependencies(job.event->spec));
  if (unknown.empty()) {
    submit_checked(what.cap, what.msg, {}, promise);
    return promise;
  }
  auto waiting = std::make_shared<submit_jobs>(std::move(what.msg));
  look_up_dependencies(what.cap, unknown,
                       [this, cap = what.cap, waiting, promise](const ended_jobs& ended) {
                         submit_checked(cap, *waiting, ended, promise);
                       });
  return promise;
}

void scheduler_state::submit_checked(const verified_capability& cap, submit_jobs& what,
                                     const ended_jobs& ended,
                                     caf::typed_response_promise<jobs_submitted> promise) {
  struct taken_job {
    warranted_job job;
    std::vector<job_dependency> open;
  };
  auto answer = std::make_shared<jobs_submitted>();
  auto taken = std::make_shared<std::vector<taken_job>>();
  append_entries entries;
  const auto now = world_.clock.utc();
  for (auto& job : what.jobs) {
    auto open = open_dependencies(cap, job.event->spec, ended);
    auto ok = open ? admit(cap, job.event->spec, job.event->identity)
                   : expected<void>{tl::unexpected<error>{open.error()}};
    if (!ok) {
      answer->jobs.push_back(tl::unexpected<error>{ok.error()});
      continue;
    }
    job.event = with_defaults(std::move(job.event));
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
    tally_.add(queue_of(job.event->spec), job.event->identity.uid);
    taken->push_back({std::move(job), std::move(*open)});
  }
  if (entries.entries.empty()) {
    promise.deliver(std::move(*answer));
    return;
  }
  const auto depends = std::any_of(taken->begin(), taken->end(),
                                   [](const taken_job& each) { return !each.open.empty(); });
  submissions_in_flight_ += depends ? 1 : 0;
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, promise, answer, taken, depends](entries_kept& kept) mutable {
            std::vector<plan_event> events;
            for (auto& each : *taken) {
              const auto& event = *each.job.event;
              tally_.remove(queue_of(event.spec), event.identity.uid);
              take_submitted(each.job, kept.at_utc_ns, std::move(each.open), events);
            }
            if (depends)
              submission_over();
            plan(std::move(events));
            promise.deliver(std::move(*answer));
          },
          [this, promise, taken, depends](caf::error& why) mutable {
            if (depends)
              submission_over();
            for (const auto& each : *taken)
              tally_.remove(queue_of(each.job.event->spec), each.job.event->identity.uid);
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
  if ((before == 0) == (job.holds == 0))
    return;
  auto& event = events.emplace_back();
  event.what = on ? plan_event::kind::held : plan_event::kind::released;
  event.job = at->first;
}

} // namespace troupe::actors
