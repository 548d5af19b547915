// SPDX-License-Identifier: Apache-2.0
// Deciding: the policy of easy.hpp, over nodes, cores and memory.
#include "runtime/plan/state.hpp"

#include <algorithm>
#include <iterator>

namespace troupe::plan {

/// The queue's classes and the nodes as `easy_pass` sees them: a class stands for its first job.
/// Resources only shrink during a pass, so a shape that did not fit is not tried again.
struct planner_core::state::easy_view {
  state& s;
  pass_result& result;
  std::uint32_t starts = 0, tried = 0;
  job_queue::head_set::const_iterator next{}; ///< to be looked at
  queue_key key{};                            ///< of the class looked at last
  bool started = false; ///< its first job: the next one of the class may stand there now
  std::optional<reserved_future> future{};

  /// With no core free nothing can start, and nobody needs a reservation.
  job_class* head() const {
    const auto& heads = s.queue.heads();
    return heads.empty() || s.pool.cores_free() == 0 ? nullptr : heads.begin()->group;
  }

  bool fits_now(job_class& group) const {
    auto& shape = *group.shape;
    if (shape.no_room_in_pass == s.pass_number)
      return false;
    if (s.choose.choose(shape.need, s.pool))
      return true;
    shape.no_room_in_pass = s.pass_number;
    return false;
  }

  bool start(job_class& group, bool backfilled) {
    result.more = starts++ == s.config.starts_per_pass_max;
    if (result.more)
      return false;
    started = true;
    s.start_unit(*group.waiting.begin()->job, backfilled, end_if_started(group), result);
    return true;
  }

  /// The others of the first class do not fit either.
  bool backfills() {
    next = std::next(s.queue.heads().begin());
    started = false;
    return s.config.backfill && next != s.queue.heads().end();
  }

  reserved_future& reserve(job_class& group) {
    future.emplace(s.pool, s.slots, s.now, group.shape->need);
    s.head = s.describe(*group.waiting.begin()->job, *future);
    return *future;
  }

  job_class* candidate(const reserved_future&) {
    const auto& heads = s.queue.heads();
    if (started)
      next = heads.lower_bound({key, nullptr});
    if (next == heads.end() || s.pool.cores_free() == 0 ||
        (s.config.backfill_depth > 0 && tried++ == s.config.backfill_depth))
      return nullptr;
    key = next->key;
    started = false;
    return (next++)->group;
  }

  instant end_if_started(const job_class& group) const { return later(s.now, group.limit); }

  bool fits_beside(const reserved_future& beside, job_class& group) const {
    auto& shape = *group.shape;
    if (shape.no_room_in_pass == s.pass_number || shape.no_spare_in_pass == s.pass_number)
      return false;
    if (s.choose.choose(shape.need, beside))
      return true;
    shape.no_spare_in_pass = s.pass_number;
    return false;
  }

  void take_spare(reserved_future& beside, const job_class& group) const {
    beside.take_spare(group.shape->need, s.choose.shares());
  }
};

pass_result planner_core::pass(instant now) {
  auto& s = *state_;
  pass_result result;
  s.now = std::max(s.now, now);
  // Time alone lets nothing start: a unit that ends after the shadow time now does so later, too.
  if (s.queue.begin_due(s.now) || s.changed) {
    ++s.pass_number;
    s.head.reset();
    state::easy_view view{s, result};
    easy_pass(view);
    s.changed = result.more;
    s.report_leases(result);
  }
  if (s.head)
    s.head->at = std::max(s.head->at, s.now);
  result.head = s.head;
  return result;
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
