// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger.hpp"

#include "actors/ledger_codec.hpp"
#include "actors/step_history.hpp"
#include "actors/users.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <malloc.h>

namespace troupe::actors {

namespace {

constexpr std::size_t entries_per_commit_max = 65'536;
constexpr std::size_t recent_max = 1024;
constexpr std::uint32_t history_rows_max = 100'000;

} // namespace

ledger_state::ledger_state(self_pointer self, world& around, std::shared_ptr<ledger::store> store)
    : self_{self}, world_{around}, store_{std::move(store)} {}

ledger_actor::behavior_type ledger_state::make_behavior(auth::guard_observer& guard) {
  tick_later(self_, world_, std::chrono::seconds(1), 1);
  return secure_behavior<ledger_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>& what) {
        if (what.msg.timer == 0)
          commit();
        else
          idle();
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
    self_->send(self_, request<tick>{world_.timer_cap, tick{0}});
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
    self_->send(self_, request<tick>{world_.timer_cap, tick{0}});
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

/// Once a second without commits, the log moves into the database file: never inside a commit that
/// somebody waits for.
void ledger_state::idle() {
  if (commits_ == commits_at_idle_ && store_->wal_bytes() > 0) {
    if (auto done = store_->checkpoint(); !done)
      world_.log->warn("ledger: {}", done.error().text);
#ifdef __GLIBC__
    ::malloc_trim(0); // what only the burst of work needed goes back to the system
#endif
  }
  commits_at_idle_ = commits_;
  tick_later(self_, world_, std::chrono::seconds(1), 1);
}

// -- reading --------------------------------------------------------------------

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

expected<job_rows> ledger_state::history(request<query_history>& what) {
  const auto& asked = what.msg;
  const auto& cap = what.cap;
  ledger::filter filter;
  if (!cap.check(verb::history_read_any, world_.clock.utc()))
    filter.uid = cap.who().uid;
  if (!asked.selector.user.empty()) {
    auto id = uid_of(asked.selector.user);
    if (!id)
      return tl::unexpected<error>{id.error()};
    if (filter.uid && *filter.uid != *id)
      return fail(errc::refused,
                  fmt::format("the history of user '{}' is not yours to read; ask an "
                              "operator",
                              asked.selector.user));
    filter.uid = *id;
  }
  for (auto state : asked.selector.states)
    filter.states.push_back(static_cast<std::uint8_t>(state));
  if (filter.states.empty())
    for (auto state = job_state::completed; state <= job_state::lost;
         state = static_cast<job_state>(static_cast<int>(state) + 1))
      filter.states.push_back(static_cast<std::uint8_t>(state));
  for (const auto& target : asked.selector.targets)
    filter.jobs.push_back({target.first, target.last});
  if (!asked.selector.name.empty())
    filter.name = asked.selector.name;
  if (asked.since_utc_ns != 0)
    filter.since = asked.since_utc_ns;
  if (asked.until_utc_ns != 0)
    filter.until = asked.until_utc_ns;
  filter.limit = std::min(asked.rows_max, history_rows_max);
  job_rows result;
  const auto& reach = cap.on();
  if (filter.jobs.empty() && reach.kind == auth::resource_kind::jobs)
    filter.jobs.push_back({reach.lo, reach.hi});
  auto done = store_->history(filter, [&](const ledger::job_row& from) {
    if (!cap.covers(auth::resource_kind::jobs, from.job))
      return;
    job_row row;
    apply_table_row(row, from);
    row.user = user_name_of(from.uid);
    row.elements_total = from.elements_total > 1 ? from.elements_total : 0;
    result.rows.push_back(std::move(row));
  });
  if (!done)
    return tl::unexpected<error>{done.error()};
  for (auto& row : result.rows)
    add_what_was_asked(row);
  return result;
}

/// The table has what became of a job; its submission, what it asked for.
void ledger_state::add_what_was_asked(job_row& row) {
  const auto payload = store_->submitted_payload(row.job);
  if (!payload)
    return;
  const auto event = from_cbor<submitted_event>(*payload);
  if (!event)
    return;
  const auto asked = row_of_submission(row.job, *event, row.submitted_utc_ns);
  row.queue = asked.queue;
  row.account = asked.account;
  row.nodes = asked.nodes;
  row.tasks = asked.tasks;
  row.cores_per_task = asked.cores_per_task;
  row.memory_bytes = asked.memory_bytes;
  row.gpus_per_task = asked.gpus_per_task;
  row.time_limit_s = asked.time_limit_s;
}

namespace {

double median(std::vector<double> values) {
  if (values.empty())
    return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

estimate_summary summary_of(const std::vector<estimate_row>& rows) {
  estimate_summary result;
  std::vector<double> first, last;
  for (const auto& row : rows) {
    const auto off = [&](utc_ns promised) {
      return static_cast<double>(row.started_utc_ns - promised) / ns_per_s;
    };
    const auto error = off(row.first_promised_utc_ns);
    result.first_error_mean_s += error / static_cast<double>(rows.size());
    result.first_error_max_s = std::max(result.first_error_max_s, error);
    result.late += error > 0;
    first.push_back(std::abs(error));
    last.push_back(std::abs(off(row.last_promised_utc_ns)));
  }
  result.jobs = rows.size();
  result.first_error_abs_median_s = median(std::move(first));
  result.last_error_abs_median_s = median(std::move(last));
  return result;
}

} // namespace

expected<estimates_found> ledger_state::estimates(request<query_estimates>& what) {
  const auto& asked = what.msg;
  const auto any = what.cap.check(verb::history_read_any, world_.clock.utc()).has_value();
  const auto rows_max = std::min(asked.rows_max, history_rows_max);
  const auto named = [&](job_id job) {
    return asked.selector.targets.empty() ||
           std::any_of(
               asked.selector.targets.begin(), asked.selector.targets.end(),
               [&](const auto& target) { return target.first <= job && job <= target.last; });
  };
  estimates_found result;
  std::optional<error> broken;
  auto visit = [&](const ledger::stored_event& stored) {
    auto starting = from_cbor<starting_event>(stored.payload);
    if (!starting || starting->first_promised_utc_ns == 0 || !named(stored.job))
      return true;
    auto table = store_->row_of(stored.job);
    if (!table) {
      broken = table.error();
      return false;
    }
    estimate_row row;
    row.job = stored.job;
    row.name = table->name;
    row.user = user_name_of(table->uid);
    if ((!any && table->uid != what.cap.who().uid) ||
        (!asked.selector.name.empty() && row.name != asked.selector.name) ||
        (!asked.selector.user.empty() && row.user != asked.selector.user))
      return true;
    row.submitted_utc_ns = table->submitted_ns;
    row.first_promised_utc_ns = starting->first_promised_utc_ns;
    row.last_promised_utc_ns = starting->last_promised_utc_ns;
    row.started_utc_ns = stored.time;
    result.rows.push_back(std::move(row));
    return result.rows.size() < rows_max;
  };
  auto done = store_->events_of_kind(ledger::event_kind::starting, asked.since_utc_ns, visit);
  if (!done || broken)
    return tl::unexpected<error>{broken ? *broken : done.error()};
  result.summary = summary_of(result.rows);
  return result;
}

expected<job_row> ledger_state::row_with_spec(job_id job,
                                              std::shared_ptr<submitted_event const>* event) {
  auto table = store_->row_of(job);
  if (!table)
    return fail(errc::not_found, fmt::format("there is no job {}; 'troupe queue' and 'troupe "
                                             "history' list them",
                                             job));
  auto found = fetch(job);
  if (!found)
    return tl::unexpected<error>{found.error()};
  auto row = row_of_submission(job, *found->event, table->submitted_ns);
  apply_table_row(row, *table);
  *event = found->event;
  return row;
}

caf::result<job_view> ledger_state::job(request<query_job>& what) {
  std::shared_ptr<submitted_event const> event;
  auto row = row_with_spec(what.msg.job, &event);
  if (!row)
    return auth::to_caf(row.error());
  if (auto ok = what.cap.permits(verb::history_read, verb::history_read_any, event->identity.uid,
                                 what.msg.job, world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  job_view view;
  view.row = std::move(*row);
  view.spec = event->spec;
  step_history steps;
  auto done = store_->events_of(what.msg.job, [&](const ledger::stored_event& stored) {
    steps.take(stored);
    if (stored.kind != ledger::event_kind::ended ||
        view.elements.size() >= job_view::elements_shown_max)
      return;
    auto ended = from_cbor<ended_event>(stored.payload);
    if (!ended)
      return;
    element_view element;
    element.element = stored.element;
    element.incarnation = stored.incarnation;
    element.state = ended->exit.state;
    element.exit_code = ended->exit.exit_code;
    element.signal = ended->exit.signal;
    element.reason = ended->exit.reason;
    element.started_utc_ns = ended->started_utc_ns;
    element.ended_utc_ns = ended->ended_utc_ns;
    element.nodelist = ended->nodelist;
    if (view.row.nodelist.empty())
      view.row.nodelist = ended->nodelist;
    view.elements.push_back(std::move(element));
  });
  if (!done)
    return auth::to_caf(done.error());
  view.steps = steps.views();
  return view;
}

/// Where an ended element ran, and how it ended.
caf::result<element_location> ledger_state::locate(request<locate_element>& what) {
  std::shared_ptr<submitted_event const> event;
  auto row = row_with_spec(what.msg.job, &event);
  if (!row)
    return auth::to_caf(row.error());
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, event->identity.uid,
                                 what.msg.job, world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  if (what.msg.step != 0) {
    auto step = locate_step(what.msg.job, what.msg.step);
    if (!step)
      return auth::to_caf(step.error());
    return std::move(*step);
  }
  const auto element = what.msg.element;
  element_location location;
  location.state = job_state::cancelled;
  location.may_spawn = event->spec.mpi == mpi_mode::pmix;
  location.streams_output = event->spec.stdout_path == "|";
  location.streams_errors = event->spec.stderr_path == "|" && !event->spec.merge_stderr;
  auto done = store_->events_of(what.msg.job, [&](const ledger::stored_event& stored) {
    if (stored.kind == ledger::event_kind::starting) {
      auto starting = from_cbor<starting_event>(stored.payload);
      if (starting && starting->element_first <= element && element <= starting->element_last) {
        location.incarnation = stored.incarnation;
        location.parts = starting->parts;
        if (starting->window > 0)
          location.parts.resize(1);
      }
    } else if (stored.kind == ledger::event_kind::ended && stored.element == element) {
      if (auto ended = from_cbor<ended_event>(stored.payload)) {
        location.exit = ended->exit;
        location.state = ended->exit.state;
      }
    }
  });
  if (!done)
    return auth::to_caf(done.error());
  if (!location.exit)
    location.exit = exit_report{row->state, row->exit_code, row->signal, row->reason};
  if (event->spec.batch && !location.parts.empty()) {
    location.parts.resize(1);
    location.parts.front().ranks = 1;
  }
  return location;
}

/// Where a step of a job that has ended ran, and how it ended.
expected<element_location> ledger_state::locate_step(job_id job, std::uint32_t number) {
  step_history steps;
  auto done =
      store_->events_of(job, [&](const ledger::stored_event& stored) { steps.take(stored); });
  if (!done)
    return tl::unexpected<error>{done.error()};
  if (auto found = steps.location(number))
    return *found;
  return fail(errc::not_found, fmt::format("job {} has had no step {}", job, number));
}

caf::result<step_over> ledger_state::await(request<await_step>& what) {
  std::shared_ptr<submitted_event const> event;
  auto row = row_with_spec(what.msg.job, &event);
  if (!row)
    return auth::to_caf(row.error());
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, event->identity.uid,
                                 what.msg.job, world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  auto found = locate_step(what.msg.job, what.msg.step);
  if (!found)
    return auth::to_caf(found.error());
  return step_over{found->exit.value_or(exit_report{})};
}

caf::result<step_spawned> ledger_state::spawned(request<await_spawned>& what) {
  std::shared_ptr<submitted_event const> event;
  auto row = row_with_spec(what.msg.job, &event);
  if (!row)
    return auth::to_caf(row.error());
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, event->identity.uid,
                                 what.msg.job, world_.clock.utc());
      !ok)
    return auth::to_caf(ok.error());
  step_history steps;
  auto done = store_->events_of(what.msg.job,
                                [&](const ledger::stored_event& stored) { steps.take(stored); });
  if (!done)
    return auth::to_caf(done.error());
  return step_spawned{steps.next_spawned(what.msg)};
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
