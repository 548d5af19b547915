// SPDX-License-Identifier: Apache-2.0
#include "actors/askers.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/scheduler/target_set.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: answer when all of some jobs or elements have ended.
// Input:   what a client named; news of ends; the ledger's word about what had ended before.
// Action:  what is unfinished is waited for; the rest the ledger is asked for, one page after the
//          other, so that everybody else is served between two of them.
// Caveats: what a client may wait for at once is bounded, and so is what all of one user's do.
//          Nothing is kept for a client that has gone, or whose capability has ended.

namespace troupe::actors {

namespace {

/// Jobs and elements that one user waits for, in all calls together.
constexpr std::uint64_t waited_by_user_max = 400'000;

} // namespace

caf::result<job_ends> scheduler_state::await(request<await_jobs>& what) {
  const auto named = target_set::of(what.msg.targets);
  if (!named)
    return auth::to_caf(named.error());
  const auto count = named->count();
  if (count > await_jobs::named_max)
    return auth::to_caf(error{
        errc::invalid, fmt::format("{} jobs and elements are named; at most {} can be waited for "
                                   "at once: name fewer, or arrays as a whole",
                                   count, await_jobs::named_max)});
  const auto uid = what.cap.who().uid;
  if (auto at = waited_by_user_.find(uid);
      at != waited_by_user_.end() && at->second + count > waited_by_user_max)
    return auth::to_caf(
        error{errc::exhausted, fmt::format("other calls of this user wait for {} jobs and elements "
                                           "already; {} more are too many, {} are the limit",
                                           at->second, count, waited_by_user_max)});
  auto who = std::make_shared<waiter>();
  who->cap = what.cap;
  who->named = count;
  if (auto may = expect_ends(*who, *named); !may)
    return auth::to_caf(may.error());
  // Not before: an error that is returned beside a promise is answered to nobody.
  who->promise = self_->make_response_promise<job_ends>();
  who->id = next_waiter_++;
  waiters_[who->id] = who;
  waited_by_user_[uid] += count;
  go_on_waiting(who);
  return who->promise;
}

/// What is unfinished here is missing; the ledger is to be asked for the rest.
auth::checked<void> scheduler_state::expect_ends(waiter& who, const target_set& named) const {
  const auto now = world_.clock.now();
  const auto may_read = [&](job_table::const_iterator at) {
    return who.cap.permits(verb::job_read, verb::job_read_any, at->second.uid, at->first, now);
  };
  for (const auto& range : named.whole()) {
    std::uint64_t here = 0;
    for (auto at = jobs_.lower_bound(range.first); at != jobs_.end() && at->first <= range.last;
         ++at, ++here) {
      if (auto ok = may_read(at); !ok)
        return ok;
      who.missing_jobs.insert(at->first);
    }
    if (here != range.last - range.first + 1)
      who.questions.push_back({range.first, range.last, std::nullopt, 0});
  }
  for (const auto& [job, elements] : named.elements()) {
    if (auto at = jobs_.find(job); at != jobs_.end())
      if (auto ok = may_read(at); !ok)
        return ok;
    who.missing_elements[job] = elements;
    ask_for_elements(who, job);
  }
  return {};
}

/// From the first to the last element that is missing: those between that are not do no harm.
void scheduler_state::ask_for_elements(waiter& who, job_id job) {
  const auto at = who.missing_elements.find(job);
  if (at == who.missing_elements.end() || at->second.empty())
    return;
  const auto& intervals = at->second.intervals();
  who.questions.push_back(
      {job, job, number_range{intervals.begin()->first, intervals.rbegin()->second}, 0});
}

/// Asks the ledger's next question, or answers when nothing is missing any more.
void scheduler_state::go_on_waiting(const std::shared_ptr<waiter>& who) {
  if (who->asking || !waiters_.contains(who->id))
    return;
  if (who->questions.empty()) {
    if (who->missing_jobs.empty() && who->missing_elements.empty() && !refuse_if_ended(who))
      answer_waiter(who);
    return;
  }
  who->asking = true;
  const auto question = who->questions.back();
  who->questions.pop_back();
  ask(self_, to_.ledger, who->cap, question)
      .then(
          [this, who, question](ends_found& found) {
            who->asking = false;
            take_ends(*who, question, found);
            go_on_waiting(who);
          },
          [this, who](caf::error& why) { refuse_waiter(who, why); });
}

void scheduler_state::take_ends(waiter& who, const query_ends& asked, ends_found& found) {
  for (auto& end : found.ends)
    take_end(who, end);
  for (auto job : found.unfinished) {
    if (who.ends.contains({job, no_element}))
      continue; // it has ended since the ledger looked
    who.missing_jobs.insert(job);
    // On its way to the disk, or gone since: it is asked for again.
    who.unsure = who.unsure || !jobs_.contains(job);
  }
  if (asked.elements && asked.from == 0) { // the first page says which of them there are
    if (auto at = who.missing_elements.find(asked.first); at != who.missing_elements.end()) {
      interval_set there;
      for (const auto& range : found.elements)
        for (auto [first, last] : at->second.intervals())
          there.insert(std::max(first, static_cast<std::uint32_t>(range.first)),
                       std::min(last, static_cast<std::uint32_t>(range.last)));
      at->second = std::move(there);
      if (at->second.empty())
        who.missing_elements.erase(at);
      else
        who.unsure = who.unsure || !jobs_.contains(asked.first);
    }
  }
  if (!found.next)
    return;
  auto next = asked;
  next.from = *found.next;
  who.questions.push_back(std::move(next));
}

void scheduler_state::take_end(waiter& who, const job_end& end) {
  if (end.element == no_element) {
    // A job that was not known to be unfinished is told by the ledger alone.
    who.missing_jobs.erase(end.job);
    who.ends[{end.job, no_element}] = end.exit;
    return;
  }
  const auto at = who.missing_elements.find(end.job);
  if (at == who.missing_elements.end() || !at->second.contains(end.element))
    return;
  at->second.erase(end.element, end.element);
  who.ends[{end.job, end.element}] = end.exit;
  if (at->second.empty())
    who.missing_elements.erase(at);
}

/// News of ends, for everybody who waits for them; `whole`: the job's own end is among them.
void scheduler_state::settle(const job_news& news) {
  std::vector<std::shared_ptr<waiter>> concerned;
  for (const auto& [id, who] : waiters_)
    if (take_news(*who, news))
      concerned.push_back(who);
  for (const auto& who : concerned)
    go_on_waiting(who);
}

bool scheduler_state::take_news(waiter& who, const job_news& news) {
  auto concerns = false;
  if (auto at = who.missing_elements.find(news.job); at != who.missing_elements.end()) {
    concerns = true;
    for (const auto& end : news.ends)
      if (end.element != no_element)
        take_end(who, end);
    take_withdrawn(who, news);
    if (news.whole)
      ask_for_elements(who, news.job); // what it had no news of, the ledger can tell now
  }
  if (news.whole && who.missing_jobs.erase(news.job) > 0) {
    concerns = true;
    who.ends[{news.job, no_element}] = *news.whole;
  }
  return concerns;
}

void scheduler_state::take_withdrawn(waiter& who, const job_news& news) {
  const exit_report exit{job_state::cancelled, 0, 0, news.withdrawn_reason};
  for (const auto& range : news.withdrawn) {
    const auto at = who.missing_elements.find(news.job);
    if (at == who.missing_elements.end())
      return;
    const auto missing = at->second;
    for (auto [first, last] : missing.intervals()) {
      const auto low = std::max<std::uint64_t>(first, range.first);
      const auto high = std::min<std::uint64_t>(last, range.last);
      for (auto i = low; i <= high; ++i)
        take_end(who, {news.job, static_cast<std::uint32_t>(i), exit});
    }
  }
}

void scheduler_state::answer_waiter(const std::shared_ptr<waiter>& who) {
  job_ends answer;
  for (auto& [key, exit] : who->ends)
    answer.ends.push_back({key.first, key.second, std::move(exit)});
  who->promise.deliver(std::move(answer));
  forget_waiter(*who);
}

void scheduler_state::refuse_waiter(const std::shared_ptr<waiter>& who, const caf::error& why) {
  if (!waiters_.contains(who->id))
    return;
  who->promise.deliver(why);
  forget_waiter(*who);
}

void scheduler_state::forget_waiter(const waiter& who) {
  const auto uid = who.cap.who().uid;
  if (waiters_.erase(who.id) == 0)
    return;
  if (auto at = waited_by_user_.find(uid); (at->second -= who.named) == 0)
    waited_by_user_.erase(at);
}

/// Whoever waits does so under a capability that must still be good when the answer comes.
bool scheduler_state::refuse_if_ended(const std::shared_ptr<waiter>& who) {
  const auto needed = auth::verb_set{verb::job_read, verb::job_read_any};
  auto ok = who->cap.check(needed, world_.clock.now());
  if (ok)
    return false;
  if (world_.audit_refusal)
    world_.audit_refusal(typeid(await_jobs).name(), who->cap, ok.error());
  refuse_waiter(who, auth::to_caf(ok.error()));
  return true;
}

/// Nobody waits for ever: not for a client that has gone, nor for a job whose end went by unseen.
void scheduler_state::recheck_waiters() {
  const auto waiting = waiters_;
  for (const auto& [id, who] : waiting) {
    if (asker_is_gone(who->promise))
      forget_waiter(*who);
    else if (!refuse_if_ended(who) && !who->asking && std::exchange(who->unsure, false))
      ask_again(who);
  }
  std::erase_if(parked_, [](const auto& each) { return asker_is_gone(each.second.promise); });
}

void scheduler_state::ask_again(const std::shared_ptr<waiter>& who) {
  for (auto job : who->missing_jobs)
    if (!jobs_.contains(job))
      who->questions.push_back({job, job, std::nullopt, 0});
  for (const auto& [job, elements] : who->missing_elements)
    if (!jobs_.contains(job))
      ask_for_elements(*who, job);
  go_on_waiting(who);
}

} // namespace troupe::actors
