// SPDX-License-Identifier: Apache-2.0
// Deciding: the policy of easy.hpp, over nodes, cores, GPUs and memory.
#include "runtime/plan/state.hpp"

#include "runtime/plan/easy.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

/// How long an order that changes with time is believed in while nothing happens.
constexpr duration sort_every_s = 30;

} // namespace

/// The queue and the nodes as `easy_pass` sees them. Resources only shrink during a pass, so a
/// shape that did not fit is not tried again; nor with a longer limit where it did not fit beside
/// what is planned.
struct planner_core::state::easy_view {
  state& s;
  pass_result& result;
  queue_walk walk;
  std::uint32_t starts = 0, tried = 0;
  bool started = false;           ///< what was looked at last has
  bool in_backfill_order = false; ///< behind the last reservation
  failed_needs failed{};

  easy_view(state& of, pass_result& to)
      : s(of), result(to), walk(of.queue, of.queue_ordering(), of.now, of.ranks) {}

  /// The reservations, for `easy_pass`: whoever may start respects them all, whenever they are.
  struct promises {
    instant at() const { return time_ends; }
  };
  promises all_promises{};

  /// With no core free nothing can start, and nobody needs a reservation.
  bool nothing_to_do() const { return s.pool.cores_free() == 0 && !s.counts.preempting(); }

  const class_head* next_class() {
    if (std::exchange(started, false))
      walk.started();
    for (const auto* head = walk.next(); head != nullptr; head = walk.next())
      if (!s.counts.any() ||
          head->group->counts_for.blocked(head->shape->need.cores()) == wait_reason::not_waiting)
        return head;
    return nullptr;
  }

  const class_head* head() { return nothing_to_do() ? nullptr : next_class(); }

  bool fits_now(const class_head& head) {
    // Most are turned down here, by what their row says.
    if (s.pool.with_free(head.least.cores) < head.least.nodes || !s.bounds.may_hold(head.least))
      return false;
    auto& shape = *head.shape;
    if (shape.no_room_in_pass == s.pass_number ||
        (shape.not_beside_in_pass == s.pass_number && head.limit >= shape.not_beside_limit))
      return false;
    const auto& need = shape.need;
    bool inside = shape.shape->reservation != 0;
    if (failed.turns_down(head.least, head.limit))
      return false;
    if (need.cores() > s.pool.cores_free() || (!inside && !s.choose.choose(need, s.pool))) {
      shape.no_room_in_pass = s.pass_number;
      note_failed(head, 0);
      return false;
    }
    if (fits_through(head))
      return true;
    shape.not_beside_in_pass = s.pass_number;
    shape.not_beside_limit = head.limit;
    note_failed(head, head.limit);
    return false;
  }

  void note_failed(const class_head& head, duration limit) {
    if (!head.least.inside && says_all(head.shape->need))
      failed.note(head.least, limit);
  }

  /// Until its end, beside everything that is planned; on the nodes promised to it if they will do.
  bool fits_through(const class_head& head) {
    bool looks_ahead = s.planned || !s.advance.all().empty();
    if (!looks_ahead && (!walk.job().promised || walk.job().promised->at > s.now))
      return true;
    s.begin_plan();
    auto end = until(s.now, head.limit);
    bool inside = head.shape->shape->reservation != 0;
    return (!inside && fits_as_promised(head, end)) ||
           s.fits_from_now(*head.shape, s.plan, end, s.choose);
  }

  bool fits_as_promised(const class_head& head, instant end) {
    const auto& given = walk.job().promised;
    if (!given || given->at > s.now)
      return false;
    const auto& need = head.shape->need;
    bool all =
        std::all_of(given->shares.begin(), given->shares.end(), [&](const task_share& share) {
          const auto& node = s.pool.at(share.node);
          return node.up() && tasks_in(need, node.room()) >= share.tasks &&
                 tasks_in(need, room_in(s.plan.line_of(share.node), s.now, end)) >= share.tasks;
        });
    if (all)
      s.choose.set(given->shares);
    return all;
  }

  bool start(const class_head& head, bool backfilled) {
    result.more = starts++ == s.config.starts_per_pass_max;
    if (result.more)
      return false;
    started = true;
    auto end = end_if_started(head);
    s.start_unit(walk.job(), backfilled, end, result);
    return true;
  }

