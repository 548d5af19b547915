// SPDX-License-Identifier: Apache-2.0
#include "actors/elements.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/scheduler/target_set.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

// Purpose: answer what clients ask of jobs: queue, show, why, where.
// Input:   ids, selectors.
// Action:  what is in the table is answered from it or by the job's actor; the rest by the ledger.
// Caveats: no question changes anything, but `attach`, which says that somebody follows a job.

namespace troupe::actors {

namespace {

constexpr std::uint32_t queue_rows_max = 10'000;

} // namespace

caf::result<job_rows> scheduler_state::queue(request<list_queue>& what) {
  const auto& asked = what.msg;
  const auto named = target_set::of(asked.selector.targets);
  if (!named)
    return auth::to_caf(named.error());
  const auto rows_max = std::min(asked.rows_max, queue_rows_max);
  job_rows result;
  auto ranges = named->jobs();
  if (asked.selector.targets.empty())
    ranges.push_back({0, std::numeric_limits<job_id>::max()});
  for (const auto& range : ranges) {
    auto at =
        asked.after < range.first ? jobs_.lower_bound(range.first) : jobs_.upper_bound(asked.after);
    for (; at != jobs_.end() && at->first <= range.last && !result.more; ++at) {
      if (!matches(at->second, asked.selector) ||
          !what.cap.covers(auth::resource_kind::jobs, at->first))
        continue;
      result.more = result.rows.size() == rows_max;
      if (result.more)
        break;
      result.rows.push_back(at->second.row);
      tell_hold(result.rows.back(), at->second);
    }
  }
  auto promise = self_->make_response_promise<job_rows>();
  add_expectations(std::move(result), promise);
  return promise;
}

/// What only the scheduler knows of why a job waits.
void scheduler_state::tell_hold(job_row& row, const job_record& job) const {
  if (row.elements_pending == 0 || !row.reason.empty())
    return;
  if ((job.holds & by_dependency) != 0) {
    row.reason = "after";
    const auto& open = open_of(row.job);
    for (const auto& each : open)
      row.reason += fmt::format("{} job {}", &each == &open.front() ? "" : ",", each.job);
  } else if ((job.holds & by_person) != 0) {
    row.reason = "held";
  }
}

/// The planner knows what those wait for that nothing holds, and until when. Without its answer the
/// rows are as they are.
void scheduler_state::add_expectations(job_rows rows,
                                       caf::typed_response_promise<job_rows> promise) {
  expect_starts asked;
  for (const auto& row : rows.rows)
    if (row.elements_pending > 0 && row.reason.empty() && row.state == job_state::pending)
      asked.jobs.push_back(row.job);
  if (asked.jobs.empty()) {
    promise.deliver(std::move(rows));
    return;
  }
  auto shared = std::make_shared<job_rows>(std::move(rows));
  ask(self_, to_.planner, cap_, std::move(asked))
      .then(
          [promise, shared](job_expectations& known) mutable {
            auto next = known.jobs.begin();
            for (auto& row : shared->rows) {
              if (next == known.jobs.end())
                break;
              if (next->job != row.job)
                continue;
              row.reason = std::move(next->reason);
              row.expected_start_utc_ns = next->expected_start_utc_ns;
              ++next;
            }
            promise.deliver(std::move(*shared));
          },
          [promise, shared](caf::error&) mutable { promise.deliver(std::move(*shared)); });
}

caf::result<job_view> scheduler_state::show(request<show_job>& what) {
  auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end())
    return self_->delegate(to_.ledger,
                           request<query_job>{what.cap, {what.msg.job, what.msg.element}});
  const auto& job = at->second;
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, job.uid, at->first,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (job.actor)
    return self_->delegate(job.actor, request<get_job_view>{what.cap, {what.msg.element}});
  auto promise = self_->make_response_promise<job_view>();
  ask(self_, to_.ledger, cap_, fetch_submission{at->first})
      .then(
          [promise, row = job_row(job.row),
           element = what.msg.element](submission_found& found) mutable {
            if (auto ok = check_element(row.job, found.event->spec.array, element); !ok) {
              promise.deliver(auth::to_caf(ok.error()));
              return;
            }
            job_view view;
            view.row = row;
            view.spec = found.event->spec;
            promise.deliver(std::move(view));
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

caf::result<why_view> scheduler_state::why(request<why_job>& what) {
  auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end()) {
    auto promise = self_->make_response_promise<why_view>();
    ask(self_, to_.ledger, what.cap, query_ends{what.msg.job, what.msg.job, std::nullopt, 0})
        .then(
            [promise, job = what.msg.job](ends_found& found) mutable {
              why_view result;
              result.job = job;
              result.sentence = "it does not wait yet: it is being submitted";
              if (!found.ends.empty()) {
                result.state = found.ends.front().exit.state;
                result.sentence =
                    fmt::format("it does not wait: it is {}", to_string(result.state));
              }
              promise.deliver(std::move(result));
            },
            [promise](caf::error& failure) mutable { promise.deliver(failure); });
    return promise;
  }
  const auto& job = at->second;
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, job.uid, at->first,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (job.aside)
    return why_view_aside(at->first, job);
  if ((job.holds & by_dependency) != 0)
    return why_dependent(at->first, job);
  auto promise = self_->make_response_promise<why_view>();
  ask(self_, to_.planner, what.cap, why_job{at->first})
      .then(
          [promise, row = job_row(job.row)](why_view& view) mutable {
            view.state = row.state;
            if (!row.reason.empty()) { // its actor knows better: something refuses it for now
              view.sentence = row.reason;
              view.reasons = {"refused"};
            }
            promise.deliver(std::move(view));
          },
          [promise](caf::error& failure) mutable { promise.deliver(failure); });
  return promise;
}

why_view scheduler_state::why_view_aside(job_id id, const job_record& job) const {
  const job_row row = job.row;
  why_view view;
  view.job = id;
  view.state = row.state;
  view.sentence = fmt::format("{}; nothing of it starts, and what runs is left alone until 'troupe "
                              "cancel {}' ends it",
                              row.reason, id);
  view.reasons = {"set_aside", row.reason};
  return view;
}

why_view scheduler_state::why_dependent(job_id id, const job_record& job) const {
  why_view view;
  view.job = id;
  view.state = job.row.state;
  view.sentence = "waits for what becomes of";
  view.reasons.emplace_back("dependency");
  const auto& open = open_of(id);
  for (const auto& each : open) {
    auto other = jobs_.find(each.job);
    const auto state = other == jobs_.end()  ? "unknown"
                       : other->second.aside ? "set aside"
                                             : std::string{to_string(other->second.row.state)};
    view.sentence += fmt::format("{} job {} ({}, {})", &each == &open.front() ? "" : ",", each.job,
                                 to_string(each.kind), state);
    view.reasons.push_back(
        fmt::format("{}:{}: job {} is {}", to_string(each.kind), each.job, each.job, state));
  }
  return view;
}

caf::result<element_location> scheduler_state::locate(request<locate_element>& what) {
  auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end())
    return self_->delegate(to_.ledger, std::move(what));
  const auto& job = at->second;
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, job.uid, at->first,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (job.actor)
    return self_->delegate(job.actor, std::move(what));
  // Which elements an array has, its actor will know; that it is none is known now.
  if (const auto& row = job.row; row.elements_total == 0)
    if (auto ok = check_element(at->first, std::nullopt, what.msg.element); !ok)
      return auth::to_caf(ok.error());
  auto promise = self_->make_response_promise<element_location>();
  parked_.emplace(at->first, parked_location{std::move(what), promise});
  return promise;
}

// -- followers --------------------------------------------------------------------------

void scheduler_state::attach(request<attach_job>& what) {
  auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end())
    return;
  const auto& job = at->second;
  if (!what.cap.permits(verb::job_read, verb::job_read_any, job.uid, at->first, world_.clock.now()))
    return;
  if (auto attended = attended_.find(at->first); attended != attended_.end()) {
    attended->second.followers.push_back(what.msg.by);
    attended->second.unattended_since = world_.clock.boot();
  }
}

void scheduler_state::detach(const detach_follower& what) {
  auto at = attended_.find(what.job);
  if (at != attended_.end() && std::erase(at->second.followers, what.by) > 0)
    at->second.unattended_since = world_.clock.boot();
}

/// Ends attached jobs that nobody has followed for a while: nothing runs on unseen.
void scheduler_state::check_unattended() {
  const auto limit = world_.clock.boot() - std::int64_t{world_.config.attached_grace_s} * ns_per_s;
  cancel_jobs ending;
  for (const auto& [id, each] : attended_) {
    if (!each.followers.empty() || each.unattended_since >= limit)
      continue;
    const auto at = jobs_.find(id);
    if (at != jobs_.end() && !at->second.leaving && ending.selector.targets.size() < 1024)
      ending.selector.targets.push_back({id, id, std::nullopt});
  }
  if (!ending.selector.targets.empty()) {
    ending.reason = fmt::format("its client went away and did not come back within {} s",
                                world_.config.attached_grace_s);
    cancel(cap_, ending, {}); // under our own capability; cancel_jobs as a message is for people
  }
  recheck_waiters();
  tick_later(self_, world_, std::chrono::seconds(5));
}

} // namespace troupe::actors
