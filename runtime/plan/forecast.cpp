// SPDX-License-Identifier: Apache-2.0
// What if: when and where would a job start that is not there?
#include "runtime/plan/estimates.hpp"
#include "runtime/plan/simulation.hpp"
#include "runtime/plan/state.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

void place(const node_pool& pool, const unit_need& need, const std::vector<task_share>& shares,
           forecast& out) {
  for (const auto& share : shares)
    out.where.push_back({pool.at(share.node).id, share.tasks, need.memory_bytes, {}, {}});
  std::sort(out.where.begin(), out.where.end(),
            [](const node_share& a, const node_share& b) { return a.node < b.node; });
}

} // namespace

/// Beside what is promised to all who are ahead: exact.
void planner_core::state::foresee(const job_record& job, const queue_key& key, instant at,
                                  forecast& out) const {
  const auto& need = job.group->shape->need;
  auto limit = job.group->limit();
  auto ahead = look_ahead(&key, at);
  chooser fits;
  if (fits_from_now(*job.group->shape, ahead, until(at, limit), fits)) {
    out.start = at;
    return place(pool, need, fits.shares(), out);
  }
  earliest_search found;
  if (!find_earliest(*job.group->shape, limit, ahead, found) || found.at() >= unknown_ends)
    return;
  out.start = found.at();
  place(pool, need, found.shares(), out);
}

forecast planner_core::what_if(const job_request& request, instant now) const {
  const auto& s = *state_;
  forecast out;
  out.job = request.id;
  if (auto why = impossible(request.shape)) {
    out.impossible = *why;
    return out;
  }
  // A job of its own class, in no queue.
  shape_entry shape;
  shape.shape = &request.shape;
  shape.need = resolve(request.shape, s.pool);
  job_class group;
  group.shape = &shape;
  job_record job;
  job.key.priority = request.priority;
  job.key.seq = request.seq;
  job.key.id = request.id;
  job.submitted = request.submitted;
  job.queue = request.queue;
  job.user = request.user;
  job.account = request.account;
  job.nice = request.nice;
  job.expected = request.expected;
  job.group = &group;
  group.kind = s.kind_of(job, s.effective_limit(request.time_limit));
  s.enter_class(job, &group);
  auto by = s.queue_ordering();
  auto key = by.key_at(job.key, job.view, now);

  std::size_t unpromised = 0;
  s.queue.heads().each([&](const class_head& head) {
    if (!(by.key_at(head.key, head.view, now) < key))
      return !by.is_static();
    for (const auto& waiting : head.group->waiting) {
      if (!(by.key_at(waiting.key, waiting.job->view, now) < key))
        break; // those behind it in its class are behind it in the queue
      unpromised += waiting.job->promised && s.config.backfill ? 0 : 1;
    }
    return true;
  });
  if (unpromised == 0 && request.begin_time <= now) {
    s.foresee(job, key, now, out);
    return out;
  }
  auto copy = state_->copy(now);
  shape_row asked{shape.need, true, request.shape.reservation != 0, {}, 0, 0};
  if (const auto* inside = s.advance.find(request.shape.reservation)) {
    asked.nodes = inside->nodes;
    asked.from = inside->asked.from;
    asked.to = inside->asked.until;
  }
  constexpr auto none = queue_snapshot::none;
  auto last = copy->shapes.size();
  copy->shapes.change(last) = std::move(asked);
  copy->jobs.change(copy->jobs.size()) = {
      job.key, job.view, last, 1, group.limit(), 0, 0, request.begin_time, {none, none, none}};
  queue_simulation simulation(*copy, simulated_units_max);
  simulation.run(request.id);
  out.start = simulation.start_of_wanted();
  if (!out.start)
    return out;
  place(s.pool, shape.need, simulation.where(), out);
  return out;
}

} // namespace troupe::plan
