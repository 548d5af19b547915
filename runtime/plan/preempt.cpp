// SPDX-License-Identifier: Apache-2.0
// Preemption: which running units make room for a job of a queue that may ask for it.
#include "runtime/plan/easy.hpp"
#include "runtime/plan/state.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

/// Units that are considered for one job.
constexpr std::size_t candidates_max = 4096;

struct candidate {
  slot* unit = nullptr;
  std::uint32_t index = 0;
  queue_key key;     ///< of its job
  instant until = 0; ///< when its grace would be over
};

/// Those whose jobs are last in the queue first, and of them those that lose the least.
bool goes_before(const candidate& a, const candidate& b) {
  if (a.key.priority != b.key.priority || a.key.score != b.key.score)
    return b.key < a.key;
  return a.unit->order > b.unit->order;
}

void make_room_in(outlook& plan, const candidate& from) {
  auto planned = slot_table::planned(*from.unit);
  for (const auto& held : from.unit->held)
    plan.release(held.node, from.until, planned, held.taken());
}

bool stands_on(const slot& unit, const std::vector<task_share>& shares) {
  return std::any_of(unit.held.begin(), unit.held.end(), [&](const held_share& held) {
    return std::any_of(shares.begin(), shares.end(),
                       [&](const task_share& share) { return share.node == held.node; });
  });
}

} // namespace

/// Tells as few units as it finds to make room, if the job starts earlier for it. What is promised
/// to jobs ahead stays promised.
bool planner_core::state::make_room(job_record& job, pass_result& result) {
  const auto& shape = *job.group->shape;
  if (counts.queue(job.queue).preempts.empty() || shape.shape->reservation != 0)
    return false;
  begin_plan();
  auto limit = job.group->limit();
  bool fits = search.find(shape.need, limit, pool, plan.lines(), now);
  auto without = fits ? search.at() : time_ends;

  std::vector<candidate> candidates;
  for (auto key = slots.by_end().rbegin(); key != slots.by_end().rend(); ++key) {
    auto& unit = slots.at(key->index);
    const auto& owner = jobs.at(unit.job);
    auto grace_over = later(now, counts.queue(owner.queue).grace);
    if (!unit.preempted && counts.may_preempt(job.queue, owner.queue) && grace_over < without &&
        grace_over < slot_table::planned(unit))
      candidates.push_back({&unit, key->index, owner.key, grace_over});
  }
  std::sort(candidates.begin(), candidates.end(), goes_before);
  candidates.resize(std::min(candidates.size(), candidates_max));

  // When it starts if these make room.
  auto start_with = [&](const std::vector<candidate>& units) {
    auto trial = plan;
    for (const auto& each : units)
      make_room_in(trial, each);
    return search.find(shape.need, limit, pool, trial.lines(), now) ? search.at() : time_ends;
  };
  auto good = [&](const std::vector<candidate>& units) {
    auto latest = now;
    for (const auto& each : units)
      latest = std::max(latest, each.until);
    auto start = start_with(units);
    return start < without && start <= latest;
  };
  if (candidates.empty() || !good(candidates))
    return false;
  // The fewest from the front of the list, by halves; of them those in the job's way.
  std::size_t few = 0;
  for (auto many = candidates.size(); many - few > 1;) {
    auto half = few + (many - few) / 2;
    std::vector<candidate> front(candidates.begin(),
                                 candidates.begin() + static_cast<std::ptrdiff_t>(half));
    if (good(front)) {
      many = half;
      candidates = std::move(front);
    } else {
      few = half;
    }
  }
  static_cast<void>(start_with(candidates));
  auto chosen = candidates;
  std::erase_if(chosen,
                [&](const candidate& each) { return !stands_on(*each.unit, search.shares()); });
  if (!good(chosen))
    chosen = std::move(candidates);
  for (const auto& each : chosen) {
    make_room_in(plan, each);
    unplan_unit(*each.unit);
    slots.set_end(slots.id_at(each.index), each.until);
    plan_unit(*each.unit);
    each.unit->preempted = true;
    ++jobs.at(each.unit->job).preempted;
    result.preemptions.push_back({each.unit->job, slots.id_at(each.index), each.until, job.key.id});
  }
  return true;
}

} // namespace troupe::plan
