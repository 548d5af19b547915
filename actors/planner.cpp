// SPDX-License-Identifier: Apache-2.0
#include "actors/planner.hpp"

#include "actors/plan_codec.hpp"

#include <chrono>
#include <fmt/format.h>

namespace troupe::actors {

namespace {

plan::placement to_plan(const std::vector<placement_part>& parts) {
  plan::placement where;
  for (const auto& part : parts) {
    plan::node_share share;
    share.node = part.node;
    share.tasks = part.ranks;
    share.memory_bytes = part.memory_bytes;
    for (auto core : part.cores)
      share.cores.push_back(static_cast<std::uint16_t>(core));
    for (auto gpu : part.gpus)
      share.gpus.push_back(static_cast<std::uint16_t>(gpu));
    where.push_back(std::move(share));
  }
  return where;
}

placed_unit from_plan(const plan::started_unit& unit) {
  placed_unit result;
  result.unit = unit.slot;
  std::uint32_t rank = 0;
  for (const auto& share : unit.where) {
    placement_part part;
    part.node = share.node;
    part.rank_first = rank;
    part.ranks = share.tasks;
    part.cores.assign(share.cores.begin(), share.cores.end());
    part.gpus.assign(share.gpus.begin(), share.gpus.end());
    part.memory_bytes = share.memory_bytes;
    rank += share.tasks;
    result.parts.push_back(std::move(part));
  }
  return result;
}

} // namespace

planner_state::planner_state(self_pointer self, world& around, verified_capability cap,
                             estimator_actor estimator)
    : self_{self}, world_{around}, cap_{std::move(cap)},
      estimator_{std::move(estimator)}, time_{around.clock} {}

planner_actor::behavior_type planner_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<planner_actor>(
      guard,
      on<get_status>([this](request<get_status>& what) { return status(what.msg.verbosity); }),
      on<tick>([this](request<tick>& what) {
        switch (what.msg.timer) {
        case timer_estimate: estimate_timer_ = false; return estimate();
        case timer_clock: clock_timer_ = false; return watch_clock();
        case timer_wakeup: wakeup_ = plan::never; [[fallthrough]];
        default: return pass();
        }
      }),
      on<plan_changes>([this](request<plan_changes>& what) { take(what.msg); }),
      on<why_job>([this](request<why_job>& what) { return why(what); }),
      on<expect_starts>([this](request<expect_starts>& what) { return expect(what.msg); }),
      on<check_job>([this](request<check_job>& what) { return forecast(what.msg); }),
      on<list_nodes>([this](request<list_nodes>&) { return nodes(); }));
}

void planner_state::take(plan_changes& what) {
  scheduler_ = what.reply_to;
  sequence_ = what.sequence;
  follow_clock();
  for (const auto& event : what.events)
    apply(event);
  if (pass_due_)
    return;
  // Behind the events that are in the mailbox already: they share the pass.
  pass_due_ = true;
  self_->send(self_, request<tick>{world_.timer_cap, tick{timer_pass}});
}

std::uint64_t planner_state::core_slot(std::uint64_t unit) const {
  auto at = restored_.find(unit);
  return at == restored_.end() ? unit : at->second;
}

void planner_state::apply(const plan_event& event) {
  using kind = plan_event::kind;
  ++events_;
  estimates_due_ = true;
  auto done = [&]() -> expected<void> {
    switch (event.what) {
    case kind::node_added: return add_node(event);
    case kind::node_changed: return core_.set_node_state(event.node_id, to_plan(event.state));
    case kind::submitted: return submit(event, event.pending_elements);
    case kind::held: return core_.hold(event.job);
    case kind::released: return core_.release(event.job);
    case kind::removed:
      begins_.erase(event.job);
      unplanned_.erase(event.job);
      missing_nodes_.erase(event.job);
      return core_.remove(event.job);
    case kind::changed: return apply_changed(event);
    case kind::configured: return configure(event.config);
    case kind::reserved: return reserve(event);
    case kind::unreserved:
      names_.reservations.erase(event.reservation->name);
      reservations_.erase(static_cast<plan::reservation_id>(event.unit));
      return core_.cancel_reservation(static_cast<plan::reservation_id>(event.unit));
    case kind::used:
      shares_.charge(event.account, event.user, event.core_seconds,
                     time_.past_of_wall(event.at_utc_ns));
      shares_changed_ = true;
      return {};
    case kind::ran:
      core_.learn(shares_.user_of(event.user), std::int64_t{event.time_limit_s} * ns_per_s,
                  event.run_ns);
      return {};
    case kind::pending_changed:
      if (core_.knows(event.job))
        return core_.set_pending(event.job, event.elements);
      return event.elements > 0 ? submit(event, event.elements) : expected<void>{};
    case kind::ended: {
      auto result = core_.ended(event.job, core_slot(event.unit));
      restored_.erase(event.unit);
      return result;
    }
    case kind::given_back: return core_.give_back(event.job, core_slot(event.unit));
    case kind::refilled:
      return core_.refilled(event.job, core_slot(event.unit), predicted_end(event), event.elements);
    case kind::restored: return apply_restored(event);
    }
    return {};
  }();
  if (!done)
    note_refusal(event, done.error());
}

