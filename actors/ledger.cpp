// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger.hpp"

#include "actors/history.hpp"
#include "actors/ledger_codec.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <malloc.h>
#include <system_error>

namespace troupe::actors {

namespace {

constexpr std::size_t entries_per_commit_max = 65'536;
constexpr std::size_t recent_max = 1024;
/// A request lives for an hour at most; its id is kept for twice as long.
constexpr utc_ns requests_kept_ns = 2 * 3600 * ns_per_s;
constexpr std::uint64_t requests_forgotten_at_once = 5000;
constexpr std::uint64_t events_gathered_at_once = 10'000;
constexpr std::uint64_t events_unkept_max = 100'000;
constexpr boot_ns failure_pause_ns = 5 * ns_per_s;
constexpr boot_ns tidy_pause_min_ns = ns_per_s;
constexpr boot_ns tidy_pause_max_ns = 60 * ns_per_s;

} // namespace

ledger_state::ledger_state(self_pointer self, world& around, std::shared_ptr<ledger::store> store,
                           history_actor history)
    : self_{self}, world_{around}, store_{std::move(store)}, history_{std::move(history)} {}

ledger_actor::behavior_type ledger_state::make_behavior(auth::guard_observer& guard) {
  tick_later(self_, world_, std::chrono::seconds(1), timer_idle);
  const auto read = [this](auto& what) { return read_past(what); };
  return secure_behavior<ledger_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>& what) {
        if (what.msg.timer != timer_commit)
          return idle();
        commit();
        store_->shorten_log();
      }),
      on<append_entries>([this](request<append_entries>& what) { return append(what); }),
      on<fetch_submission>([this](request<fetch_submission>& what) { return fetch(what.msg.job); }),
      on<find_request>([this](request<find_request>& what) { return find(what); }),
      on<query_history>([read](request<query_history>& what) { return read(what); }),
      on<query_estimates>([read](request<query_estimates>& what) { return read(what); }),
      on<query_job>([read](request<query_job>& what) { return read(what); }),
      on<query_rows>([read](request<query_rows>& what) { return read(what); }),
      on<query_ends>([read](request<query_ends>& what) { return read(what); }),
      on<locate_element>([read](request<locate_element>& what) { return read(what); }),
      on<await_step>([read](request<await_step>& what) { return read(what); }),
      on<await_spawned>([read](request<await_spawned>& what) { return read(what); }));
}

// -- reading --------------------------------------------------------------------

/// The past is read beside the appends.
template <class M>
caf::result<typename M::answer> ledger_state::read_past(request<M>& what) {
  return self_->delegate(history_, std::move(what));
}

/// What is asked for to start a job; those that were just submitted are at hand.
expected<submission_found> ledger_state::fetch(job_id job) {
  if (auto at = recent_.find(job); at != recent_.end())
    return submission_found{at->second};
  auto payload = store_->submitted_payload(job);
  if (!payload)
    return tl::unexpected<error>{payload.error()};
  auto event = from_cbor<submitted_event>(*payload);
  if (!event)
    return tl::unexpected<error>{event.error()};
  return submission_found{std::make_shared<submitted_event const>(std::move(*event))};
}

/// Whose request it was may know what became of it. To anybody else it is none.
expected<request_found> ledger_state::find(const request<find_request>& what) {
  const auto job = store_->job_of_request(what.msg.request_id);
  if (!job)
    return tl::unexpected<error>{job.error()};
  if (!*job)
    return request_found{};
  const auto row = store_->row_of(**job);
  if (!row)
    return tl::unexpected<error>{row.error()};
  return request_found{row->uid == what.cap.who().uid ? **job : 0};
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
  std::vector<waiting_append> batch;
  std::size_t count = 0;
  std::size_t taken = 0;
  for (; taken < waiting_.size() && count < entries_per_commit_max; ++taken) {
    count += waiting_[taken].what.entries.size();
    batch.push_back(std::move(waiting_[taken]));
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
  if (!waiting_.empty()) {
    commit_due_ = true;
    self_->send(self_, request<tick>{world_.timer_cap, tick{timer_commit}});
  }
  // In the order in which they came: an end must not overtake its own start.
  if (store_->accepts_submissions()) {
    if (!commit_together(batch, false))
      for (auto& one : batch)
        commit_alone(one, one.what.essential);
    return;
  }
  // Where space is short, an ordinary append must not drag essential ones down with it.
  std::vector<waiting_append> essential, ordinary;
  for (auto& one : batch)
    (one.what.essential ? essential : ordinary).push_back(std::move(one));
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
  for (auto& one : batch) {
    remember(one.what);
    const auto size = one.what.entries.size();
    one.promise.deliver(entries_kept{sequence, store_->appended_at()});
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
    note_failure(first.error());
    one.promise.deliver(auth::to_caf(first.error()));
    return;
  }
  ++commits_;
  events_ += events.size();
  remember(one.what);
  one.promise.deliver(entries_kept{*first, store_->appended_at()});
}

/// Who retries asks every second: the log says it once in a while, with how often it was so.
void ledger_state::note_failure(const error& why) {
  ++failures_;
  ++failures_untold_;
  const auto now = world_.clock.boot();
  if (now < failure_told_again_)
    return;
  failure_told_again_ = now + failure_pause_ns;
  world_.log->error("ledger: {}{}", why.text,
                    failures_untold_ == 1 ? std::string{}
                                          : fmt::format(" ({} times)", failures_untold_));
  failures_untold_ = 0;
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

/// Every second: what nobody waits for. What does not work waits longer each time.
void ledger_state::idle() {
  tick_later(self_, world_, std::chrono::seconds(1), timer_idle);
  const bool quiet = commits_ == commits_at_idle_;
  commits_at_idle_ = commits_;
  if (!waiting_.empty() || world_.clock.boot() < tidy_at_)
    return;
  auto done = forget_and_gather();
  // After a second without commits, the log moves into the database file: never inside a commit
  // that somebody waits for.
  if (done && quiet && commits_ != commits_tidied_) {
    done = store_->checkpoint();
#ifdef __GLIBC__
    ::malloc_trim(0); // what only the burst of work needed goes back to the system
#endif
  }
  if (done) {
    commits_tidied_ = quiet ? commits_ : commits_tidied_;
    tidy_pause_ = {};
    return;
  }
  tidy_pause_ = std::clamp(tidy_pause_ * 2, tidy_pause_min_ns, tidy_pause_max_ns);
  tidy_at_ = world_.clock.boot() + tidy_pause_;
  world_.log->warn("ledger: {}; tried again in {} s", done.error().text, tidy_pause_ / ns_per_s);
}

/// Request ids whose time is over go, and what ends tell of their users is gathered: some of both.
expected<void> ledger_state::forget_and_gather() {
  const auto forgotten =
      store_->forget_requests(passed_.utc() - requests_kept_ns, requests_forgotten_at_once);
  if (!forgotten)
    return tl::unexpected<error>{forgotten.error()};
  if (!past_) {
    auto book = past_work_book::open(*store_);
    if (!book)
      return tl::unexpected<error>{book.error()};
    past_ = std::move(*book);
  }
  auto more = past_->read_on(*store_, events_gathered_at_once);
  if (!more)
    return tl::unexpected<error>{more.error()};
  return past_->events_since_kept() > events_unkept_max ? past_->keep(*store_) : expected<void>{};
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
