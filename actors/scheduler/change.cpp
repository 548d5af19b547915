// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"
#include "actors/scheduler/target_set.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>

// Purpose: cancel, hold, release, signal.
// Input:   a selector: ids, or a filter.
// Action:  each selected job is authorised by itself; what only waits changes here, in one append;
//          what has an actor is asked to change itself. The answer comes when all is durable.
// Caveats: a job named by its id that may not be touched is reported; a filter passes over it. Many
//          waiting jobs are changed some at a time, each part durable for itself: what went before
//          an error stays, and the answer says both.

namespace troupe::actors {

namespace {

constexpr std::size_t refusals_told_max = 16;
/// So many waiting jobs are changed in one append; the ledger takes 262,144 events in one, and
/// others' appends wait for it.
constexpr std::size_t changed_at_once = 16'384;

void refuse(jobs_changed& result, error why) {
  if (result.refused.size() < refusals_told_max)
    result.refused.push_back(std::move(why));
}

bool filters(const job_selector& selector) {
  return selector.all || !selector.user.empty() || !selector.name.empty() ||
         !selector.queue.empty() || !selector.states.empty();
}

} // namespace

bool scheduler_state::matches(const job_record& job, const job_selector& selector) const {
  if (!selector.user.empty() && job.row.user() != selector.user)
    return false;
  if (!selector.name.empty() && job.row.name != selector.name)
    return false;
  if (!selector.queue.empty() && job.row.queue() != selector.queue)
    return false;
  return selector.states.empty() || std::find(selector.states.begin(), selector.states.end(),
                                              job.row.state) != selector.states.end();
}

/// The jobs that a selector means and this capability may touch.
expected<scheduler_state::change> scheduler_state::select(const verified_capability& cap,
                                                          const job_selector& selector,
                                                          const asking& what) {
  if (selector.targets.empty() && !filters(selector))
    return fail(errc::invalid, "no job is named: give ids, or --all");
  const auto named = target_set::of(selector.targets);
  if (!named)
    return tl::unexpected<error>{named.error()};
  change result;
  const auto now = world_.clock.now();
  auto take = [&](job_table::iterator at, const interval_set* elements) {
    auto& job = at->second;
    if (!matches(job, selector))
      return;
    if (auto ok = cap.permits(what.own, what.any, job.uid, at->first, now); !ok) {
      if (named->by_number(at->first)) {
        guard_->refused(what.message, cap, ok.error());
        refuse(result.result,
               {errc::refused, fmt::format("job {}: {}", at->first, ok.error().text)});
      }
      return;
    }
    if (job.leaving)
      return;
    std::vector<number_range> ranges;
    if (elements)
      for (auto [first, last] : elements->intervals())
        ranges.push_back({first, last});
    if (job.actor || job.activating || !ranges.empty())
      result.live.emplace_back(at->first, std::move(ranges));
    else
      result.waiting.push_back(at->first);
  };
  if (selector.targets.empty()) {
    for (auto at = jobs_.begin(); at != jobs_.end(); ++at)
      take(at, nullptr);
    return result;
  }
  for (const auto& [first, last] : named->as_named()) {
    const auto at = jobs_.lower_bound(first);
    if (at != jobs_.end() && at->first <= last)
      continue;
    refuse(result.result,
           {errc::not_found,
            first == last
                ? fmt::format("job {} is not in the queue; it has ended or never was ('troupe "
                              "history' tells)",
                              first)
                : fmt::format("none of the jobs {} to {} is in the queue", first, last)});
  }
  for (const auto& range : named->whole())
    for (auto at = jobs_.lower_bound(range.first); at != jobs_.end() && at->first <= range.last;
         ++at)
      take(at, nullptr);
  for (const auto& [job, elements] : named->elements())
    if (auto at = jobs_.find(job); at != jobs_.end())
      take(at, &elements);
  return result;
}

// -- jobs with an actor -----------------------------------------------------------

/// Counts answers that are still to come; the last one delivers.
struct scheduler_state::gathering {
  jobs_changed total;
  std::size_t missing = 1; ///< the asking itself
  caf::typed_response_promise<jobs_changed> promise;

