// SPDX-License-Identifier: Apache-2.0
// Explaining: computed when asked, from the same structures as the decisions, changing nothing.
#include "runtime/plan/state.hpp"

#include <algorithm>
#include <map>

namespace troupe::plan {

namespace {

/// Jobs that run on the nodes the unit would get, until the time it would get them.
void list_awaited(const slot_table& slots, const reserved_future& future, explanation& out) {
  auto wanted = [&](std::uint32_t node) {
    return std::any_of(future.shares().begin(), future.shares().end(),
                       [&](const task_share& share) { return share.node == node; });
  };
  std::map<job_id, instant> until;
  for (const auto& key : slots.by_end()) {
    if (future.last_ended() < key)
      break;
    const auto& unit = slots.at(key.index);
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

void count_room(const node_pool& pool, const unit_need& need, explanation& out) {
  auto part = need.least + (need.plus_one > 0 ? 1 : 0);
  pool.each([&](std::uint32_t node, const node_room& room) {
    if (need.excludes(node))
      return true;
    auto tasks = tasks_in(need, room);
    out.tasks_fitting_now += tasks;
    out.nodes_fitting_now += tasks >= part ? 1 : 0;
    return true;
  });
}

/// Starts the units ahead of the job one after another, each when it fits and none before an
/// earlier one: later than backfilling would, never earlier than first come first served.
class list_simulation {
public:
  list_simulation(const node_pool& pool, const slot_table& slots, instant now, std::uint32_t units)
      : then_(pool, slots, now), left_(units) {}

  /// False when the units to simulate are used up, or the job's turn never comes.
  bool start_all(const job_record& job) {
    auto units = job.pending;
    if (job.max_running > 0)
      units = std::min(units, job.max_running - std::min(job.running, job.max_running));
    for (; units > 0; --units) {
      if (left_-- == 0 || !advance(job))
        return false;
      then_.start(job.group->shape->need, choose_.shares(), later(then_.at(), job.group->limit));
    }
    return true;
  }

  std::optional<instant> first_start(const job_record& job) {
    return advance(job) ? std::optional(then_.at()) : std::nullopt;
  }

private:
  bool advance(const job_record& job) {
    const auto& need = job.group->shape->need;
    return then_.advance_until_fits(need) && then_.at() != never && choose_.choose(need, then_);
  }

  future then_;
  chooser choose_;
  std::uint32_t left_;
};

/// Calls f(job) for each waiting job in queue order until it returns false.
template <class F>
void each_in_order(const job_queue& queue, F&& f) {
  using cursor = std::pair<std::set<queued>::const_iterator, const job_class*>;
  auto after = [](const cursor& a, const cursor& b) { return b.first->key < a.first->key; };
  std::vector<cursor> cursors;
  for (const auto& head : queue.heads())
    cursors.push_back({head.group->waiting.begin(), head.group});
  std::make_heap(cursors.begin(), cursors.end(), after);
  while (!cursors.empty()) {
    std::pop_heap(cursors.begin(), cursors.end(), after);
    auto& [at, group] = cursors.back();
    if (!f(*at->job))
      return;
    if (++at == group->waiting.end())
      cursors.pop_back();
    else
      std::push_heap(cursors.begin(), cursors.end(), after);
  }
}

std::optional<instant> simulated_start(const job_queue& queue, list_simulation simulation,
                                       const job_record& job) {
  std::optional<instant> start;
  each_in_order(queue, [&](const job_record& ahead) {
    if (&ahead == &job) {
      start = simulation.first_start(job);
      return false;
    }
    return simulation.start_all(ahead);
  });
  return start;
}

/// Reasons that do not depend on what is free.
wait_reason own_reason(const job_record& job, instant now) {
  if (job.pending == 0)
    return wait_reason::not_waiting;
  if (job.held)
    return wait_reason::held;
  if (job.begin_time > now)
    return wait_reason::begin_time;
  if (job.at_limit())
    return wait_reason::array_limit;
  return wait_reason::queue_order;
}

} // namespace

explanation planner_core::why(job_id id, instant now) const {
  const auto& s = *state_;
  explanation out;
  out.job = id;
  out.cores_free = s.pool.cores_free();
  const auto* job = s.find(id);
  if (job == nullptr)
    return out;
  const auto& need = job->group->shape->need;
  out.needs = *job->group->shape->shape;
  out.units_pending = job->pending;
  out.units_running = job->running;
  out.max_running = job->max_running;
  out.begin_time = job->begin_time;
  count_room(s.pool, need, out);
  out.reason = own_reason(*job, now);
  if (out.reason == wait_reason::begin_time)
    out.expected_start = job->begin_time;
  if (out.reason != wait_reason::queue_order)
    return out;
  out.impossible = describe_impossible(out.needs, s.pool, false);
  if (out.impossible.empty() && !job->group->shape->placeable) {
    out.impossible = describe_impossible(out.needs, s.pool, true);
    out.reason = wait_reason::impossible_now;
    return out;
  }
  if (!out.impossible.empty()) {
    out.reason = wait_reason::impossible;
    return out;
  }
  // A begin time that came after the latest pass: the job joins the queue with the next one.
  if (job->stands != standing::waiting)
    return out;

  out.position = s.queue.ahead_of(job->key) + 1;
  reserved_future alone(s.pool, s.slots, now, need);
  chooser choose;
  bool fits = choose.choose(need, s.pool);
  if (!fits)
    list_awaited(s.slots, alone, out);
  const auto& first = *s.queue.heads().begin()->group->waiting.begin()->job;
  if (&first != job)
    out.behind = first.key.id;
  if (!fits) {
    out.reason = wait_reason::resources;
  } else if (&first != job && !choose.choose(first.group->shape->need, s.pool)) {
    reserved_future promised(s.pool, s.slots, now, first.group->shape->need);
    auto end = later(now, job->group->limit);
    bool allowed = s.config.backfill &&
                   ((end != never && end <= promised.at()) || choose.choose(need, promised));
    out.reason = allowed ? wait_reason::queue_order : wait_reason::reservation;
  }
  if (out.reason == wait_reason::queue_order)
    out.expected_start = now;
  else
    out.expected_start = simulated_start(
        s.queue, list_simulation(s.pool, s.slots, now, s.config.estimate_units_max), *job);
  return out;
}

} // namespace troupe::plan