/// A decision and an event can cross: what the core refuses of those has been settled already. What
/// comes from outside alone it must take, or somebody has to hear of it.
void planner_state::note_refusal(const plan_event& event, const error& why) {
  using kind = plan_event::kind;
  ++refused_events_;
  const auto settled =
      why.code == errc::not_found &&
      (event.what == kind::ended || event.what == kind::given_back ||
       event.what == kind::refilled || event.what == kind::removed || event.what == kind::held ||
       event.what == kind::released || event.what == kind::pending_changed ||
       event.what == kind::changed || event.what == kind::unreserved);
  if (settled) {
    world_.log->debug("planner: event {} of job {}: {}", static_cast<int>(event.what), event.job,
                      why.text);
    return;
  }
  world_.log->error("planner: event {} of job {} cannot be taken: {}", static_cast<int>(event.what),
                    event.job, why.text);
  if (event.spec && event.job != 0 && !core_.knows(event.job))
    unplanned_[event.job] = why.text;
}

expected<void> planner_state::add_node(const plan_event& event) {
  node_names_[event.node->node] = event.node->name;
  if (event.state != node_state::leaving) // nobody can ask for one that leaves
    if (auto known = names_.add(*event.node); !known)
      return known;
  return core_.add_node(node_config_of(*event.node, event.state, names_));
}

plan::job_request planner_state::request_of(const plan_event& event, std::uint32_t pending) {
  const auto& spec = *event.spec;
  if (auto missing = names_.missing_of(spec); !missing.empty())
    missing_nodes_[event.job] = std::move(missing);
  plan::job_request job;
  job.id = event.job;
  job.seq = event.job;
  job.shape = shape_of(spec, names_);
  job.time_limit = std::int64_t{spec.time_limit_s} * ns_per_s;
  job.held = spec.held && event.what == plan_event::kind::submitted; // it was released since
  job.begin_time =
      spec.begin_utc_ns == 0 ? 0 : std::max<plan::instant>(time_.of_wall(spec.begin_utc_ns), 1);
  job.is_array = spec.array.has_value();
  job.pending = pending;
  job.max_running = spec.array ? spec.array->running_max : 0;
  job.nice = spec.nice;
  job.submitted = time_.past_of_wall(event.at_utc_ns);
  job.user = shares_.user_of(event.user);
  job.account = shares_.account_of(event.account, event.user);
  if (config_)
    job.queue = queues_.of(spec.queue.empty() ? config_->default_queue : spec.queue);
  return job;
}

expected<void> planner_state::submit(const plan_event& event, std::uint32_t pending) {
  return enter(event.job, event.spec->begin_utc_ns, request_of(event, pending));
}

/// What the core takes it can plan; its begin is by the wall clock, whatever becomes of that.
expected<void> planner_state::enter(job_id job, utc_ns begin, const plan::job_request& as) {
  begins_.erase(job);
  if (begin != 0)
    begins_[job] = begin;
  unplanned_.erase(job);
  watch_clock_later();
  return core_.restore(as);
}

/// It waits, held, while it is changed: as if it had come like this.
expected<void> planner_state::apply_changed(const plan_event& event) {
  if (auto gone = core_.remove(event.job); !gone && !unplanned_.contains(event.job))
    return gone;
  auto job = request_of(event, event.pending_elements);
  job.held = true;
  return enter(event.job, event.spec->begin_utc_ns, job);
}

/// As the job reckons it, by the wall clock; at most its limit from now, for that clock may have
/// been wrong when it did.
plan::instant planner_state::predicted_end(const plan_event& event) const {
  if (event.predicted_end_ns == 0)
    return plan::never;
  const auto limit = core_.limit_of(event.job);
  const auto end = time_.of_wall(event.predicted_end_ns);
  return limit && *limit != plan::never ? std::min(end, time_.now() + *limit) : end;
}

expected<void> planner_state::apply_restored(const plan_event& event) {
  if (!core_.knows(event.job))
    if (auto again = submit(event, 0); !again)
      return again;
  const auto where = to_plan(event.parts);
  const auto end = predicted_end(event);
  const auto started = time_.past_of_wall(event.started_utc_ns);
  auto slot = core_.adopt(event.job, where, end, started);
  if (!slot) {
    world_.log->info("planner: {}; it keeps what there is of it", slot.error().text);
    slot = core_.adopt_rest(event.job, where, end, started);
  }
  if (!slot)
    return tl::unexpected<error>{slot.error()};
  restored_[event.unit] = *slot;
  return {};
}

