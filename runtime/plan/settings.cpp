// SPDX-License-Identifier: Apache-2.0
// Settings: what the order of the queue and its limits follow from.
#include "runtime/plan/state.hpp"

#include <algorithm>
#include <map>

namespace troupe::plan {

namespace {

/// What orders take a job without a limit to ask for.
constexpr duration unlimited_counts_as_s = 24 * 3600;

} // namespace

ordering planner_core::state::queue_ordering() const {
  return {config.order, bound_kind(), changes_with_time(config.order), true, config.second};
}

ordering planner_core::state::backfill_ordering() const {
  return {config.backfill_order, bound_kind(), true, false, config.second};
}

overtaking planner_core::state::bound_kind() const {
  if (config.overtake_limit > 0)
    return overtaking::bounded;
  return own_bound() ? overtaking::bounded_among_equals : overtaking::free;
}

queue_key planner_core::state::key_of(const job_record& job) const {
  auto key = job.key;
  const auto& by = priorities;
  auto size = static_cast<double>(job.unit_cores()) /
              static_cast<double>(std::max<std::uint64_t>(cores_all, 1));
  auto share = shares.find(job.account);
  // Age grows alike for all: what counts is who came first.
  key.points = by.size * size + by.queue * static_cast<double>(counts.queue(job.queue).priority) +
               by.share * (share == shares.end() ? 1 : share->second) -
               by.nice * static_cast<double>(job.nice) -
               by.age * (static_cast<double>(job.submitted) / static_cast<double>(by.age_period));
  key.score = changes_with_time(config.order) ? 0 : queue_ordering().score(job.view, job.submitted);
  return key;
}

class_key planner_core::state::kind_of(const job_record& job, duration limit) const {
  class_key kind{limit, job.queue, job.user, 0, 0, 0};
  if (config.order != queue_order::fcfs || config.backfill_order != queue_order::fcfs) {
    auto request = limit == never ? unlimited_counts_as_s * config.second : limit;
    kind.expected = job.expected > 0 ? job.expected : history.predict(job.user, request);
  }
  if (config.overtake_limit > 0) {
    kind.account = job.account;
    kind.nice = job.nice;
  }
  return kind;
}

/// For the overtake bound, in seconds.
pool_job planner_core::state::as_counted(const job_record& job) const {
  const auto& kind = job.group->kind;
  pool_job counted;
  counted.processors = static_cast<std::uint32_t>(std::min<std::uint64_t>(job.unit_cores(), ~0u));
  counted.estimate = kind.limit == never ? unlimited_counts_as_s : kind.limit / config.second;
  counted.expected = kind.expected / config.second;
  counted.submitted = job.submitted / config.second;
  return counted;
}

/// What its place follows from while it is in its class.
void planner_core::state::enter_class(job_record& job, job_class* group) const {
  job.group = group;
  auto cores = static_cast<std::uint32_t>(std::min<std::uint64_t>(job.unit_cores(), ~0u));
  job.view = {group->kind.expected / config.second, cores, job.submitted / config.second,
              job.view.overdue_at};
  job.key = key_of(job);
}

/// Jobs of one class go as submitted, so none of them is overdue before those ahead of it.
void planner_core::state::limit_overtaking(job_record& job) {
  if (bound_kind() == overtaking::free)
    return;
  auto wait = config.overtake_limit > 0 ? config.overtake_limit
                                        : bound.limit(as_counted(job)) * config.second;
  auto& latest = job.group->overdue_at;
  job.view.overdue_at = latest = std::max(latest, until(job.submitted, wait));
}

void planner_core::state::rescore() {
  if (!std::exchange(scores_stale, false))
    return;
  for (auto& [id, job] : jobs) {
    auto key = key_of(job);
    if (key == job.key)
      continue;
    queue.withdraw(job);
    job.key = key;
    queue.place(job, now);
    note(job);
  }
}

/// Classes, keys and bounds follow from the configuration: all are made again, as if what is there
/// had come under it.
void planner_core::state::configure(const planner_config& wanted) {
  config = wanted;
  config.reservations = std::max(config.reservations, 1u);
  config.second = std::max<duration>(config.second, 1);
  std::vector<job_record*> all;
  for (auto& [id, job] : jobs)
    all.push_back(&job);
  std::sort(all.begin(), all.end(),
            [](const auto* a, const auto* b) { return a->key.seq < b->key.seq; });
  bound = overtake_bound(pool.cores_up());
  for (auto* job : all) {
    queue.withdraw(*job);
    auto* before = job->group;
    job->view.overdue_at = never;
    enter_class(*job, queue.join_class(*before->shape->shape, kind_of(*job, before->limit())));
    queue.leave_class(before);
    limit_overtaking(*job);
    if (own_bound())
      bound.submitted(as_counted(*job), job->pending + job->running);
    queue.place(*job, now);
    note(*job);
  }
  for (const auto& key : slots.by_end())
    if (own_bound())
      bound.started(as_counted(jobs.at(slots.at(key.index).job)),
                    slots.at(key.index).started / config.second);
  changed = true;
}

void planner_core::set_config(const planner_config& config) {
  state_->configure(config);
}

std::vector<std::pair<account_id, double>> planner_core::running_usage(instant now) const {
  std::map<account_id, double> sums;
  for (const auto& key : state_->slots.by_end()) {
    const auto& unit = state_->slots.at(key.index);
    const auto& job = state_->jobs.at(unit.job);
    sums[job.account] += static_cast<double>(std::max<duration>(now - unit.since, 0)) /
                         static_cast<double>(state_->config.second) *
                         static_cast<double>(job.unit_cores());
  }
  return {sums.begin(), sums.end()};
}

void planner_core::set_priorities(const priority_config& priorities) {
  state_->priorities = priorities;
  state_->priorities.age_period = std::max<duration>(priorities.age_period, 1);
  state_->scores_stale = state_->changed = true;
}

expected<void> planner_core::set_queue(queue_index queue, const queue_config& config) {
  auto name = "queue number " + std::to_string(queue);
  if (queue >= queues_max)
    return fail(errc::invalid,
                name + " is too high: " + std::to_string(queues_max) + " queues are the limit");
  if (std::find(config.preempts.begin(), config.preempts.end(), queue) != config.preempts.end())
    return fail(errc::invalid, name + " cannot preempt its own jobs");
  state_->counts.set_queue(queue, config);
  state_->scores_stale = state_->changed = true;
  return {};
}

void planner_core::set_user_limits(user_id user, const run_limits& limits) {
  state_->counts.set_user(user, limits);
  state_->changed = true;
}

void planner_core::set_default_user_limits(const run_limits& limits) {
  state_->counts.set_default_user(limits);
  state_->changed = true;
}

void planner_core::forget_user_limits() {
  state_->counts.forget_users();
  state_->changed = true;
}

void planner_core::set_share(account_id account, double factor) {
  auto& known = state_->shares.try_emplace(account, 1.0).first->second;
  if (known == factor)
    return;
  known = factor;
  state_->scores_stale = state_->changed = true;
}

void planner_core::learn(user_id user, duration limit, duration run) {
  auto request = state_->effective_limit(limit);
  if (request == never)
    request = unlimited_counts_as_s * state_->config.second;
  state_->history.learn(user, request, run);
}

// -- advance reservations -------------------------------------------------------------------------

expected<std::vector<node_id>> planner_core::reserve(const advance_reservation& wanted) {
  auto made = state_->advance.add(wanted, state_->now);
  if (!made)
    return tl::unexpected<error>{made.error()};
  state_->queue.nodes_changed();
  state_->changed = true;
  std::vector<node_id> nodes;
  for (auto index : (*made)->nodes)
    nodes.push_back(state_->pool.at(index).id);
  return nodes;
}

expected<void> planner_core::cancel_reservation(reservation_id id) {
  auto removed = state_->advance.remove(id);
  if (removed) {
    state_->queue.nodes_changed();
    state_->changed = true;
  }
  return removed;
}

std::vector<advance_reservation> planner_core::advance_reservations() const {
  std::vector<advance_reservation> out;
  for (const auto& [id, entry] : state_->advance.all()) {
    out.push_back(entry.asked);
    out.back().nodes.clear();
    for (auto index : entry.nodes)
      out.back().nodes.push_back(state_->pool.at(index).id);
  }
  return out;
}

} // namespace troupe::plan
