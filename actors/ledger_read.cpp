// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger.hpp"
#include "actors/ledger_codec.hpp"
#include "actors/step_history.hpp"
#include "actors/users.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

// What the ledger answers.

namespace troupe::actors {

namespace {

constexpr std::uint32_t history_rows_max = 100'000;
constexpr std::size_t history_rows_at_once = 1000;

} // namespace

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

caf::result<job_rows> ledger_state::history(request<query_history>& what) {
  const auto& asked = what.msg;
  const auto& cap = what.cap;
  ledger::filter filter;
  if (!cap.check(verb::history_read_any, world_.clock.utc()))
    filter.uid = cap.who().uid;
  if (!asked.selector.user.empty()) {
    auto id = uid_of(asked.selector.user);
    if (!id)
      return auth::to_caf(id.error());
    if (filter.uid && *filter.uid != *id)
      return auth::to_caf(
          error{errc::refused, fmt::format("the history of user '{}' is not yours to read; ask an "
                                           "operator",
                                           asked.selector.user)});
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
    return auth::to_caf(done.error());
  histories_.push_back({std::move(result), 0, self_->make_response_promise<job_rows>()});
  auto promise = histories_.back().promise;
  add_some_of_what_was_asked();
  return promise;
}

/// What jobs asked for is read from their submissions, some at a time: appends do not wait for the
/// end of a long history.
void ledger_state::add_some_of_what_was_asked() {
  if (histories_.empty())
    return;
  auto& first = histories_.front();
  auto& rows = first.found.rows;
  const auto end = std::min(rows.size(), first.next + history_rows_at_once);
  for (; first.next < end; ++first.next)
    add_what_was_asked(rows[first.next]);
  if (first.next == rows.size()) {
    first.promise.deliver(std::move(first.found));
    histories_.pop_front();
  }
  if (!histories_.empty())
    self_->send(self_, request<tick>{world_.timer_cap, tick{timer_history}});
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

/// What every question about one job begins with: the job is there, and the asker may know of it.
caf::expected<ledger_state::known_job> ledger_state::look_up(const verified_capability& cap,
                                                             job_id job, verb own, verb any) {
  auto table = store_->row_of(job);
  if (!table)
    return auth::to_caf(
        error{errc::not_found, fmt::format("there is no job {}; 'troupe queue' and 'troupe "
                                           "history' list them",
                                           job)});
  auto submission = fetch(job);
  if (!submission)
    return auth::to_caf(submission.error());
  known_job known{row_of_submission(job, *submission->event, table->submitted_ns),
                  submission->event};
  apply_table_row(known.row, *table);
  if (auto ok = cap.permits(own, any, known.event->identity.uid, job, world_.clock.utc()); !ok)
    return auth::to_caf(ok.error());
  return known;
}

caf::result<job_view> ledger_state::job(request<query_job>& what) {
  auto found = look_up(what.cap, what.msg.job, verb::history_read, verb::history_read_any);
  if (!found)
    return found.error();
  job_view view;
  view.row = std::move(found->row);
  view.spec = found->event->spec;
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
  auto found = look_up(what.cap, what.msg.job, verb::job_read, verb::job_read_any);
  if (!found)
    return found.error();
  if (what.msg.step != 0) {
    auto step = locate_step(what.msg.job, what.msg.step);
    if (!step)
      return auth::to_caf(step.error());
    return std::move(*step);
  }
  const auto element = what.msg.element;
  const auto& row = found->row;
  const auto& asked = found->event->spec;
  element_location location;
  location.state = job_state::cancelled;
  location.may_spawn = asked.mpi == mpi_mode::pmix;
  location.streams_output = asked.stdout_path == "|";
  location.streams_input = asked.stdin_path == "|";
  location.streams_errors = asked.stderr_path == "|" && !asked.merge_stderr;
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
    location.exit = exit_report{row.state, row.exit_code, row.signal, row.reason};
  if (asked.batch && !location.parts.empty()) {
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
  auto found = look_up(what.cap, what.msg.job, verb::job_read, verb::job_read_any);
  if (!found)
    return found.error();
  auto step = locate_step(what.msg.job, what.msg.step);
  if (!step)
    return auth::to_caf(step.error());
  return step_over{step->exit.value_or(exit_report{})};
}

caf::result<step_spawned> ledger_state::spawned(request<await_spawned>& what) {
  auto found = look_up(what.cap, what.msg.job, verb::job_read, verb::job_read_any);
  if (!found)
    return found.error();
  step_history steps;
  auto done = store_->events_of(what.msg.job,
                                [&](const ledger::stored_event& stored) { steps.take(stored); });
  if (!done)
    return auth::to_caf(done.error());
  return step_spawned{steps.next_spawned(what.msg)};
}

} // namespace troupe::actors