  /// Nobody behind: then no reservation matters.
  bool backfills() const {
    return s.counts.preempting() || (s.config.backfill && s.queue.heads().size() > 1);
  }

  promises& reserve(const class_head& head) {
    passed_over(head);
    return all_promises;
  }

  const class_head* candidate(const promises&) {
    if (nothing_to_do())
      return nullptr;
    if (!in_backfill_order && s.promised.size() >= s.config.reservations) {
      in_backfill_order = true;
      if (s.config.backfill_order != queue_order::fcfs &&
          s.config.backfill_order != s.config.order) {
        started = false;
        walk = queue_walk(s.queue, s.backfill_ordering(), s.now, s.ranks);
      }
      walk.narrow(s.bounds, failed);
    }
    if (in_backfill_order && s.config.backfill_depth > 0 && tried++ == s.config.backfill_depth)
      return nullptr;
    return next_class();
  }

  instant end_if_started(const class_head& head) const { return later(s.now, head.limit); }
  bool fits_beside(const promises&, const class_head& head) { return fits_now(head); }
  void take_spare(promises&, const class_head&) const {}

  /// It goes on waiting: with a reservation, as long as there are any.
  void passed_over(const class_head& head) {
    if (s.first_blocked == nullptr)
      s.first_blocked = &walk.job();
    if (s.promised.size() >= s.config.reservations)
      return;
    auto& job = walk.job();
    if (s.counts.preempting())
      s.make_room(job, result);
    if (promise_earliest(head, job))
      walk.keep_class();
  }

  /// The earliest start beside everything promised so far. Where it is no earlier than the one
  /// promised before, the nodes stay the same: so others' promises stay possible.
  bool promise_earliest(const class_head& head, job_record& job) {
    s.begin_plan();
    const auto& need = head.shape->need;
    if (!s.find_earliest(*head.shape, head.limit, s.plan, s.search))
      return false;
    auto at = s.search.at();
    auto made = std::make_shared<promise>();
    made->at = at;
    made->until = until(at, head.limit);
    bool keeps = head.shape->shape->reservation == 0 && job.promised && job.promised->at == at &&
                 stays_possible(head, *job.promised);
    made->shares = keeps ? job.promised->shares : s.search.shares();
    // Others may be promised what comes behind it, even if nobody knows when.
    if (made->until == time_ends)
      made->until = promised_end(s.promised.size());
    for (const auto& share : made->shares)
      s.plan.claim(share.node, made->at, made->until, s.taken_by(need, share));
    s.reserved.push_back(s.describe(job, told(at), made->shares));
    s.promised.push_back(job.key.id);
    job.promised = std::move(made);
    return true;
  }

  bool stays_possible(const class_head& head, const promise& before) const {
    return std::all_of(before.shares.begin(), before.shares.end(), [&](const task_share& share) {
      return s.pool.at(share.node).up() &&
             tasks_in(head.shape->need, room_in(s.plan.line_of(share.node), before.at,
                                                until(before.at, head.limit))) >= share.tasks;
    });
  }
};

pass_result planner_core::pass(instant now) {
  auto& s = *state_;
  pass_result result;
  s.now = std::max(s.now, now);
  bool due = s.queue.begin_due(s.now);
  auto change = s.next_advance && *s.next_advance <= s.now;
  if (s.advance.expire(s.now))
    s.queue.nodes_changed();
  // Time alone lets nothing start: a unit that ends after the shadow time now does so later, too.
  // Unless the order changes with it.
  auto sort = s.next_sort();
  if (due || change || s.changed || (sort && *sort <= s.now)) {
    s.sorted_at = s.now;
    ++s.pass_number;
    s.rescore();
    s.next_advance = s.advance.next_change(s.now);
    auto before = std::exchange(s.promised, {});
    s.reserved.clear();
    s.bounds.begin(s.pool);
    s.first_blocked = nullptr;
    state::easy_view view(s, result);
    s.planned = false;
    easy_pass(view);
    s.forget_promises(before);
    s.changed = result.more;
    s.report_leases(result);
  }
  for (auto& promised : s.reserved)
    promised.at = std::max(promised.at, s.now);
  result.reserved = s.reserved;
  if (!s.reserved.empty())
    result.head = s.reserved.front();
  return result;
}

