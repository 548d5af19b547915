// SPDX-License-Identifier: Apache-2.0
// Deciding. A pass starts the queue's first jobs while they fit; the first that does not gets a
// reservation; the rest may start if that does not delay it (EASY backfill).
#include "runtime/plan/state.hpp"

#include <algorithm>

namespace troupe::plan {

pass_result planner_core::pass(instant now) {
  auto& s = *state_;
  pass_result result;
  s.now = std::max(s.now, now);
  // Time alone lets nothing start: a unit that ends after the shadow time now does so later, too.
  if (s.queue.begin_due(s.now) || s.changed) {
    ++s.pass_number;
    s.head.reset();
    if (s.start_heads(result) && s.config.backfill)
      s.backfill(result);
    s.changed = result.more;
    s.report_leases(result);
  }
  if (s.head)
    s.head->at = std::max(s.head->at, s.now);
  result.head = s.head;
  return result;
}

/// True if the first job left does not fit while cores are free.
bool planner_core::state::start_heads(pass_result& result) {
  std::uint32_t starts = 0;
  while (!queue.heads().empty() && pool.cores_free() > 0) {
    auto& group = *queue.heads().begin()->group;
    auto& job = *group.waiting.begin()->job;
    if (!choose.choose(group.shape->need, pool)) {
      group.shape->no_room_in_pass = pass_number;
      return true;
    }
    if (starts++ == config.starts_per_pass_max) {
      result.more = true;
      return false;
    }
    start_unit(job, false, later(now, group.limit), result);
  }
  return false;
}

void planner_core::state::backfill(pass_result& result) {
  const auto& heads = queue.heads();
  auto key = heads.begin()->key;
  const auto& blocked = *heads.begin()->group->waiting.begin()->job;
  auto next = heads.upper_bound({key, nullptr});
  // The others of its class do not fit either.
  if (next == heads.end())
    return;
  reserved_future future(pool, slots, now, blocked.group->shape->need);
  head = describe(blocked, future);
  std::uint32_t tried = 0;
  std::uint32_t starts = 0;
  for (auto d = result.decisions.begin(); d != result.decisions.end(); ++d)
    starts += static_cast<std::uint32_t>(d->units.size());
  while (next != heads.end() && pool.cores_free() > 0) {
    auto& group = *next->group;
    key = next->key;
    if (config.backfill_depth > 0 && tried++ == config.backfill_depth)
      return;
    if (!fits_beside(group, future)) {
      ++next;
      continue;
    }
    if (starts++ == config.starts_per_pass_max) {
      result.more = true;
      return;
    }
    auto end = later(now, group.limit);
    if (end == never || end > future.at())
      future.take_spare(group.shape->need, choose.shares());
    start_unit(*group.waiting.begin()->job, true, end, result);
    next = heads.lower_bound({key, nullptr});
  }
}

/// Tries the class's first job and leaves its placement in `choose`. Resources only shrink during a
/// pass, so what did not fit is not tried again.
bool planner_core::state::fits_beside(job_class& group, const reserved_future& future) {
  auto& shape = *group.shape;
  if (shape.no_room_in_pass == pass_number)
    return false;
  auto end = later(now, group.limit);
  if (end != never && end <= future.at()) {
    if (choose.choose(shape.need, pool))
      return true;
    shape.no_room_in_pass = pass_number;
    return false;
  }
  if (shape.no_spare_in_pass == pass_number)
    return false;
  if (choose.choose(shape.need, future))
    return true;
  shape.no_spare_in_pass = pass_number;
  return false;
}

/// Starts a unit where `choose` says.
void planner_core::state::start_unit(job_record& job, bool backfilled, instant end,
                                     pass_result& result) {
  auto id = job.key.id;
  if (result.decisions.empty() || result.decisions.back().job != id ||
      result.decisions.back().backfilled != backfilled)
    result.decisions.push_back({id, backfilled, {}});
  auto& unit = result.decisions.back().units.emplace_back();
  unit.slot = slots.open(id, end);
  unit.predicted_end = end;
  auto& held = slots.find(id, unit.slot)->held;
  for (const auto& share : choose.shares())
    pool.take(job.group->shape->need, share, held, unit.where);
  ++job.running;
  --job.pending;
  --units_pending;
  if (job.pending == 0 || job.at_limit())
    queue.place(job, now);
}

reservation planner_core::state::describe(const job_record& job,
                                          const reserved_future& future) const {
  const auto& need = job.group->shape->need;
  reservation promise{job.key.id, future.at(), {}};
  for (const auto& share : future.shares()) {
    const auto& node = pool.at(share.node);
    promise.shares.push_back({node.id,
                              need.exclusive ? node.cores : share.tasks * need.cores_per_task,
                              need.memory_bytes});
  }
  return promise;
}

std::optional<reservation> planner_core::head_reservation(instant now) const {
  const auto& heads = state_->queue.heads();
  if (heads.empty())
    return std::nullopt;
  const auto& job = *heads.begin()->group->waiting.begin()->job;
  reserved_future future(state_->pool, state_->slots, now, job.group->shape->need);
  return state_->describe(job, future);
}

std::optional<instant> planner_core::next_wakeup() const {
  return state_->queue.next_begin();
}

// -- leases ---------------------------------------------------------------------------------------

bool planner_core::state::may_refill(const job_record& job) const {
  if (!job.is_array || job.pending == 0 || job.running == 0)
    return false;
  if (job.stands != standing::waiting && job.stands != standing::at_array_limit)
    return false;
  // Its class must be placeable, or it would not hold a slot's worth on nodes that are up.
  if (!job.group->shape->placeable)
    return false;
  const auto& heads = queue.heads();
  return heads.empty() || !(heads.begin()->key < job.key);
}

bool planner_core::refill_allowed(job_id id) const {
  const auto* job = state_->find(id);
  return job != nullptr && state_->may_refill(*job);
}

void planner_core::state::report_leases(pass_result& result) {
  std::vector<job_id> holders;
  const auto& heads = queue.heads();
  for (const auto& limited : queue.at_array_limit()) {
    if (holders.size() + 1 >= leases_max || (!heads.empty() && heads.begin()->key < limited.key))
      break;
    if (may_refill(*limited.job))
      holders.push_back(limited.key.id);
  }
  if (!heads.empty()) {
    const auto& first = *heads.begin()->group->waiting.begin()->job;
    if (may_refill(first))
      holders.push_back(first.key.id);
  }
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
