// SPDX-License-Identifier: Apache-2.0
// Snapshots, and what is estimated from them.
#include "runtime/plan/estimates.hpp"

#include "runtime/plan/simulation.hpp"
#include "runtime/plan/state.hpp"

#include <algorithm>

namespace troupe::plan {

queue_snapshot::limit_rows planner_core::state::limit_rows_of(const job_record& job) const {
  const auto& from = job.group->counts_for;
  return {from.of_queue->row, from.of_user->row, from.of_user_in_queue->row};
}

queue_snapshot::job planner_core::state::row_of(const job_record& job) const {
  return {job.key,
          job.view,
          job.group->shape->row,
          job.held ? 0 : job.pending,
          job.group->limit(),
          job.running,
          job.max_running,
          job.begin_time,
          limit_rows_of(job)};
}

std::shared_ptr<queue_snapshot> planner_core::state::copy(instant at) {
  auto made = std::make_shared<queue_snapshot>();
  made->now = at;
  made->by = queue_ordering();
  made->rooms = pool.rooms();
  made->up = pool.ups();
  if (!advance.all().empty())
    made->closed.resize(pool.all().size());
  for (const auto& [id, entry] : advance.all())
    for (auto node : entry.nodes)
      made->closed[node].push_back({entry.asked.from, entry.asked.until});
  if ((made->limited = counts.any()))
    made->counts = counts.all();
  made->shapes = queue.table().share();
  made->units = unit_rows.share();
  made->jobs = job_rows.share();
  return made;
}

std::shared_ptr<const queue_snapshot> planner_core::snapshot(instant now) const {
  return state_->copy(now);
}

const start_estimates::entry* start_estimates::find(job_id job) const {
  auto at = std::lower_bound(starts.begin(), starts.end(), job,
                             [](const entry& each, job_id id) { return each.job < id; });
  return at == starts.end() || at->job != job ? nullptr : &*at;
}

start_estimates estimate_starts(const queue_snapshot& from, std::uint64_t units_max,
                                const start_estimates* before) {
  queue_simulation simulation(from, units_max);
  simulation.run(std::nullopt);
  start_estimates made{from.now, simulation.starts()};
  std::sort(made.starts.begin(), made.starts.end(),
            [](const auto& a, const auto& b) { return a.job < b.job; });
  // Of an array's next element nothing was expected before.
  for (auto& each : made.starts)
    if (const auto* known = before == nullptr ? nullptr : before->find(each.job);
        known != nullptr && known->units == each.units)
      each.first = known->first;
  return made;
}

} // namespace troupe::plan