  void one_more(const error& why) {
    if (!why.text.empty())
      refuse(total, why);
    if (--missing > 0)
      return;
    if (!promise.pending())
      return; // nobody asked
    if (total.jobs == 0 && total.elements == 0 && !total.refused.empty())
      promise.deliver(auth::to_caf(total.refused.front()));
    else
      promise.deliver(std::move(total));
  }
};

/// Sends `message` to every live job of a change, under the caller's own capability.
template <class M>
void scheduler_state::forward(const verified_capability& cap, const change& what, M message,
                              const std::shared_ptr<gathering>& to) {
  to->missing += what.live.size();
  for (const auto& [id, ranges] : what.live) {
    auto copy = message;
    copy.ranges = ranges;
    auto send = [this, cap, to, id = id, copy](const job_actor& actor) {
      if (!actor) {
        to->one_more({errc::storage, fmt::format("job {} could not be read back; try again", id)});
        return;
      }
      ask(self_, actor, cap, copy)
          .then(
              [to](jobs_changed& changed) {
                to->total.jobs += changed.jobs;
                to->total.elements += changed.elements;
                to->one_more({});
              },
              [to](caf::error& why) {
                // An actor that has gone meanwhile: its job has ended, there is nothing to change.
                auto failure = from_caf(why);
                to->one_more(failure.code == errc::unreachable ? error{{}, {}}
                                                               : std::move(failure));
              });
    };
    const auto at = jobs_.find(id);
    if (at == jobs_.end()) {
      to->one_more({});
    } else if (at->second.actor) {
      send(at->second.actor);
    } else {
      parked_changes_.emplace(id, std::move(send));
      activate(at);
    }
  }
}

// -- jobs without one ---------------------------------------------------------------

/// A change of waiting jobs on its way to the disk, part by part.
struct scheduler_state::waiting_change {
  std::vector<job_id> jobs;
  std::size_t next = 0; ///< the first that is not on its way
  std::uint32_t by_uid = 0;
  std::string reason; ///< of a cancel
  bool held = false;  ///< or else of a release
  std::shared_ptr<gathering> answers;

  std::vector<job_id> take_part() {
    const auto count = std::min(changed_at_once, jobs.size() - next);
    const auto begin = jobs.begin() + static_cast<std::ptrdiff_t>(next);
    next += count;
    return {begin, begin + static_cast<std::ptrdiff_t>(count)};
  }
};

ledger_entry scheduler_state::end_of_waiting(job_record& job, std::uint32_t by_uid,
                                             const std::string& reason) {
  ledger_entry entry;
  entry.job = job.row.job;
  entry.what = ledger_entry::kind::cancelled;
  cancelled_event event;
  event.by_uid = by_uid;
  event.reason = reason;
  entry.encoded = to_cbor(event);
  entry.row = job.row;
  entry.row->state = job_state::cancelled;
  entry.row->reason = reason;
  entry.row->ended_utc_ns = world_.clock.utc();
  entry.finishes = true;
  entry.uid = job.uid;
  return entry;
}

caf::result<jobs_changed> scheduler_state::cancel(request<cancel_jobs>& what) {
  auto promise = self_->make_response_promise<jobs_changed>();
  cancel(what.cap, what.msg, promise);
  return promise;
}

void scheduler_state::cancel(const verified_capability& cap, const cancel_jobs& what,
                             caf::typed_response_promise<jobs_changed> promise) {
  auto selected = select(cap, what.selector,
                         {verb::job_cancel, verb::job_cancel_any, typeid(cancel_jobs).name()});
  if (!selected) {
    if (promise.pending())
      promise.deliver(auth::to_caf(selected.error()));
    return;
  }
  auto answers = std::make_shared<gathering>();
  answers->total = std::move(selected->result);
  answers->promise = std::move(promise);
  const auto by = cap.who().uid;
  forward(cap, *selected, cancel_elements{{}, by, what.reason}, answers);
  // From now on none of them starts, however long it takes until the last of them is on the disk.
  for (auto id : selected->waiting)
    if (auto at = jobs_.find(id); at != jobs_.end())
      at->second.leaving = true;
  auto waiting = std::make_shared<waiting_change>();
  waiting->jobs = std::move(selected->waiting);
  waiting->by_uid = by;
  waiting->reason = what.reason;
  waiting->answers = std::move(answers);
  cancel_waiting(waiting);
}

void scheduler_state::cancel_waiting(const std::shared_ptr<waiting_change>& what) {
  const auto ids = what->take_part();
  append_entries entries;
  entries.essential = true; // what waits can be given up though the disk is full
  std::vector<plan_event> waiting;
  for (auto id : ids) {
    auto at = jobs_.find(id);
    if (at == jobs_.end())
      continue;
    entries.entries.push_back(end_of_waiting(at->second, what->by_uid, what->reason));
    // What the planner decided meanwhile comes back to it: it must not decide the same again.
    auto& event = waiting.emplace_back();
    event.what = plan_event::kind::held;
    event.job = id;
  }
  if (entries.entries.empty()) // nothing is left of this part, or of all
    return ids.empty() ? what->answers->one_more({}) : cancel_waiting(what);
  plan(std::move(waiting));
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, what, ids](entries_kept&) {
            auto& total = what->answers->total;
            for (auto id : ids)
              if (auto at = jobs_.find(id); at != jobs_.end()) {
                ++total.jobs;
                total.elements += at->second.row.elements_pending;
              }
            leave(ids, exit_report{job_state::cancelled, 0, 0, what->reason});
            cancel_waiting(what);
          },
          [this, what, ids](caf::error& why) {
            what->next -= ids.size();
            keep_waiting(*what, from_caf(why));
          });
}

/// The rest of them could not be cancelled: they stay.
void scheduler_state::keep_waiting(const waiting_change& what, const error& why) {
  std::vector<plan_event> staying;
  for (auto i = what.next; i < what.jobs.size(); ++i) {
    auto at = jobs_.find(what.jobs[i]);
    if (at == jobs_.end())
      continue;
    at->second.leaving = false;
    if (at->second.holds != 0)
      continue;
    auto& event = staying.emplace_back();
    event.what = plan_event::kind::released;
    event.job = at->first;
  }
  plan(std::move(staying));
  what.answers->one_more(why);
}

