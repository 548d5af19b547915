// SPDX-License-Identifier: Apache-2.0
// Explaining: computed when asked, from the same structures as the decisions, changing nothing.
#include "runtime/plan/state.hpp"

#include "runtime/plan/estimates.hpp"

#include <algorithm>
#include <map>

namespace troupe::plan {

namespace {

/// Jobs that run on the nodes the unit would get, until the time it would get them.
void list_awaited(const slot_table& slots, const earliest_search& search, explanation& out) {
  auto wanted = [&](std::uint32_t node) {
    return std::any_of(search.shares().begin(), search.shares().end(),
                       [&](const task_share& share) { return share.node == node; });
  };
  std::map<job_id, instant> until;
  for (const auto& key : slots.by_end()) {
    const auto& unit = slots.at(key.index);
    if (slot_table::planned(unit) > search.at())
      break;
    if (std::any_of(unit.held.begin(), unit.held.end(),
                    [&](const held_share& held) { return wanted(held.node); }))
      until[unit.job] = key.end;
  }
  for (const auto& [job, end] : until)
    out.waits_for.push_back({job, end});
  std::stable_sort(out.waits_for.begin(), out.waits_for.end(),
                   [](const auto& a, const auto& b) { return a.until < b.until; });
  if (out.waits_for.size() > awaited_max) {
    out.waits_for_more = static_cast<std::uint32_t>(out.waits_for.size() - awaited_max);
    out.waits_for.resize(awaited_max);
  }
}

struct room_count {
  std::uint32_t nodes = 0; ///< with room for one node's part
  std::uint64_t tasks = 0;
};

template <class Rooms>
room_count count_room(const unit_need& need, const Rooms& rooms) {
  room_count count;
  rooms.each([&](std::uint32_t node, const node_room& room) {
    if (need.excludes(node))
      return true;
    auto tasks = tasks_in(need, room);
    count.tasks += tasks;
    count.nodes += tasks >= need.most() ? 1 : 0;
    return true;
  });
  return count;
}

/// Reasons that do not depend on what is free.
wait_reason own_reason(const job_record& job, const advance_table& advance, instant now) {
  if (job.pending == 0)
    return wait_reason::not_waiting;
  if (job.held)
    return wait_reason::held;
  if (job.begin_time > now)
    return wait_reason::begin_time;
  if (job.at_limit())
    return wait_reason::array_limit;
  if (auto id = job.group->shape->shape->reservation; id != 0) {
    const auto* inside = advance.find(id);
    if (inside == nullptr || inside->asked.from > now)
      return wait_reason::advance;
  }
  auto limited = job.group->counts_for.blocked(job.unit_cores());
  return limited == wait_reason::not_waiting ? wait_reason::queue_order : limited;
}

} // namespace

/// What runs, advance reservations, and the promises to jobs ahead of `key`.
outlook planner_core::state::look_ahead(const queue_key* key, instant at) const {
  outlook ahead;
  ahead.begin(pool, at);
  auto by = queue_ordering();
  for (auto id : promised) {
    const auto* other = find(id);
    if (key == nullptr || other == nullptr || !other->promised ||
        other->stands != standing::waiting || !(by.key_at(other->key, other->view, now) < *key))
      continue;
    for (const auto& share : other->promised->shares)
      ahead.claim(share.node, std::max(other->promised->at, at), other->promised->until,
                  taken_by(other->group->shape->need, share));
  }
  return ahead;
}

void planner_core::state::count_positions(const job_record& job, explanation& out) const {
  auto by = queue_ordering();
  auto key = by.key_at(job.key, job.view, now);
  queue.heads().each([&](const class_head& head) {
    if (!(by.key_at(head.key, head.view, now) < key))
      return !by.is_static(); // all behind it are behind it, too
    std::uint64_t ahead = 1;
    const auto& waiting = head.group->waiting;
    for (auto at = std::next(waiting.begin());
         at != waiting.end() && by.key_at(at->key, at->job->view, now) < key; ++at)
      ++ahead;
    out.position += ahead;
    out.position_in_queue += head.group->kind.queue == job.queue ? ahead : 0;
    return true;
  });
  ++out.position;
  ++out.position_in_queue;
}

void planner_core::state::explain_room(const job_record& job, instant at, explanation& out) const {
  const auto& need = job.group->shape->need;
  auto limit = job.group->limit();
  auto here = count_room(need, pool);
  out.nodes_fitting_now = here.nodes;
  out.tasks_fitting_now = here.tasks;
  auto alone = look_ahead(nullptr, at);
  earliest_search found;
  chooser fits;
  bool now_alone = fits_from_now(*job.group->shape, alone, until(at, limit), fits);
  auto key = queue_ordering().key_at(job.key, job.view, now);
  if (const auto* first = first_waiting(); first != nullptr && first != &job)
    out.behind = first->key.id;
  if (now_alone) {
    bool beside = fits_from_now(*job.group->shape, look_ahead(&key, at), until(at, limit), fits);
    bool first_fits = !out.behind || chooser().choose(find(*out.behind)->group->shape->need, pool);
    out.reason = !out.behind || first_fits || (beside && config.backfill)
                     ? wait_reason::queue_order
                     : wait_reason::reservation;
    return;
  }
  out.reason = wait_reason::resources;
  if (!find_earliest(*job.group->shape, limit, alone, found))
    return;
  list_awaited(slots, found, out);
  if (found.at() >= unknown_ends)
    return;
  out.room_at = found.at();
  auto then =
      count_room(need, window_rooms{alone.lines(), found.at(), until(found.at(), limit), 0});
  out.nodes_more = then.nodes - std::min(then.nodes, here.nodes);
  out.tasks_more = then.tasks - std::min(then.tasks, here.tasks);
}

std::optional<instant> planner_core::state::expected_start(const job_record& job) const {
  if (job.promised)
    return job.promised->at < unknown_ends ? std::optional(std::max(job.promised->at, now))
                                           : std::nullopt;
  const auto* known = estimates ? estimates->find(job.key.id) : nullptr;
  return known == nullptr ? std::nullopt : std::optional(std::max(known->start, now));
}

std::optional<instant> planner_core::expected_start(job_id id) const {
  const auto* job = state_->find(id);
  return job == nullptr || job->pending == 0 || job->held ? std::nullopt
                                                          : state_->expected_start(*job);
}

std::optional<told_start> planner_core::told_of(job_id id, std::uint32_t units) const {
  const auto* known = state_->estimates ? state_->estimates->find(id) : nullptr;
  if (known == nullptr || known->units != units)
    return std::nullopt;
  return told_start{known->first, known->start};
}

void planner_core::take_estimates(std::shared_ptr<const start_estimates> estimates) {
  state_->estimates = std::move(estimates);
}

explanation planner_core::in_brief(job_id id, instant now) const {
  const auto& s = *state_;
  explanation out;
  out.job = id;
  out.cores_free = s.pool.cores_free();
  const auto* job = s.find(id);
  if (job == nullptr)
    return out;
  out.needs = *job->group->shape->shape;
  out.queue = job->queue;
  out.units_pending = job->pending;
  out.units_running = job->running;
  out.max_running = job->max_running;
  out.begin_time = job->begin_time;
  out.reason = own_reason(*job, s.advance, now);
  if (const auto* inside = s.advance.find(out.needs.reservation); inside != nullptr)
    out.begin_time = std::max(out.begin_time, inside->asked.from);
  if (out.reason == wait_reason::begin_time)
    out.expected_start = out.begin_time;
  if (out.reason != wait_reason::queue_order) {
    if (out.reason == wait_reason::advance)
      out.expected_start = s.expected_start(*job);
    return out;
  }
  out.impossible = describe_impossible(out.needs, s.pool, false);
  out.reason = wait_reason::impossible;
  if (out.impossible.empty() && !job->group->shape->placeable) {
    out.impossible = describe_impossible(out.needs, s.pool, true);
    out.reason = wait_reason::impossible_now;
  }
  if (!out.impossible.empty())
    return out;
  out.reason = wait_reason::queue_order;
  // A begin time that came after the latest pass: the job joins the queue with the next one.
  if (job->stands != standing::waiting)
    return out;

  s.explain_room(*job, now, out);
  out.promised = job->promised != nullptr;
  out.expected_start = out.reason == wait_reason::queue_order ? now : s.expected_start(*job);
  return out;
}

explanation planner_core::why(job_id id, instant now) const {
  const auto& s = *state_;
  auto out = in_brief(id, now);
  const auto in_queue = out.reason == wait_reason::queue_order ||
                        out.reason == wait_reason::reservation ||
                        out.reason == wait_reason::resources;
  const auto* job = s.find(id);
  if (!in_queue || job->stands != standing::waiting)
    return out;
  s.count_positions(*job, out);
  if (!out.expected_start && !job->promised && !s.estimates &&
      out.position <= s.config.estimate_units_max) {
    auto few = estimate_starts(*snapshot(now), s.config.estimate_units_max);
    if (const auto* known = few.find(id))
      out.expected_start = known->start;
  }
  return out;
}

} // namespace troupe::plan
