// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger_codec.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "messages/cbor.hpp"

#include <fmt/format.h>

// Purpose: change what pending jobs ask for.
// Input:   a selector, and the changes.
// Action:  each job is held while it changes; the new spec is checked as a submission's is; the
//          authority makes a warrant for it; the ledger keeps it; then the planner hears of it.
// Caveats: what has started is not changed: its orders are signed. A job that starts or ends while
//          it is being changed stays as it is, and is reported.

namespace troupe::actors {

namespace {

constexpr std::size_t problems_told_max = 16;
/// So many jobs of one call are changed at once: each has its spec in memory meanwhile.
constexpr std::size_t changed_at_once = 32;

job_spec changed_spec(job_spec spec, const job_changes& by) {
  auto set = [](auto& to, const auto& from) {
    if (from)
      to = *from;
  };
  set(spec.name, by.name);
  set(spec.account, by.account);
  set(spec.queue, by.queue);
  set(spec.nodes, by.nodes);
  set(spec.tasks, by.tasks);
  set(spec.cores_per_task, by.cores_per_task);
  set(spec.gpus_per_task, by.gpus_per_task);
  set(spec.memory_bytes, by.memory_bytes);
  set(spec.time_limit_s, by.time_limit_s);
  set(spec.begin_utc_ns, by.begin_utc_ns);
  set(spec.nice, by.nice);
  set(spec.reservation, by.reservation);
  return spec;
}

} // namespace

struct scheduler_state::modification {
  verified_capability cap;
  job_changes changes;
  std::vector<job_id> jobs; ///< that wait
  std::size_t next = 0, under_way = 0;
  std::map<job_id, std::pair<std::string, std::uint32_t>> claims; ///< queue and uid
  jobs_changed total;
  caf::typed_response_promise<jobs_changed> promise;

