// SPDX-License-Identifier: Apache-2.0
// Leases: which arrays may start their next elements unasked.
#include "runtime/plan/state.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

/// Jobs at a limit that are looked at for a lease.
constexpr std::size_t limited_looked_at_max = 4 * leases_max;

} // namespace

job_record* planner_core::state::first_waiting() const {
  auto by = queue_ordering();
  job_class* first = nullptr;
  queue_key best;
  queue.heads().each([&](const class_head& head) {
    if (counts.any() &&
        head.group->counts_for.blocked(head.shape->need.cores()) != wait_reason::not_waiting)
      return true;
    auto key = by.key_at(head.key, head.view, now);
    if (first == nullptr || key < best) {
      first = head.group;
      best = key;
    }
    return !by.is_static();
  });
  return first == nullptr ? nullptr : first->waiting.begin()->job;
}

bool planner_core::state::may_refill(const job_record& job, const job_record* first) const {
  if (!job.is_array || job.pending == 0 || job.running == 0 || job.preempted > 0)
    return false;
  if (job.stands != standing::waiting && job.stands != standing::at_array_limit)
    return false;
  // Its class must be placeable, or it would not hold a slot's worth on nodes that are up.
  if (!job.group->shape->placeable)
    return false;
  auto by = queue_ordering();
  return first == nullptr ||
         !(by.key_at(first->key, first->view, now) < by.key_at(job.key, job.view, now));
}

bool planner_core::refill_allowed(job_id id) const {
  const auto* job = state_->find(id);
  return job != nullptr && state_->may_refill(*job, state_->first_waiting());
}

/// Whoever was blocked first is first still, unless a limit has been reached since.
const job_record* planner_core::state::first_after_pass() const {
  const auto* job = first_blocked;
  if (job != nullptr && job->stands == standing::waiting &&
      job->group->waiting.begin()->job == job &&
      job->group->counts_for.blocked(job->unit_cores()) == wait_reason::not_waiting)
    return job;
  return first_waiting();
}

void planner_core::state::report_leases(pass_result& result) {
  std::vector<job_id> holders;
  const auto* first = first_after_pass();
  std::size_t looked_at = 0;
  // Those at a limit are ahead of the first that could start, or have to wait for it.
  auto consider = [&](const job_record& job) {
    if (may_refill(job, first))
      holders.push_back(job.key.id);
    return holders.size() + 1 < leases_max && ++looked_at < limited_looked_at_max;
  };
  for (const auto& limited : queue.at_array_limit())
    if (!consider(*limited.job))
      break;
  if (counts.any())
    queue.heads().each([&](const class_head& head) {
      if (head.group->counts_for.blocked(head.shape->need.cores()) == wait_reason::not_waiting)
        return true;
      for (const auto& waiting : head.group->waiting)
        if (!consider(*waiting.job))
          return false;
      return true;
    });
  if (first != nullptr && may_refill(*first, first))
    holders.push_back(first->key.id);
  auto holds = [](const std::vector<job_id>& in, job_id id) {
    return std::find(in.begin(), in.end(), id) != in.end();
  };
  for (auto id : leases)
    if (!holds(holders, id))
      result.lease_changes.push_back({id, false});
  for (auto id : holders)
    if (!holds(leases, id))
      result.lease_changes.push_back({id, true});
  leases = std::move(holders);
}

} // namespace troupe::plan
