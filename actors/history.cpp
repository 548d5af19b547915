// SPDX-License-Identifier: Apache-2.0
#include "actors/history.hpp"

#include "actors/elements.hpp"
#include "actors/ledger_codec.hpp"
#include "actors/step_history.hpp"
#include "actors/users.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// What the ledger answers.

namespace troupe::actors {

namespace {

constexpr std::uint32_t page_rows_max = 1000;
/// Events of an earlier Troupe that one page of promised starts looks at.
constexpr std::uint64_t older_events_at_once = 50'000;
constexpr boot_ns user_life_ns = 60 * ns_per_s;
constexpr std::size_t users_max = 10'000;

/// Whom a question is about: the asker alone, unless the asker may know of others.
expected<std::optional<std::uint32_t>> uid_in_question(const verified_capability& cap,
                                                       boot_time now, const std::string& user) {
  std::optional<std::uint32_t> own;
  if (!cap.check(verb::history_read_any, now))
    own = cap.who().uid;
  if (user.empty())
    return own;
  auto id = uid_of(user);
  if (!id)
    return tl::unexpected<error>{id.error()};
  if (own && *own != *id)
    return fail(errc::refused, fmt::format("the history of user '{}' is not yours to read; ask an "
                                           "operator",
                                           user));
  return *id;
}

/// What a selector and a capability leave of all jobs.
void restrict_jobs(const verified_capability& cap, const job_selector& selector,
                   ledger::filter& which) {
  for (const auto& target : selector.targets)
    which.jobs.push_back({target.first, target.last});
  if (!selector.name.empty())
    which.name = selector.name;
  const auto& reach = cap.on();
  if (which.jobs.empty() && reach.kind == auth::resource_kind::jobs)
    which.jobs.push_back({reach.lo, reach.hi});
}

} // namespace

history_state::history_state(self_pointer self, world& around, std::shared_ptr<ledger::reader> from)
    : self_{self}, world_{around}, from_{std::move(from)} {}

history_actor::behavior_type history_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<history_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<query_history>([this](request<query_history>& what) { return history(what); }),
      on<query_estimates>([this](request<query_estimates>& what) { return estimates(what); }),
      on<query_job>([this](request<query_job>& what) { return job(what); }),
      on<query_rows>([this](request<query_rows>& what) { return rows(what); }),
      on<query_ends>([this](request<query_ends>& what) { return ends(what); }),
      on<locate_element>([this](request<locate_element>& what) { return locate(what); }),
      on<await_step>([this](request<await_step>& what) { return await(what); }),
      on<await_spawned>([this](request<await_spawned>& what) { return spawned(what); }));
}

/// A name is asked for once a minute, not once a row: the answer may come from far away.
const std::string& history_state::user_of(std::uint32_t uid) {
  const auto now = world_.clock.boot();
  if (users_.size() >= users_max)
    users_.clear();
  auto& known = users_[uid];
  if (known.name.empty() || known.until <= now)
    known = {user_name_of(uid), now + user_life_ns};
  return known.name;
}

expected<ledger::filter> history_state::filter_of(const request<query_history>& what) {
  const auto& asked = what.msg;
  ledger::filter which;
  auto uid = uid_in_question(what.cap, world_.clock.now(), asked.selector.user);
  if (!uid)
    return tl::unexpected<error>{uid.error()};
  which.uid = *uid;
  for (auto state : asked.selector.states)
    which.states.push_back(static_cast<std::uint8_t>(state));
  if (which.states.empty())
    for (auto state = job_state::completed; state <= job_state::lost;
         state = static_cast<job_state>(static_cast<int>(state) + 1))
      which.states.push_back(static_cast<std::uint8_t>(state));
  restrict_jobs(what.cap, asked.selector, which);
  if (asked.since_utc_ns != 0)
    which.since = asked.since_utc_ns;
  if (asked.until_utc_ns != 0)
    which.until = asked.until_utc_ns;
  which.limit = std::min(asked.rows_max, page_rows_max);
  return which;
}