// -- time -------------------------------------------------------------------------

/// Where the wall clock was set, begins and reservations are at other times than before.
bool planner_state::follow_clock() {
  if (!time_.follow())
    return false;
  estimates_due_ = true;
  for (const auto& [job, begin] : begins_)
    (void)core_.set_begin_time(job, std::max<plan::instant>(time_.of_wall(begin), 1));
  // All of them go first: on the new times none meets another, but one meets another's old ones.
  for (const auto& [id, what] : reservations_)
    (void)core_.cancel_reservation(id);
  for (const auto& [id, what] : reservations_)
    if (auto done = enter_reservation(what); !done)
      world_.log->error("planner: reservation {}: {}", id, done.error().text);
  return true;
}

/// Nobody says when the wall clock is set, and a sleep of the machine lets timers come late.
void planner_state::watch_clock() {
  const auto moved = follow_clock();
  const auto due = core_.next_wakeup();
  if (moved || (due && *due <= time_.now()))
    pass();
  watch_clock_later();
}

void planner_state::watch_clock_later() {
  if ((begins_.empty() && reservations_.empty()) || std::exchange(clock_timer_, true))
    return;
  tick_later(self_, world_, std::chrono::seconds(1), timer_clock);
}

void planner_state::pass() {
  pass_due_ = false;
  follow_clock();
  share_out();
  const auto begin = std::chrono::steady_clock::now();
  auto result = core_.pass(time_.now());
  const auto took = (std::chrono::steady_clock::now() - begin).count();
  pass_ns_max_ = std::max(pass_ns_max_, static_cast<std::int64_t>(took));
  ++passes_;
  send_decisions(result);
  if (result.more) {
    pass_due_ = true;
    self_->send(self_, request<tick>{world_.timer_cap, tick{timer_pass}});
  }
  if (auto when = core_.next_wakeup())
    wake_at(*when);
  estimate();
}

void planner_state::send_decisions(const plan::pass_result& from) {
  place_jobs message;
  message.sequence = sequence_;
  std::map<job_id, std::uint32_t> units;
  for (const auto& decision : from.decisions)
    units[decision.job] += static_cast<std::uint32_t>(decision.units.size());
  for (const auto& decision : from.decisions) {
    place_jobs::placement placement;
    placement.job = decision.job;
    for (const auto& unit : decision.units)
      placement.units.push_back(from_plan(unit));
    const auto waited = core_.pending(decision.job) + units[decision.job];
    if (const auto told = core_.told_of(decision.job, waited)) {
      placement.first_promised_utc_ns = time_.wall_of(told->first);
      placement.last_promised_utc_ns = time_.wall_of(told->last);
    }
    decisions_ += placement.units.size();
    message.placements.push_back(std::move(placement));
  }
  for (const auto& change : from.lease_changes)
    message.leases.push_back({change.job, change.allowed});
  const auto now = time_.now();
  for (const auto& each : from.preemptions)
    message.preemptions.push_back(
        {each.job, unit_of(each.slot), each.for_job,
         static_cast<std::uint32_t>(std::max<std::int64_t>(each.until - now, 0) / ns_per_s)});
  if (!message.placements.empty() || !message.leases.empty() || !message.preemptions.empty())
    tell(scheduler_, cap_, std::move(message));
}

/// What the job calls the slot: after a restart it has given its units numbers of its own.
std::uint64_t planner_state::unit_of(plan::slot_id slot) const {
  for (const auto& [unit, core_slot] : restored_)
    if (core_slot == slot)
      return unit;
  return slot;
}

void planner_state::wake_at(plan::instant when) {
  if (when >= wakeup_)
    return;
  wakeup_ = when;
  const auto delay = std::max<std::int64_t>(when - time_.now(), 0);
  tick_later(self_, world_, std::chrono::nanoseconds{delay}, timer_wakeup);
}

status_report planner_state::status(status_verbosity verbosity) const {
  status_report report;
  report.actor = name;
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  const auto total = core_.total();
  add("events", events_);
  add("events settled already", refused_events_);
  add("passes", passes_);
  add("longest pass, us", pass_ns_max_ / 1000);
  add("units placed", decisions_);
  add("jobs waiting", total.jobs_waiting);
  add("units pending", total.units_pending);
  add("units running", total.units_running);
  add("cores free", total.cores_free);
  add("cores up", total.cores_up);
  if (verbosity == status_verbosity::debug) {
    const auto wrong = core_.audit();
    add("audit of its own figures", wrong.empty() ? "right" : wrong);
  }
  return report;
}

} // namespace troupe::actors
