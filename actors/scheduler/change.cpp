// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"
#include "actors/users.hpp"
#include "messages/cbor.hpp"

#include <fmt/format.h>
#include <functional>

// Purpose: cancel, hold, release, signal.
// Input:   a selector: ids, or a filter.
// Action:  each selected job is authorised by itself; what only waits changes here, in one append;
//          what has an actor is asked to change itself. The answer comes when all is durable.
// Caveats: a job named by its id that may not be touched is reported; a filter passes over it.

namespace troupe::actors {

namespace {

constexpr std::size_t refusals_told_max = 16;

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
  change result;
  const auto now = world_.clock.utc();
  auto take = [&](job_table::iterator at, const std::optional<number_range>& elements, bool named) {
    auto& job = at->second;
    if (!matches(job, selector))
      return;
    if (auto ok = cap.permits(what.own, what.any, job.uid, at->first, now); !ok) {
      if (named) {
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
      ranges.push_back(*elements);
    if (job.actor || job.activating || !ranges.empty())
      result.live.emplace_back(at, std::move(ranges));
    else
      result.waiting.push_back(at);
  };
  if (selector.targets.empty()) {
    for (auto at = jobs_.begin(); at != jobs_.end(); ++at)
      take(at, std::nullopt, false);
    return result;
  }
  for (const auto& target : selector.targets) {
    auto at = jobs_.lower_bound(target.first);
    const auto none = at == jobs_.end() || at->first > target.last;
    if (none)
      refuse(result.result,
             {errc::not_found,
              target.first == target.last
                  ? fmt::format("job {} is not in the queue; it has ended or never was ('troupe "
                                "history' tells)",
                                target.first)
                  : fmt::format("none of the jobs {} to {} is in the queue", target.first,
                                target.last)});
    for (; at != jobs_.end() && at->first <= target.last; ++at)
      take(at, target.elements, target.first == target.last);
  }
  return result;
}

// -- jobs with an actor -----------------------------------------------------------

/// Sends `message` to every live job of a change, under the caller's own capability.
template <class M>
void scheduler_state::forward(const verified_capability& cap, change& what, M message,
                              std::shared_ptr<jobs_changed> total,
                              std::function<void(error)> done) {
  for (auto& [at, ranges] : what.live) {
    auto copy = message;
    copy.ranges = ranges;
    auto send = [this, cap, total, done, id = at->first, copy](const job_actor& to) {
      if (!to) {
        done({errc::storage, fmt::format("job {} could not be read back; try again", id)});
        return;
      }
      ask(self_, to, cap, copy)
          .then(
              [total, done](jobs_changed& changed) {
                total->jobs += changed.jobs;
                total->elements += changed.elements;
                done({});
              },
              [done](caf::error& why) {
                // An actor that has gone meanwhile: its job has ended, there is nothing to change.
                auto failure = from_caf(why);
                done(failure.code == errc::unreachable ? error{{}, {}} : std::move(failure));
              });
    };
    if (at->second.actor) {
      send(at->second.actor);
    } else {
      parked_changes_.emplace(at->first, std::move(send));
      activate(at);
    }
  }
}

namespace {

/// Counts answers that are still to come; the last one delivers.
struct gathering {
  std::shared_ptr<jobs_changed> total;
  std::size_t missing = 0;
  caf::typed_response_promise<jobs_changed> promise;

  void one_more(const error& why) {
    if (!why.text.empty())
      refuse(*total, why);
    if (--missing > 0)
      return;
    if (!promise.pending())
      return; // nobody asked
    if (total->jobs == 0 && total->elements == 0 && !total->refused.empty())
      promise.deliver(auth::to_caf(total->refused.front()));
    else
      promise.deliver(std::move(*total));
  }
};

} // namespace

// -- cancel -----------------------------------------------------------------------

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
  auto state = std::make_shared<gathering>();
  state->total = std::make_shared<jobs_changed>(std::move(selected->result));
  state->missing = selected->live.size() + (selected->waiting.empty() ? 0 : 1) + 1;
  state->promise = std::move(promise);
  const auto by = cap.who().uid;
  if (!selected->waiting.empty()) {
    append_entries entries;
    std::vector<job_id> ids;
    std::vector<plan_event> waiting;
    for (auto at : selected->waiting) {
      at->second.leaving = true;
      ids.push_back(at->first);
      entries.entries.push_back(end_of_waiting(at->second, by, what.reason));
      // What the planner decided meanwhile comes back to it: it must not decide the same again.
      auto& event = waiting.emplace_back();
      event.what = plan_event::kind::held;
      event.job = at->first;
    }
    plan(std::move(waiting));
    ask(self_, to_.ledger, cap_, std::move(entries))
        .then(
            [this, state, ids, reason = what.reason](entries_kept&) {
              state->total->jobs += ids.size();
              for (auto id : ids)
                if (auto at = jobs_.find(id); at != jobs_.end())
                  state->total->elements += at->second.row.elements_pending;
              const exit_report whole{job_state::cancelled, 0, 0, reason};
              leave(ids, whole);
              state->one_more({});
            },
            [this, state, ids](caf::error& why) {
              std::vector<plan_event> staying;
              for (auto id : ids) {
                auto at = jobs_.find(id);
                if (at == jobs_.end())
                  continue;
                at->second.leaving = false;
                if (at->second.holds != 0)
                  continue;
                auto& event = staying.emplace_back();
                event.what = plan_event::kind::released;
                event.job = id;
              }
              plan(std::move(staying));
              state->one_more(from_caf(why));
            });
  }
  forward(cap, *selected, cancel_elements{{}, by, what.reason}, state->total,
          [state](const error& why) { state->one_more(why); });
  state->one_more({});
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
    if (!waiters_.empty())
      settle(id, {}, &whole);
    auto at = jobs_.find(id);
    if (at == jobs_.end())
      continue;
    job_row row = at->second.row;
    row.state = whole.state;
    erase(at);
    ++finished_;
    dependency_changed(id, row);
  }
  plan(std::move(events));
  std::erase_if(parked_, [&](parked_location& parked) {
    if (jobs_.contains(parked.job))
      return false;
    parked.promise.delegate(to_.ledger, std::move(parked.what));
    return true;
  });
}

// -- hold, release ------------------------------------------------------------------

caf::result<jobs_changed> scheduler_state::set_held(const verified_capability& cap,
                                                    const job_selector& selector, bool held) {
  auto selected = select(cap, selector,
                         {verb::job_hold, verb::job_hold_any,
                          held ? typeid(hold_jobs).name() : typeid(release_jobs).name()});
  if (!selected)
    return auth::to_caf(selected.error());
  auto result = std::make_shared<jobs_changed>(std::move(selected->result));
  append_entries entries;
  std::vector<job_id> ids;
  auto take = [&](job_table::iterator at) {
    auto& job = at->second;
    if (job.row.elements_pending == 0) {
      refuse(*result, {errc::conflict, fmt::format("job {} has nothing that waits; it is {}",
                                                   at->first, to_string(job.row.state))});
      return;
    }
    if (job.row.held == held)
      return;
    ids.push_back(at->first);
    ledger_entry entry;
    entry.job = at->first;
    entry.what = held ? ledger_entry::kind::held : ledger_entry::kind::released;
    entry.uid = job.uid;
    entries.entries.push_back(std::move(entry));
  };
  for (auto at : selected->waiting)
    take(at);
  for (auto& [at, ranges] : selected->live)
    take(at);
  if (ids.empty()) {
    if (!result->refused.empty())
      return auth::to_caf(result->refused.front());
    return std::move(*result);
  }
  auto promise = self_->make_response_promise<jobs_changed>();
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, promise, result, ids, held](entries_kept&) mutable {
            std::vector<plan_event> events;
            for (auto id : ids) {
              auto at = jobs_.find(id);
              if (at == jobs_.end())
                continue;
              set_hold(at, by_person, held, events);
              ++result->jobs;
              result->elements += at->second.row.elements_pending;
            }
            plan(std::move(events));
            promise.deliver(std::move(*result));
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
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
  auto state = std::make_shared<gathering>();
  state->total = std::make_shared<jobs_changed>(std::move(selected->result));
  state->missing = selected->live.size() + 1;
  state->promise = self_->make_response_promise<jobs_changed>();
  for (auto at : selected->waiting)
    refuse(*state->total, {errc::conflict, fmt::format("job {} is not running; it is {}", at->first,
                                                       to_string(at->second.row.state))});
  forward(what.cap, *selected, signal_elements{{}, number}, state->total,
          [state](const error& why) { state->one_more(why); });
  state->one_more({});
  return state->promise;
}

} // namespace troupe::actors
