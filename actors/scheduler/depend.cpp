// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/depend.hpp"
#include "actors/scheduler/scheduler.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: jobs that wait for what becomes of others.
// Input:   dependencies, at submission; starts and ends of jobs, from then on.
// Action:  a job with open dependencies is held; with the last of them met it is released; with one
//          that can never hold any more it is cancelled, durably, and says why.
// Caveats: only jobs that the submitter may read can be named. After a restart recovery has
//          compared each dependency with the ledger (actors/recovery.cpp).

namespace troupe::actors {

std::string unmet(const job_dependency& dependency, const job_row& row) {
  if (!is_final(row.state))
    return {};
  const auto completed = row.state == job_state::completed;
  const auto holds = dependency.kind == dependency_kind::after ||
                     dependency.kind == dependency_kind::afterany ||
                     (dependency.kind == dependency_kind::afterok) == completed;
  if (holds)
    return {};
  std::string how = to_string(row.state);
  if (row.exit_code != 0)
    how += fmt::format(" with exit code {}", row.exit_code);
  else if (row.signal != 0)
    how += fmt::format(" by signal {}", row.signal);
  return fmt::format("its dependency {}:{} can never hold: job {} has ended {}",
                     to_string(dependency.kind), dependency.job, dependency.job, how);
}

bool is_met(const job_dependency& dependency, const job_row& row) {
  if (is_final(row.state))
    return unmet(dependency, row).empty();
  return dependency.kind == dependency_kind::after && row.started_utc_ns != 0;
}

struct scheduler_state::dependency_search {
  verified_capability cap;
  std::vector<job_id> jobs;
  std::size_t next = 0;
  ended_jobs ended;
  std::function<void(ended_jobs&)> done;
};

/// Calls `done` with what the ledger says of these jobs, under the asker's own capability.
void scheduler_state::look_up_dependencies(const verified_capability& cap,
                                           const std::set<job_id>& unknown,
                                           std::function<void(ended_jobs&)> done) {
  auto search = std::make_shared<dependency_search>();
  search->cap = cap;
  search->jobs.assign(unknown.begin(), unknown.end());
  search->done = std::move(done);
  look_up_more(search);
}

/// Some at a time: one call can name a million.
void scheduler_state::look_up_more(const std::shared_ptr<dependency_search>& of) {
  if (of->next == of->jobs.size()) {
    of->done(of->ended);
    return;
  }
  query_rows asked;
  const auto count = std::min(query_rows::jobs_max, of->jobs.size() - of->next);
  const auto begin = of->jobs.begin() + static_cast<std::ptrdiff_t>(of->next);
  asked.jobs.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
  of->next += count;
  const auto take = [this, of, jobs = asked.jobs](auto row_at) {
    for (std::size_t i = 0; i < jobs.size(); ++i)
      of->ended.emplace(jobs[i], row_at(i));
    look_up_more(of);
  };
  ask(self_, to_.ledger, of->cap, std::move(asked))
      .then(
          [take](rows_found& found) {
            take([&](std::size_t i) -> expected<job_row> {
              if (i < found.rows.size())
                return std::move(found.rows[i]);
              return fail(errc::internal, "the ledger did not answer for it");
            });
          },
          [take](caf::error& why) {
            take([&](std::size_t) -> expected<job_row> {
              return tl::unexpected<error>{from_caf(why)};
            });
          });
}

expected<std::vector<job_dependency>>
scheduler_state::open_dependencies(const verified_capability& cap, const job_spec& spec,
                                   const ended_jobs& ended) const {
  std::vector<job_dependency> open;
  const auto now = world_.clock.now();
  for (const auto& each : spec.dependencies) {
    const auto refused = [&](const std::string& why) {
      return fail(errc::invalid,
                  fmt::format("cannot depend on {}:{}: {}", to_string(each.kind), each.job, why));
    };
    auto here = jobs_.find(each.job);
    auto past = ended.find(each.job);
    if (here != jobs_.end()) {
      if (auto may =
              cap.permits(verb::job_read, verb::job_read_any, here->second.uid, each.job, now);
          !may)
        return refused(may.error().text);
      if (!is_met(each, here->second.row))
        open.push_back(each);
      continue;
    }
    if (past == ended.end())
      return refused("nothing is known of it"); // each was looked up before this was asked
    if (!past->second)
      return refused(past->second.error().text);
    if (!is_final(past->second->state))
      return refused("it is not in the queue yet");
    if (auto why = unmet(each, *past->second); !why.empty())
      return fail(errc::conflict, why);
  }
  return open;
}

/// What a job still waits for; nothing of one that waits for none.
const std::vector<job_dependency>& scheduler_state::open_of(job_id job) const {
  static const std::vector<job_dependency> none;
  const auto at = not_met_.find(job);
  return at == not_met_.end() ? none : at->second;
}

void scheduler_state::wait_for(job_table::iterator at, std::vector<job_dependency> open) {
  if (open.empty())
    return;
  for (const auto& each : open)
    dependents_.emplace(each.job, at->first);
  not_met_[at->first] = std::move(open);
}

/// What has become of others while the job was on its way to the disk.
void scheduler_state::settle_meanwhile(job_id job, std::vector<job_dependency>& open) {
  std::erase_if(open, [&](const job_dependency& each) {
    if (auto here = jobs_.find(each.job); here != jobs_.end())
      return is_met(each, here->second.row);
    const auto* ended = ended_meanwhile_.find(each.job);
    if (!ended)
      return false;
    if (auto never = unmet(each, *ended); !never.empty()) {
      if (doomed_.empty())
        tick_later(self_, world_, std::chrono::seconds(0), 1);
      doomed_.emplace_back(job, std::move(never));
      return false;
    }
    return true;
  });
}

/// A job has started or ended: those that wait for it may go, or have to.
void scheduler_state::dependency_changed(job_id job, const job_row& row) {
  if (is_final(row.state))
    ended_meanwhile_.ended(row);
  if (dependents_.empty() || (row.started_utc_ns == 0 && !is_final(row.state)))
    return;
  std::set<job_id> waiting;
  for (auto [first, last] = dependents_.equal_range(job); first != last; ++first)
    waiting.insert(first->second);
  std::vector<plan_event> events;
  for (auto id : waiting) {
    auto at = jobs_.find(id);
    if (at == jobs_.end())
      continue;
    const auto waits = not_met_.find(id);
    if (waits == not_met_.end())
      continue;
    std::string never;
    auto& open = waits->second;
    std::erase_if(open, [&](const job_dependency& each) {
      if (each.job != job)
        return false;
      if (never.empty())
        never = unmet(each, row);
      return is_met(each, row);
    });
    if (!never.empty() && at->second.leaving)
      doomed_.emplace_back(id, std::move(never)); // its cancel may fail yet
    else if (!never.empty())
      end_unstartable(at, never);
    else if (open.empty())
      set_hold(at, by_dependency, false, events);
  }
  if (is_final(row.state))
    dependents_.erase(job);
  plan(std::move(events));
}

/// Jobs that wait for what can never be: found by recovery, or their end could not be recorded when
/// that was seen. One that is being ended is left alone until that has succeeded or failed.
void scheduler_state::end_doomed() {
  for (auto& [id, why] : std::exchange(doomed_, {})) {
    const auto at = jobs_.find(id);
    if (at == jobs_.end())
      continue;
    if (at->second.leaving)
      doomed_.emplace_back(id, std::move(why));
    else
      end_unstartable(at, why);
  }
}

} // namespace troupe::actors
