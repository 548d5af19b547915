// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"
#include "actors/shares.hpp"
#include "config/latest_time.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: the configuration in force, and reservations.
// Input:   a configuration that is whole; nodes and a time to keep.
// Action:  both are checked against the jobs and nodes there are, then in force: for admission
// here,
//          for decisions by the planner. Reservations are durable first.
// Caveats: a configuration comes from a file and is not in the ledger; a reservation is.

namespace troupe::actors {

namespace {

constexpr std::size_t reservations_max = 1000;
/// One that is over by the wall clock is forgotten after this: the clock may have been wrong.
constexpr boot_ns forgotten_after_ns = 600 * ns_per_s;

plan_event reservation_event_of(plan_event::kind what, plan::reservation_id id,
                                const reservation_row& row) {
  plan_event event;
  event.what = what;
  event.unit = id;
  event.reservation = std::make_shared<reservation_row const>(row);
  return event;
}

} // namespace

plan_event ran_event(const std::string& user, std::uint32_t time_limit_s, std::int64_t run_ns) {
  plan_event event;
  event.what = plan_event::kind::ran;
  event.user = user;
  event.time_limit_s = time_limit_s;
  event.run_ns = run_ns;
  return event;
}

// -- configuration ------------------------------------------------------------------

queue_rows scheduler_state::queues() const {
  queue_rows result;
  std::map<std::string, std::uint64_t> running;
  for (const auto& [id, job] : jobs_)
    running[job.row.queue()] += job.row.state != job_state::pending;
  for (const auto& from : config_->queues) {
    queue_row row;
    row.name = from.name;
    row.is_default = from.name == config_->default_queue;
    row.priority = from.priority;
    row.time_default_s = from.time_default_s;
    row.time_max_s = from.time_max_s;
    row.jobs_max = from.all.jobs_max;
    row.running_max = from.all.running_max;
    row.cores_max = from.all.cores_max;
    row.user_jobs_max = from.each_user.jobs_max;
    row.user_running_max = from.each_user.running_max;
    row.user_cores_max = from.each_user.cores_max;
    row.users = from.users;
    row.groups = from.groups;
    row.preempts = from.preempts;
    row.grace_s = from.grace_s;
    row.running = running[from.name];
    row.pending = tally_.in_queue(from.name) - std::min(row.running, tally_.in_queue(from.name));
    result.queues.push_back(std::move(row));
  }
  return result;
}

/// All or nothing: a queue with jobs in it has to stay.
expected<config_applied> scheduler_state::apply(request<apply_config>& what) {
  const auto& config = what.msg.config;
  for (const auto& queue : config_->queues)
    if (auto jobs = tally_.in_queue(queue.name); jobs > 0 && !config->find_queue(queue.name))
      return fail(errc::conflict,
                  fmt::format("{}: queues: '{}' is gone, but {} unfinished jobs are in it; keep it "
                              "until they have ended, or move them by 'troupe modify --queue'",
                              config->path, queue.name, jobs));
  if (auto possible = check_policy(*config); !possible)
    return fail(possible.error().code, fmt::format("{}: {}", config->path, possible.error().text));
  config_ = config;
  plan_event event;
  event.what = plan_event::kind::configured;
  event.config = config_;
  plan({std::move(event)});
  return config_applied{};
}

/// The planner's first events: it decides nothing before it knows how.
void scheduler_state::begin_policy(scheduler_start& start) {
  config_ = start.config;
  plan_event event;
  event.what = plan_event::kind::configured;
  event.config = config_;
  std::vector<plan_event> events{std::move(event)};
  for (auto& used : start.usage) {
    plan_event each;
    each.what = plan_event::kind::used;
    each.user = std::move(used.user);
    each.account = std::move(used.account);
    each.core_seconds = used.core_seconds;
    each.at_utc_ns = used.at;
    events.push_back(std::move(each));
  }
  for (const auto& run : start.runs)
    events.push_back(ran_event(run.user, run.time_limit_s, run.run_ns));
  plan(std::move(events));
}

// -- reservations -------------------------------------------------------------------

expected<void> scheduler_state::possible(const reservation_row& what) const {
  if (what.name.empty() || what.name.size() > name_bytes_max)
    return fail(errc::invalid, "the reservation needs a name");
  if (auto at = reservations_.find(what.name); at != reservations_.end() && !is_over(at->second))
    return fail(errc::conflict, fmt::format("there is a reservation '{}' already; 'troupe reserve "
                                            "delete' gives it up",
                                            what.name));
  if (reservations_.size() == reservations_max)
    return fail(errc::exhausted,
                fmt::format("there are {} reservations; more are not kept", reservations_max));
  if (what.start_utc_ns < 0 || what.end_utc_ns > latest_time_ns)
    return fail(errc::invalid, "the reservation is for a time that cannot be planned; it begins "
                               "after 1970 and ends before 2100");
  if (what.end_utc_ns <= what.start_utc_ns || what.end_utc_ns <= world_.clock.utc())
    return fail(errc::invalid, "the reservation ends before it begins, or has ended already");
  if (what.nodes.empty())
    return fail(errc::invalid, "the reservation names no node");
  const std::set<std::string> nodes{what.nodes.begin(), what.nodes.end()};
  for (const auto& node : nodes)
    if (!names_.nodes.contains(node))
      return fail(errc::not_found,
                  fmt::format("there is no node '{}'; 'troupe nodes' lists them", node));
  for (const auto& [name_of_it, other] : reservations_)
    if (what.start_utc_ns < other.end_utc_ns && other.start_utc_ns < what.end_utc_ns)
      for (const auto& node : nodes)
        if (std::find(other.nodes.begin(), other.nodes.end(), node) != other.nodes.end())
          return fail(errc::conflict,
                      fmt::format("'{}' keeps {} in that time already", name_of_it, node));
  for (const auto& account : what.accounts)
    if (!config_->accounts.empty() && !config_->find_account(account))
      return fail(errc::not_found, fmt::format("there is no account '{}'", account));
  return {};
}

void scheduler_state::take_reservation(const reservation_row& what) {
  names_.reservations[what.name] = ++last_reservation_;
  reservations_[what.name] = what;
  plan({reservation_event_of(plan_event::kind::reserved, last_reservation_, what)});
}

void scheduler_state::forget_reservation(const std::string& name_of_it) {
  auto at = reservations_.find(name_of_it);
  if (at == reservations_.end())
    return;
  plan({reservation_event_of(plan_event::kind::unreserved, names_.reservations[name_of_it],
                             at->second)});
  names_.reservations.erase(name_of_it);
  over_since_.erase(name_of_it);
  reservations_.erase(at);
}

bool scheduler_state::is_over(const reservation_row& what) const {
  return what.end_utc_ns <= world_.clock.utc();
}

void scheduler_state::forget_ended_reservations() {
  std::vector<std::string> ended;
  const auto now = world_.clock.boot();
  for (const auto& [name_of_it, what] : reservations_) {
    if (!is_over(what))
      over_since_.erase(name_of_it);
    else if (now - over_since_.try_emplace(name_of_it, now).first->second >= forgotten_after_ns)
      ended.push_back(name_of_it);
  }
  for (const auto& each : ended)
    forget_reservation(each);
}

reservation_rows scheduler_state::reservations() const {
  reservation_rows rows;
  for (const auto& [name_of_it, what] : reservations_)
    if (!is_over(what))
      rows.reservations.push_back(what);
  return rows;
}

namespace {

append_entries entry_of(const reservation_event& event) {
  ledger_entry entry;
  entry.what = ledger_entry::kind::reservation_changed;
  entry.encoded = to_cbor(event);
  append_entries entries;
  entries.entries.push_back(std::move(entry));
  return entries;
}

} // namespace

caf::result<reservation_rows> scheduler_state::reserve(request<make_reservation>& what) {
  forget_ended_reservations();
  if (auto ok = possible(what.msg.what); !ok)
    return auth::to_caf(ok.error());
  auto promise = self_->make_response_promise<reservation_rows>();
  ask(self_, to_.ledger, cap_, entry_of({what.msg.what, false, what.cap.who().uid}))
      .then(
          [this, promise, row = what.msg.what](entries_kept&) mutable {
            // Two of one name may have been on their way to the disk: the later one stands, there
            // as here.
            forget_reservation(row.name);
            take_reservation(row);
            promise.deliver(reservations());
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

caf::result<reservation_rows> scheduler_state::unreserve(request<drop_reservation>& what) {
  auto at = reservations_.find(what.msg.name);
  if (at == reservations_.end() || is_over(at->second))
    return auth::to_caf(error{errc::not_found, fmt::format("there is no reservation '{}'; 'troupe "
                                                           "reserve list' lists them",
                                                           what.msg.name)});
  auto promise = self_->make_response_promise<reservation_rows>();
  ask(self_, to_.ledger, cap_, entry_of({at->second, true, what.cap.who().uid}))
      .then(
          [this, promise, name_of_it = what.msg.name](entries_kept&) mutable {
            forget_reservation(name_of_it);
            promise.deliver(reservations());
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

} // namespace troupe::actors
