// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger.hpp"

#include "actors/ledger_codec.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <malloc.h>

namespace troupe::actors {

namespace {

constexpr std::size_t entries_per_commit_max = 65'536;
constexpr std::size_t recent_max = 1024;

} // namespace

ledger_state::ledger_state(self_pointer self, world& around, std::shared_ptr<ledger::store> store)
    : self_{self}, world_{around}, store_{std::move(store)} {}

ledger_actor::behavior_type ledger_state::make_behavior(auth::guard_observer& guard) {
  tick_later(self_, world_, std::chrono::seconds(1), timer_idle);
  return secure_behavior<ledger_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>& what) {
        switch (what.msg.timer) {
        case timer_commit: commit(); return store_->shorten_log();
        case timer_history: return add_some_of_what_was_asked();
        default: return idle();
        }
      }),
      on<append_entries>([this](request<append_entries>& what) { return append(what); }),
      on<fetch_submission>([this](request<fetch_submission>& what) { return fetch(what.msg.job); }),
      on<query_history>([this](request<query_history>& what) { return history(what); }),
      on<query_estimates>([this](request<query_estimates>& what) { return estimates(what); }),
      on<query_job>([this](request<query_job>& what) { return job(what); }),
      on<locate_element>([this](request<locate_element>& what) { return locate(what); }),
      on<await_step>([this](request<await_step>& what) { return await(what); }),
      on<await_spawned>([this](request<await_spawned>& what) { return spawned(what); }));
}

// -- writing --------------------------------------------------------------------

caf::result<entries_kept> ledger_state::append(request<append_entries>& what) {
  auto promise = self_->make_response_promise<entries_kept>();
  waiting_.push_back({std::move(what.msg), promise});
  if (!commit_due_) {
    // Behind everything that is in the mailbox already: that shares the commit.
    commit_due_ = true;
    self_->send(self_, request<tick>{world_.timer_cap, tick{timer_commit}});
  }
  return promise;
}

void ledger_state::commit() {
  commit_due_ = false;
  std::vector<waiting_append> essential, ordinary;
  std::size_t count = 0;
  std::size_t taken = 0;
  for (; taken < waiting_.size() && count < entries_per_commit_max; ++taken) {
    count += waiting_[taken].what.entries.size();
    auto& to = waiting_[taken].what.essential ? essential : ordinary;
    to.push_back(std::move(waiting_[taken]));
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
  if (!waiting_.empty()) {
    commit_due_ = true;
    self_->send(self_, request<tick>{world_.timer_cap, tick{timer_commit}});
  }
  // Together where possible; an ordinary append must not drag essential ones down with it.
  if (store_->accepts_submissions()) {
    auto all = std::move(essential);
    std::move(ordinary.begin(), ordinary.end(), std::back_inserter(all));
    if (commit_together(all, false))
      return;
    for (auto& one : all)
      commit_alone(one, one.what.essential);
    return;
  }
  if (!essential.empty() && !commit_together(essential, true))
    for (auto& one : essential)
      commit_alone(one, true);
  for (auto& one : ordinary)
    commit_alone(one, false);
}

/// One transaction for all of the batch; false if it was not taken as a whole.
bool ledger_state::commit_together(std::vector<waiting_append>& batch, bool essential) {
  if (batch.size() == 1) {
    commit_alone(batch.front(), essential || batch.front().what.essential);
    return true;
  }
  std::vector<ledger::event> events;
  for (auto& one : batch)
    for (auto& entry : one.what.entries)
      events.push_back(to_event(entry));
  auto first = essential ? store_->append_essential(events) : store_->append(events);
  if (!first) {
    auto next = events.begin();
    for (auto& one : batch)
      for (auto& entry : one.what.entries)
        entry.encoded = std::move((next++)->payload);
    return false;
  }
  ++commits_;
  events_ += events.size();
  auto sequence = *first;
  const auto now = world_.clock.utc();
  for (auto& one : batch) {
    remember(one.what);
    const auto size = one.what.entries.size();
    one.promise.deliver(entries_kept{sequence, now});
    sequence += size;
  }
  return true;
}

void ledger_state::commit_alone(waiting_append& one, bool essential) {
  std::vector<ledger::event> events;
  events.reserve(one.what.entries.size());
  for (auto& entry : one.what.entries)
    events.push_back(to_event(entry));
  auto first = essential ? store_->append_essential(events) : store_->append(events);
  if (!first) {
    ++failures_;
    world_.log->error("ledger: {}", first.error().text);
    one.promise.deliver(auth::to_caf(first.error()));
    return;
  }
  ++commits_;
  events_ += events.size();
  remember(one.what);
  one.promise.deliver(entries_kept{*first, world_.clock.utc()});
}

void ledger_state::remember(const append_entries& what) {
  for (const auto& entry : what.entries) {
    if (!entry.submitted)
      continue;
    const auto known = recent_.contains(entry.job);
    recent_[entry.job] = entry.submitted;
    if (known)
      continue;
    recent_order_.push_back(entry.job);
    if (recent_order_.size() > recent_max) {
      recent_.erase(recent_order_.front());
      recent_order_.pop_front();
    }
  }
}

/// After a second without commits, the log moves into the database file: never inside a commit that
/// somebody waits for.
void ledger_state::idle() {
  if (commits_ == commits_at_idle_ && commits_ != commits_tidied_) {
    if (auto done = store_->checkpoint(); !done)
      world_.log->warn("ledger: {}", done.error().text);
#ifdef __GLIBC__
    ::malloc_trim(0); // what only the burst of work needed goes back to the system
#endif
    commits_tidied_ = commits_;
  }
  commits_at_idle_ = commits_;
  tick_later(self_, world_, std::chrono::seconds(1), timer_idle);
}

status_report ledger_state::status() const {
  status_report report;
  report.actor = name;
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("last sequence", store_->last_seq());
  add("commits", commits_);
  add("events", events_);
  add("failures", failures_);
  add("log bytes", store_->wal_bytes());
  add("takes submissions", store_->accepts_submissions());
  add("appends waiting", waiting_.size());
  return report;
}

} // namespace troupe::actors