caf::result<job_rows> history_state::history(request<query_history>& what) {
  auto which = filter_of(what);
  if (!which)
    return auth::to_caf(which.error());
  ++pages_;
  job_rows result;
  auto next = from_->history_page(*which, what.msg.before, [&](const ledger::job_row& from) {
    if (!what.cap.covers(auth::resource_kind::jobs, from.job))
      return;
    job_row row;
    apply_table_row(row, from);
    row.user = user_of(from.uid);
    row.elements_total = from.elements_total > 1 ? from.elements_total : 0;
    result.rows.push_back(std::move(row));
  });
  if (!next)
    return auth::to_caf(next.error());
  for (auto& row : result.rows)
    add_what_was_asked(row);
  result.before = *next;
  result.more = *next != 0;
  return result;
}

/// The table has what became of a job; its submission, what it asked for.
void history_state::add_what_was_asked(job_row& row) {
  const auto payload = from_->submitted_payload(row.job);
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

caf::result<estimates_found> history_state::estimates(request<query_estimates>& what) {
  const auto& asked = what.msg;
  ledger::filter which;
  auto uid = uid_in_question(what.cap, world_.clock.now(), asked.selector.user);
  if (!uid)
    return auth::to_caf(uid.error());
  which.uid = *uid;
  restrict_jobs(what.cap, asked.selector, which);
  if (asked.since_utc_ns != 0)
    which.since = asked.since_utc_ns;
  which.limit = std::min(asked.rows_max, page_rows_max);
  ++pages_;
  estimates_found result;
  const auto lowest = from_->promises_from();
  if (!lowest)
    return auth::to_caf(lowest.error());
  if (asked.before > *lowest) {
    auto next = from_->promises_page(which, asked.before, [&](const ledger::promise_row& from) {
      if (what.cap.covers(auth::resource_kind::jobs, from.job))
        result.rows.push_back({from.job, from.name, user_of(from.uid), from.submitted_ns,
                               from.promised.first_ns, from.promised.last_ns, from.started_ns});
    });
    if (!next)
      return auth::to_caf(next.error());
    // What is before the first of the table an earlier Troupe wrote, if there is anything.
    result.before = *next > *lowest ? *next : *lowest > 1 ? *lowest : 0;
    return result;
  }
  if (auto done = add_older_estimates(which, result, asked.before); !done)
    return auth::to_caf(done.error());
  std::erase_if(result.rows, [&](const estimate_row& row) {
    return !what.cap.covers(auth::resource_kind::jobs, row.job);
  });
  return result;
}

/// From the starts themselves, of a time when they were not yet in the table of promises.
expected<void> history_state::add_older_estimates(const ledger::filter& which, estimates_found& to,
                                                  std::uint64_t before) {
  const auto last = before - 1;
  const auto first = last > older_events_at_once ? last - older_events_at_once + 1 : 1;
  std::vector<std::pair<std::uint64_t, estimate_row>> found;
  auto done = from_->events_in({first, last}, ledger::event_kind::starting,
                               [&](const ledger::stored_event& stored) {
                                 if (which.since && stored.time < *which.since)
                                   return;
                                 auto starting = from_cbor<starting_event>(stored.payload);
                                 if (!starting || starting->first_promised_utc_ns == 0)
                                   return;
                                 estimate_row row;
                                 row.job = stored.job;
                                 row.first_promised_utc_ns = starting->first_promised_utc_ns;
                                 row.last_promised_utc_ns = starting->last_promised_utc_ns;
                                 row.started_utc_ns = stored.time;
                                 found.emplace_back(stored.seq, std::move(row));
                               });
  to.before = first <= 1 ? 0 : first;
  for (auto at = found.rbegin(); done && at != found.rend(); ++at) {
    auto& row = at->second;
    const auto table = from_->row_of(row.job);
    const auto meant = [&](const ledger::range& jobs) {
      return jobs.first <= row.job && row.job <= jobs.last;
    };
    if (!table || (which.uid && table->uid != *which.uid) ||
        (which.name && table->name != *which.name) ||
        (!which.jobs.empty() && std::none_of(which.jobs.begin(), which.jobs.end(), meant)))
      continue;
    row.name = table->name;
    row.user = user_of(table->uid);
    row.submitted_utc_ns = table->submitted_ns;
    to.rows.push_back(std::move(row));
    if (to.rows.size() < which.limit)
      continue;
    to.before = at->first <= 1 ? 0 : at->first;
    break;
  }
  return done;
}

/// What every question about one job begins with: the job is there, and the asker may know of it.
caf::expected<history_state::known_job> history_state::look_up(const verified_capability& cap,
                                                               job_id job, verb own, verb any) {
  auto table = from_->row_of(job);
  if (!table)
    return auth::to_caf(
        error{errc::not_found, fmt::format("there is no job {}; 'troupe queue' and 'troupe "
                                           "history' list them",
                                           job)});
  auto payload = from_->submitted_payload(job);
  if (!payload)
    return auth::to_caf(payload.error());
  auto event = from_cbor<submitted_event>(*payload);
  if (!event)
    return auth::to_caf(event.error());
  known_job known;
  known.event = std::make_shared<submitted_event const>(std::move(*event));
  known.row = row_of_submission(job, *known.event, table->submitted_ns);
  apply_table_row(known.row, *table);
  if (auto ok = cap.permits(own, any, known.event->identity.uid, job, world_.clock.now()); !ok)
    return auth::to_caf(ok.error());
  return known;
}

caf::result<job_view> history_state::job(request<query_job>& what) {
  auto found = look_up(what.cap, what.msg.job, verb::history_read, verb::history_read_any);
  if (!found)
    return found.error();
  if (auto ok = check_element(what.msg.job, found->event->spec.array, what.msg.element); !ok)
    return auth::to_caf(ok.error());
  job_view view;
  view.row = std::move(found->row);
  view.spec = found->event->spec;
  step_history steps;
  auto done = from_->events_of(what.msg.job, [&](const ledger::stored_event& stored) {
    steps.take(stored);
    const auto asked = what.msg.element;
    if (stored.kind != ledger::event_kind::ended ||
        (asked != no_element && stored.element != asked) ||
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
caf::result<element_location> history_state::locate(request<locate_element>& what) {
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
  if (auto ok = check_element(what.msg.job, found->event->spec.array, element); !ok)
    return auth::to_caf(ok.error());
  const auto& row = found->row;
  const auto& asked = found->event->spec;
  element_location location;
  location.state = job_state::cancelled;
  location.may_spawn = asked.mpi == mpi_mode::pmix;
  location.streams_output = asked.stdout_path == "|";
  location.streams_input = asked.stdin_path == "|";
  location.streams_errors = asked.stderr_path == "|" && !asked.merge_stderr;
  auto done = from_->events_of(what.msg.job, [&](const ledger::stored_event& stored) {
    if (stored.kind == ledger::event_kind::starting) {
      auto starting = from_cbor<starting_event>(stored.payload);
      if (starting && starting->element_first <= element && element <= starting->element_last) {
        location.incarnation = stored.incarnation;
        const auto* first = first_place(*starting);
        if (starting->window == 0 || first == nullptr)
          location.parts = starting->parts;
        else
          location.parts = {*first};
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
expected<element_location> history_state::locate_step(job_id job, std::uint32_t number) {
  step_history steps;
  auto done =
      from_->events_of(job, [&](const ledger::stored_event& stored) { steps.take(stored); });
  if (!done)
    return tl::unexpected<error>{done.error()};
  if (auto found = steps.location(number))
    return *found;
  return fail(errc::not_found, fmt::format("job {} has had no step {}", job, number));
}

caf::result<step_over> history_state::await(request<await_step>& what) {
  auto found = look_up(what.cap, what.msg.job, verb::job_read, verb::job_read_any);
  if (!found)
    return found.error();
  auto step = locate_step(what.msg.job, what.msg.step);
  if (!step)
    return auth::to_caf(step.error());
  return step_over{step->exit.value_or(exit_report{})};
}

caf::result<step_spawned> history_state::spawned(request<await_spawned>& what) {
  auto found = look_up(what.cap, what.msg.job, verb::job_read, verb::job_read_any);
  if (!found)
    return found.error();
  step_history steps;
  auto done = from_->events_of(what.msg.job,
                               [&](const ledger::stored_event& stored) { steps.take(stored); });
  if (!done)
    return auth::to_caf(done.error());
  return step_spawned{steps.next_spawned(what.msg)};
}

status_report history_state::status() const {
  status_report report;
  report.actor = name;
  report.items.push_back({"pages read", fmt::format("{}", pages_)});
  return report;
}

} // namespace troupe::actors
