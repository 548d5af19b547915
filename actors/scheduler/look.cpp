// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: answer what clients ask of jobs: queue, show, why, where, and when it has ended.
// Input:   ids, selectors.
// Action:  what is in the table is answered from it or by the job's actor; the rest by the ledger.
// Caveats: no question changes anything, but `attach`, which says that somebody follows a job.

namespace troupe::actors {

namespace {

constexpr std::uint32_t queue_rows_max = 10'000;

} // namespace

caf::result<job_rows> scheduler_state::queue(request<list_queue>& what) {
  const auto& asked = what.msg;
  const auto rows_max = std::min(asked.rows_max, queue_rows_max);
  job_rows result;
  auto named = [&](job_id id) {
    return asked.selector.targets.empty() ||
           std::any_of(asked.selector.targets.begin(), asked.selector.targets.end(),
                       [&](const auto& target) { return target.first <= id && id <= target.last; });
  };
  for (auto at = jobs_.upper_bound(asked.after); at != jobs_.end(); ++at) {
    if (!named(at->first) || !matches(at->second, asked.selector) ||
        !what.cap.covers(auth::resource_kind::jobs, at->first))
      continue;
    if (result.rows.size() == rows_max) {
      result.more = true;
      break;
    }
    result.rows.push_back(at->second.row);
    tell_hold(result.rows.back(), at->second);
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
    const auto& open = not_met_.at(row.job);
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
    return self_->delegate(to_.ledger, request<query_job>{what.cap, {what.msg.job}});
  const auto& job = at->second;
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, job.uid, at->first,
                                 world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  if (job.actor)
    return self_->delegate(job.actor, request<get_job_view>{what.cap, {what.msg.element}});
  auto promise = self_->make_response_promise<job_view>();
  ask(self_, to_.ledger, cap_, fetch_submission{at->first})
      .then(
          [promise, row = job_row(job.row)](submission_found& found) mutable {
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
    ask(self_, to_.ledger, what.cap, query_job{what.msg.job})
        .then(
            [promise](job_view& view) mutable {
              why_view result;
              result.job = view.row.job;
              result.state = view.row.state;
              result.sentence =
                  fmt::format("it does not wait: it is {}", to_string(view.row.state));
              promise.deliver(std::move(result));
            },
            [promise](caf::error& failure) mutable { promise.deliver(failure); });
    return promise;
  }
  const auto& job = at->second;
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, job.uid, at->first,
                                 world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  if ((job.holds & by_dependency) != 0)
    return why_dependent(at->first, job);
  auto promise = self_->make_response_promise<why_view>();
  ask(self_, to_.planner, what.cap, why_job{at->first})
      .then(
          [promise, state = job.row.state](why_view& view) mutable {
            view.state = state;
            promise.deliver(std::move(view));
          },
          [promise](caf::error& failure) mutable { promise.deliver(failure); });
  return promise;
}

why_view scheduler_state::why_dependent(job_id id, const job_record& job) const {
  why_view view;
  view.job = id;
  view.state = job.row.state;
  view.sentence = "waits for what becomes of";
  view.reasons.emplace_back("dependency");
  const auto& open = not_met_.at(id);
  for (const auto& each : open) {
    auto other = jobs_.find(each.job);
    const auto state =
        other == jobs_.end() ? "unknown" : std::string{to_string(other->second.row.state)};
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
                                 world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  if (job.actor)
    return self_->delegate(job.actor, std::move(what));
  auto promise = self_->make_response_promise<element_location>();
  parked_.push_back({at->first, std::move(what), promise});
  return promise;
}

// -- waiting for ends -----------------------------------------------------------------

caf::result<job_ends> scheduler_state::await(request<await_jobs>& what) {
  auto who = std::make_shared<waiter>();
  who->id = next_waiter_++;
  who->cap = what.cap;
  who->targets = what.msg.targets;
  std::vector<job_id> to_look_up;
  for (const auto& target : who->targets) {
    if (target.last < target.first || target.last - target.first > 100'000)
      return auth::to_caf(
          error{errc::invalid, fmt::format("{} to {} is no range of jobs that can be "
                                           "waited for; name at most 100000",
                                           target.first, target.last)});
    auto known = jobs_.lower_bound(target.first);
    for (auto id = target.first;; ++id) {
      while (known != jobs_.end() && known->first < id)
        ++known;
      const auto here = known != jobs_.end() && known->first == id;
      if (here)
        if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, known->second.uid, id,
                                       world_.clock.utc());
            !ok)
          return auth::to_caf(ok.error());
      auto& missing = who->missing[id];
      if (target.elements)
        missing.insert(static_cast<std::uint32_t>(target.elements->first),
                       static_cast<std::uint32_t>(target.elements->last));
      else
        missing.insert(no_element, no_element);
      if (!here || target.elements)
        to_look_up.push_back(id);
      if (id == target.last)
        break;
    }
  }
  // Not before: an error that is returned beside a promise is answered to nobody.
  who->promise = self_->make_response_promise<job_ends>();
  waiters_.push_back(who);
  for (auto id : to_look_up)
    look_up_ends(who, id, what.cap);
  answer_if_settled(who);
  return who->promise;
}

/// What has ended already, the ledger knows.
void scheduler_state::look_up_ends(const std::shared_ptr<waiter>& who, job_id job,
                                   const verified_capability& cap) {
  ++who->lookups;
  ask(self_, to_.ledger, cap, query_job{job})
      .then(
          [this, who, job](job_view& view) {
            --who->lookups;
            auto& missing = who->missing[job];
            for (const auto& element : view.elements)
              if (missing.contains(element.element) && element.element != no_element) {
                missing.erase(element.element, element.element);
                who->ends[{job, element.element}] = {element.state, element.exit_code,
                                                     element.signal, element.reason};
              }
            if (is_final(view.row.state)) {
              const auto& row = view.row;
              if (!missing.empty())
                who->ends[{job, no_element}] = {row.state, row.exit_code, row.signal, row.reason};
              missing = {};
            }
            answer_if_settled(who);
          },
          [this, who](caf::error& why) {
            --who->lookups;
            std::erase(waiters_, who);
            who->promise.deliver(why);
          });
}

/// News of ends, for everybody who waits for them.
void scheduler_state::settle(job_id job, const std::vector<job_end>& ends,
                             const exit_report* whole) {
  auto waiting = waiters_;
  for (auto& who : waiting) {
    auto at = who->missing.find(job);
    if (at == who->missing.end())
      continue;
    for (const auto& end : ends)
      if (end.element != no_element && at->second.contains(end.element)) {
        at->second.erase(end.element, end.element);
        who->ends[{job, end.element}] = end.exit;
      }
    if (whole) {
      if (!at->second.empty())
        who->ends[{job, no_element}] = *whole;
      at->second = {};
    }
    answer_if_settled(who);
  }
}

void scheduler_state::answer_if_settled(const std::shared_ptr<waiter>& who) {
  const auto open =
      who->lookups > 0 || std::any_of(who->missing.begin(), who->missing.end(),
                                      [](const auto& each) { return !each.second.empty(); });
  if (open || !who->promise.pending() || refuse_if_ended(who))
    return;
  job_ends answer;
  for (auto& [key, exit] : who->ends)
    answer.ends.push_back({key.first, key.second, std::move(exit)});
  who->promise.deliver(std::move(answer));
  std::erase(waiters_, who);
}

/// Whoever waits does so under a capability that must still be good when the answer comes.
bool scheduler_state::refuse_if_ended(const std::shared_ptr<waiter>& who) {
  const auto needed = auth::verb_set{verb::job_read, verb::job_read_any};
  auto ok = who->cap.check(needed, world_.clock.utc());
  if (ok)
    return false;
  if (world_.audit_refusal)
    world_.audit_refusal(typeid(await_jobs).name(), who->cap, ok.error());
  who->promise.deliver(auth::to_caf(ok.error()));
  std::erase(waiters_, who);
  return true;
}

void scheduler_state::recheck_waiters() {
  const auto waiting = waiters_;
  for (const auto& who : waiting)
    refuse_if_ended(who);
}

// -- followers --------------------------------------------------------------------------

void scheduler_state::attach(request<attach_job>& what) {
  auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end())
    return;
  const auto& job = at->second;
  if (!what.cap.permits(verb::job_read, verb::job_read_any, job.uid, at->first, world_.clock.utc()))
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
  for (const auto& [id, each] : attended_)
    if (each.followers.empty() && each.unattended_since < limit && !jobs_.at(id).leaving &&
        ending.selector.targets.size() < 1024)
      ending.selector.targets.push_back({id, id, std::nullopt});
  if (!ending.selector.targets.empty()) {
    ending.reason = fmt::format("its client went away and did not come back within {} s",
                                world_.config.attached_grace_s);
    cancel(cap_, ending, {}); // under our own capability; cancel_jobs as a message is for people
  }
  recheck_waiters();
  tick_later(self_, world_, std::chrono::seconds(5));
}

} // namespace troupe::actors
