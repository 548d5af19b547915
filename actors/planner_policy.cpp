// SPDX-License-Identifier: Apache-2.0
#include "actors/planner.hpp"
#include "runtime/plan/estimates.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

// What the planner decides by: the configuration, shares, reservations; and what it promises.

namespace troupe::actors {

namespace {

constexpr std::int64_t estimates_every_ns = ns_per_s;
constexpr std::int64_t shares_every_ns = 5 * ns_per_s;
/// Snapshots may take so small a part of the planner's time: one in so many.
constexpr std::int64_t snapshot_share = 20;
/// A limit that is not given counts like this where a length is needed: it ends after all others.
constexpr plan::duration no_limit_known = 0;

plan::run_limits to_limits(const usage_limits& from) {
  return {from.running_max, from.cores_max};
}

plan::queue_order to_order(const std::string& name) {
  for (int i = 0; i < static_cast<int>(order_names().size()); ++i)
    if (plan::to_string(static_cast<plan::queue_order>(i)) == name)
      return static_cast<plan::queue_order>(i);
  return plan::queue_order::fcfs;
}

plan::planner_config core_config(const scheduling_config& from) {
  plan::planner_config config;
  config.backfill = from.backfill;
  config.unknown_limit = no_limit_known;
  config.reservations = from.reservations;
  config.order = to_order(from.order);
  config.backfill_order = to_order(from.backfill_order);
  config.overtake_limit = std::int64_t{from.overtake_limit_s} * ns_per_s;
  config.second = ns_per_s;
  return config;
}

plan::priority_config core_priorities(const priority_config& from) {
  plan::priority_config to;
  to.age = from.age;
  to.size = from.size;
  to.queue = from.queue;
  to.share = from.fair_share;
  to.nice = from.nice;
  to.age_period = std::int64_t{from.age_period_s} * ns_per_s;
  return to;
}

} // namespace

/// All of it or nothing: what can fail comes first.
expected<void> planner_state::configure(const std::shared_ptr<cluster_config const>& from) {
  const auto& config = *from;
  if (auto possible = check_policy(config); !possible)
    return possible;
  if (auto done = shares_.configure(config, time_.now()); !done)
    return done;
  const auto freed = queues_.take(config);
  if (!freed)
    return tl::unexpected<error>{freed.error()};
  const auto before = std::exchange(config_, from);
  if (!before || before->scheduling != config.scheduling)
    core_.set_config(core_config(config.scheduling));
  core_.set_priorities(core_priorities(config.priority));
  expected<void> done;
  const auto set_queue = [&](plan::queue_index number, const plan::queue_config& to) {
    if (auto set = core_.set_queue(number, to); !set && done)
      done = std::move(set);
  };
  for (auto number : *freed)
    set_queue(number, {});
  for (const auto& queue : config.queues) {
    plan::queue_config to;
    to.priority = queue.priority;
    to.all = to_limits(queue.all);
    to.per_user = to_limits(queue.each_user);
    for (const auto& other : queue.preempts)
      to.preempts.push_back(queues_.of(other));
    to.grace = std::int64_t{queue.grace_s} * ns_per_s;
    set_queue(queues_.of(queue.name), to);
  }
  core_.set_default_user_limits(to_limits(config.each_user));
  core_.forget_user_limits();
  for (const auto& [user, limits] : config.users)
    core_.set_user_limits(shares_.user_of(user), to_limits(limits));
  shares_changed_ = true;
  shares_next_ = 0;
  return done;
}

expected<void> planner_state::reserve(const plan_event& event) {
  const auto& row = *event.reservation;
  plan::advance_reservation what;
  what.id = static_cast<plan::reservation_id>(event.unit);
  what.from = row.start_utc_ns;
  what.until = row.end_utc_ns;
  for (const auto& node : row.nodes)
    if (auto at = names_.nodes.find(node); at != names_.nodes.end())
      what.nodes.push_back(at->second);
  for (const auto& user : row.users)
    what.users.push_back(shares_.user_of(user));
  for (const auto& account : row.accounts)
    what.accounts.push_back(shares_.account_of(account, {}));
  names_.reservations[row.name] = what.id;
  if (what.nodes.empty()) // it was made when there were others: its jobs wait, and nothing is kept
    return fail(errc::not_found, fmt::format("reservation '{}' keeps nodes that are not in this "
                                             "cluster",
                                             row.name));
  if (what.nodes.size() < row.nodes.size())
    world_.log->warn("planner: reservation '{}' keeps {} nodes; the others that it names are not "
                     "in this cluster",
                     row.name, what.nodes.size());
  reservations_[what.id] = what;
  watch_clock_later();
  return enter_reservation(what);
}

/// One that is over by the wall clock is none, until that clock is set back.
expected<void> planner_state::enter_reservation(const plan::advance_reservation& what) {
  auto now_on = what;
  now_on.from = time_.of_wall(what.from);
  now_on.until = time_.of_wall(what.until);
  if (now_on.until <= time_.now())
    return {};
  if (auto done = core_.reserve(now_on); !done)
    return tl::unexpected<error>{done.error()};
  return {};
}

/// Accounts' factors go to the core as usage or settings change; not at every end of a job, for
/// each time the whole queue is put in order.
void planner_state::share_out() {
  const auto now = time_.now();
  const auto runs = core_.total().units_running > 0;
  if ((!shares_changed_ && !runs) || now < shares_next_ || !config_ ||
      config_->priority.fair_share == 0)
    return;
  shares_changed_ = false;
  shares_next_ = now + shares_every_ns;
  for (const auto& [account, factor] : shares_.factors(core_.running_usage(now), now))
    core_.set_share(account, factor);
}

/// Expected starts are worked out elsewhere, from a snapshot, when something has changed.
void planner_state::estimate() {
  if (!estimates_due_ || estimates_under_way_ || core_.total().jobs_waiting == 0)
    return;
  const auto now = time_.now();
  if (now < estimates_next_) {
    if (!std::exchange(estimate_timer_, true))
      tick_later(self_, world_, std::chrono::nanoseconds{estimates_next_ - now}, timer_estimate);
    return;
  }
  estimates_due_ = false;
  estimates_under_way_ = true;
  const auto begin = std::chrono::steady_clock::now();
  auto queue = core_.snapshot(now);
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begin;
  estimates_next_ = now + std::max<std::int64_t>(estimates_every_ns, snapshot_share * took.count());
  ask(self_, estimator_, cap_, estimate_queue{std::move(queue)})
      .then([this](queue_estimated& made) { take_estimates(made.estimates); },
            [this](caf::error& why) {
              estimates_under_way_ = false;
              world_.log->error("planner: no estimates: {}", from_caf(why).text);
            });
}

void planner_state::take_estimates(const std::shared_ptr<plan::start_estimates const>& estimates) {
  estimates_under_way_ = false;
  core_.take_estimates(estimates);
  estimate();
}

} // namespace troupe::actors