  void refuse(job_id job, const error& why) {
    if (total.refused.size() < problems_told_max)
      total.refused.push_back({why.code, fmt::format("job {}: {}", job, why.text)});
  }
};

caf::result<jobs_changed> scheduler_state::modify(request<modify_jobs>& what) {
  auto selected = select(what.cap, what.msg.selector,
                         {verb::job_modify, verb::job_modify_any, typeid(modify_jobs).name()});
  if (!selected)
    return auth::to_caf(selected.error());
  auto state = std::make_shared<modification>();
  state->cap = what.cap;
  state->changes = what.msg.changes;
  state->total = std::move(selected->result);
  state->jobs = std::move(selected->waiting);
  state->promise = self_->make_response_promise<jobs_changed>();
  for (const auto& [job, ranges] : selected->live)
    state->refuse(job, {errc::conflict, ranges.empty() ? "it has started; only what waits can be "
                                                         "changed"
                                                       : "elements cannot be changed one by one"});
  modify_more(state);
  return state->promise;
}

/// Begins with further jobs as others are done; answers after the last.
void scheduler_state::modify_more(const std::shared_ptr<modification>& what) {
  while (what->under_way < changed_at_once && what->next < what->jobs.size()) {
    ++what->under_way;
    modify_one(what, what->jobs[what->next++]);
  }
  if (what->under_way > 0 || !what->promise.pending())
    return;
  if (what->total.jobs == 0 && !what->total.refused.empty())
    what->promise.deliver(auth::to_caf(what->total.refused.front()));
  else
    what->promise.deliver(std::move(what->total));
}

void scheduler_state::modify_one(const std::shared_ptr<modification>& what, job_id job) {
  auto at = jobs_.find(job);
  if (at == jobs_.end() || at->second.leaving || at->second.actor || at->second.activating) {
    modify_over(what, job, {errc::conflict, "it started or ended before it could be changed"});
    return;
  }
  if ((at->second.holds & by_change) != 0) {
    modify_over(what, job, {errc::conflict, "it is being changed already; try again"});
    return;
  }
  std::vector<plan_event> events;
  set_hold(at, by_change, true, events);
  plan(std::move(events));
  ask(self_, to_.ledger, cap_, fetch_submission{job})
      .then([this, what, job](submission_found& found) { amend(what, job, *found.event); },
            [this, what, job](caf::error& why) { end_change(what, job, from_caf(why)); });
}

/// Begins nothing: refusals at once must not nest as deep as there are jobs.
void scheduler_state::modify_over(const std::shared_ptr<modification>& what, job_id job,
                                  const error& why) {
  --what->under_way;
  if (!why.text.empty())
    what->refuse(job, why);
}

/// Counts the job in the queue that it goes to from now on, as well as where it is: jobs that are
/// moved together must not pass a limit, and the queue must not be taken away meanwhile.
expected<void> scheduler_state::admit_changed(modification& what, job_id job, const job_spec& spec,
                                              const job_identity& who) {
  if (auto ok = validate(spec); !ok)
    return ok;
  const auto at = jobs_.find(job);
  if (at == jobs_.end())
    return fail(errc::conflict, "it ended while it was being changed");
  const auto& own = at->second.row.queue();
  tally_.remove(own, at->second.uid); // its own place is not one more
  const auto queue = admit(what.cap, spec, who);
  tally_.add(own, at->second.uid);
  if (!queue)
    return tl::unexpected<error>{queue.error()};
  if (const auto& to = queue->get().name; to != own) {
    tally_.claim(to, at->second.uid);
    what.claims[job] = {to, at->second.uid};
  }
  return {};
}

void scheduler_state::amend(const std::shared_ptr<modification>& what, job_id job,
                            const submitted_event& found) {
  auto spec = std::make_shared<job_spec const>(changed_spec(found.spec, what->changes));
  if (auto ok = admit_changed(*what, job, *spec, found.identity); !ok) {
    end_change(what, job, ok.error());
    return;
  }
  amend_warrant message;
  message.job = job;
  message.event = std::make_shared<submitted_event const>(found);
  message.spec = std::move(spec);
  ask(self_, to_.authority, what->cap, std::move(message))
      .then([this, what, job](warrant_amended& made) { keep_modified(what, job, made.event); },
            [this, what, job](caf::error& why) { end_change(what, job, from_caf(why)); });
}

void scheduler_state::keep_modified(const std::shared_ptr<modification>& what, job_id job,
                                    std::shared_ptr<submitted_event const> event) {
  auto at = jobs_.find(job);
  if (at == jobs_.end() || at->second.leaving || at->second.actor || at->second.activating) {
    end_change(what, job, {errc::conflict, "it started or ended while it was being changed"});
    return;
  }
  ledger_entry entry;
  entry.job = job;
  entry.what = ledger_entry::kind::modified;
  entry.encoded = to_cbor(*event);
  entry.row = row_of_submission(job, *event, at->second.row.submitted_utc_ns);
  entry.uid = at->second.uid;
  entry.submitted = event;
  append_entries entries;
  entries.entries.push_back(std::move(entry));
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, what, job, event](entries_kept&) {
            ++what->total.jobs;
            what->total.elements += element_count(event->spec);
            modified(job, event);
            end_change(what, job, {});
          },
          [this, what, job](caf::error& why) { end_change(what, job, from_caf(why)); });
}

/// The change is durable: the row and the planner have it, too.
void scheduler_state::modified(job_id job, std::shared_ptr<submitted_event const> event) {
  auto at = jobs_.find(job);
  if (at == jobs_.end())
    return;
  auto& record = at->second;
  auto row = row_of_submission(job, *event, record.row.submitted_utc_ns);
  row.queue = queue_of(event->spec);
  row.held = record.row.held;
  row.elements_pending = record.row.elements_pending;
  tally_.remove(record.row.queue(), record.uid);
  tally_.add(row.queue, record.uid);
  auto changed = submission_of(job, {event, &event->spec}, row.elements_pending, row);
  record.row = rows_.keep(std::move(row));
  changed.what = plan_event::kind::changed;
  std::vector<plan_event> events;
  events.push_back(std::move(changed));
  plan(std::move(events));
}

void scheduler_state::end_change(const std::shared_ptr<modification>& what, job_id job,
                                 const error& why) {
  if (const auto claim = what->claims.extract(job))
    tally_.give_up_claim(claim.mapped().first, claim.mapped().second);
  if (auto at = jobs_.find(job); at != jobs_.end()) {
    std::vector<plan_event> events;
    set_hold(at, by_change, false, events);
    plan(std::move(events));
  }
  modify_over(what, job, why);
  modify_more(what);
}

} // namespace troupe::actors