/// When a queue whose order changes with time is to be looked at even if nothing happens.
std::optional<instant> planner_core::state::next_sort() const {
  if (queue_ordering().is_static() || queue.heads().empty() || pool.cores_free() == 0)
    return std::nullopt;
  return later(sorted_at, sort_every_s * config.second);
}

bool planner_core::state::fits_from_now(const shape_entry& shape, const outlook& on, instant end,
                                        chooser& fit) const {
  const auto* inside = advance.find(shape.shape->reservation);
  if (inside == nullptr)
    return fit.choose(shape.need, rooms_from_now{pool, on, end});
  inside_view view(pool, on, inside->nodes, inside->asked.from, inside->asked.until);
  return fit.choose(shape.need, inside_rooms_from_now{pool, view.lines(), on.now(), end});
}

bool planner_core::state::find_earliest(const shape_entry& shape, duration limit, const outlook& on,
                                        earliest_search& with) const {
  const auto* inside = advance.find(shape.shape->reservation);
  if (inside == nullptr)
    return with.find(shape.need, limit, pool, on.lines(), on.now());
  inside_view view(pool, on, inside->nodes, inside->asked.from, inside->asked.until);
  return with.find(shape.need, limit, pool, view.lines(), on.now());
}

/// Only passes that promise something, or must respect something promised, need to look ahead.
void planner_core::state::begin_plan() {
  if (!std::exchange(planned, true))
    plan.begin(pool, now);
}

/// Those who have no reservation any more are bound to no nodes.
void planner_core::state::forget_promises(const std::vector<job_id>& before) {
  if (promised.empty())
    promised = before;
  for (auto id : before)
    if (auto* job = find(id);
        job != nullptr && std::find(promised.begin(), promised.end(), id) == promised.end())
      job->promised.reset();
}

/// Starts a unit where `choose` says.
void planner_core::state::start_unit(job_record& job, bool backfilled, instant end,
                                     pass_result& result) {
  auto id = job.key.id;
  if (result.decisions.empty() || result.decisions.back().job != id ||
      result.decisions.back().backfilled != backfilled)
    result.decisions.push_back({id, backfilled, {}});
  auto& unit = result.decisions.back().units.emplace_back();
  unit.slot = slots.open(id, now, end);
  unit.predicted_end = end;
  auto& made = *slots.find(id, unit.slot);
  for (const auto& share : choose.shares())
    pool.take(job.group->shape->need, share, made.held, unit.where);
  enter_unit(job, made);
  for (const auto& held : made.held)
    if (planned)
      plan.note(held.node, slot_table::planned(made), held.taken());
  note_started(job);
  job.promised.reset();
  --job.pending;
  --units_pending;
  jobs_pending -= job.pending == 0 ? 1 : 0;
  if (job.pending == 0 || job.at_limit())
    queue.place(job, now);
  note(job);
}

amounts planner_core::state::taken_by(const unit_need& need, const task_share& share) const {
  auto cores = need.exclusive ? pool.at(share.node).cores : share.tasks * need.cores_per_task;
  return {static_cast<std::int64_t>(need.memory_bytes), static_cast<std::int32_t>(cores),
          static_cast<std::int32_t>(share.tasks * need.gpus_per_task)};
}

reservation planner_core::state::describe(const job_record& job, instant at,
                                          const std::vector<task_share>& where) const {
  const auto& need = job.group->shape->need;
  reservation promise{job.key.id, at, {}};
  for (const auto& share : where) {
    auto taken = taken_by(need, share);
    promise.shares.push_back({pool.at(share.node).id, static_cast<std::uint32_t>(taken.cores),
                              need.memory_bytes, static_cast<std::uint32_t>(taken.gpus)});
  }
  return promise;
}

std::optional<instant> planner_core::next_wakeup() const {
  std::optional<instant> next;
  for (auto at :
       {state_->queue.next_begin(), state_->advance.next_change(state_->now), state_->next_sort()})
    if (at && (!next || *at < *next))
      next = at;
  return next;
}

} // namespace troupe::plan