/// Waiting jobs whose end is durable go from the table, from the planner, and to their waiters.
void scheduler_state::leave(const std::vector<job_id>& ids, const exit_report& whole) {
  std::vector<plan_event> events;
  events.reserve(ids.size());
  for (auto id : ids) {
    plan_event event;
    event.what = plan_event::kind::removed;
    event.job = id;
    events.push_back(std::move(event));
    auto at = jobs_.find(id);
    if (at == jobs_.end())
      continue;
    job_row row = at->second.row;
    row.state = whole.state;
    erase(at);
    if (!waiters_.empty())
      settle({.job = id, .ends = {}, .whole = whole});
    for (auto [first, last] = parked_.equal_range(id); first != last; first = parked_.erase(first))
      first->second.promise.delegate(to_.ledger, std::move(first->second.what));
    ++finished_;
    dependency_changed(id, row);
  }
  plan(std::move(events));
}

// -- hold, release ------------------------------------------------------------------

caf::result<jobs_changed> scheduler_state::set_held(const verified_capability& cap,
                                                    const job_selector& selector, bool held) {
  auto selected = select(cap, selector,
                         {verb::job_hold, verb::job_hold_any,
                          held ? typeid(hold_jobs).name() : typeid(release_jobs).name()});
  if (!selected)
    return auth::to_caf(selected.error());
  auto what = std::make_shared<waiting_change>();
  what->held = held;
  what->answers = std::make_shared<gathering>();
  auto& total = what->answers->total = std::move(selected->result);
  auto take = [&](job_id id) {
    const auto at = jobs_.find(id);
    if (at == jobs_.end())
      return;
    // What is held stays so while all of it runs, for it may wait again: a release is always good.
    const auto& row = at->second.row;
    const auto fits = row.elements_pending > 0 || (!held && row.held);
    if (!fits && selector.targets.empty())
      return; // nobody named it
    if (!fits)
      refuse(total, {errc::conflict, fmt::format("job {} has nothing that waits; it is {}", id,
                                                 to_string(row.state))});
    else if (row.held != held)
      what->jobs.push_back(id);
  };
  for (auto id : selected->waiting)
    take(id);
  for (const auto& [id, ranges] : selected->live) {
    if (ranges.empty())
      take(id);
    else
      refuse(total, {errc::invalid, fmt::format("job {}: elements cannot be held or released one "
                                                "by one; name the job",
                                                id)});
  }
  what->answers->promise = self_->make_response_promise<jobs_changed>();
  auto promise = what->answers->promise;
  set_held_more(what);
  return promise;
}

void scheduler_state::set_held_more(const std::shared_ptr<waiting_change>& what) {
  const auto ids = what->take_part();
  append_entries entries;
  for (auto id : ids) {
    const auto at = jobs_.find(id);
    if (at == jobs_.end())
      continue;
    ledger_entry entry;
    entry.job = id;
    entry.what = what->held ? ledger_entry::kind::held : ledger_entry::kind::released;
    entry.uid = at->second.uid;
    entries.entries.push_back(std::move(entry));
  }
  if (entries.entries.empty())
    return ids.empty() ? what->answers->one_more({}) : set_held_more(what);
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, what, ids](entries_kept&) {
            auto& total = what->answers->total;
            std::vector<plan_event> events;
            for (auto id : ids) {
              auto at = jobs_.find(id);
              if (at == jobs_.end())
                continue;
              set_hold(at, by_person, what->held, events);
              ++total.jobs;
              total.elements += at->second.row.elements_pending;
            }
            plan(std::move(events));
            set_held_more(what);
          },
          [what](caf::error& why) { what->answers->one_more(from_caf(why)); });
}

// -- signal -------------------------------------------------------------------------

caf::result<jobs_changed> scheduler_state::signal(request<signal_jobs>& what) {
  const auto number = what.msg.signal;
  if (number < 1 || number > 64)
    return auth::to_caf(
        error{errc::invalid, fmt::format("there is no signal {}; 1 to 64 are", number)});
  auto selected = select(what.cap, what.msg.selector,
                         {verb::job_signal, verb::job_signal_any, typeid(signal_jobs).name()});
  if (!selected)
    return auth::to_caf(selected.error());
  auto answers = std::make_shared<gathering>();
  answers->total = std::move(selected->result);
  answers->promise = self_->make_response_promise<jobs_changed>();
  auto promise = answers->promise;
  if (!what.msg.selector.targets.empty()) // what nobody named is not wrong for waiting
    for (auto id : selected->waiting)
      refuse(answers->total,
             {errc::conflict, fmt::format("job {} is not running; it is pending", id)});
  forward(what.cap, *selected, signal_elements{{}, number}, answers);
  answers->one_more({});
  return promise;
}

} // namespace troupe::actors
