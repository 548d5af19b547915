// SPDX-License-Identifier: Apache-2.0
#include "actors/planner.hpp"

#include "actors/plan_codec.hpp"

#include <chrono>
#include <ctime>
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
    part.memory_bytes = share.memory_bytes;
    rank += share.tasks;
    result.parts.push_back(std::move(part));
  }
  return result;
}

std::string clock_time(plan::instant at) {
  const auto seconds = static_cast<std::time_t>(at / ns_per_s);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

} // namespace

planner_state::planner_state(self_pointer self, world& around, verified_capability cap)
    : self_{self}, world_{around}, cap_{std::move(cap)} {}

planner_actor::behavior_type planner_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<planner_actor>(
      guard,
      on<get_status>([this](request<get_status>& what) { return status(what.msg.verbosity); }),
      on<tick>([this](request<tick>& what) {
        if (what.msg.timer == 1)
          wakeup_ = plan::never;
        pass();
      }),
      on<plan_changes>([this](request<plan_changes>& what) { take(what.msg); }),
      on<why_job>([this](request<why_job>& what) { return why(what); }),
      on<list_nodes>([this](request<list_nodes>&) { return nodes(); }));
}

void planner_state::take(plan_changes& what) {
  scheduler_ = what.reply_to;
  sequence_ = what.sequence;
  for (const auto& event : what.events)
    apply(event);
  if (pass_due_)
    return;
  // Behind the events that are in the mailbox already: they share the pass.
  pass_due_ = true;
  self_->send(self_, request<tick>{world_.timer_cap, tick{0}});
}

std::uint64_t planner_state::core_slot(std::uint64_t unit) const {
  auto at = restored_.find(unit);
  return at == restored_.end() ? unit : at->second;
}

void planner_state::apply(const plan_event& event) {
  using kind = plan_event::kind;
  ++events_;
  auto done = [&]() -> expected<void> {
    switch (event.what) {
    case kind::node_added: return add_node(event);
    case kind::node_changed: return core_.set_node_state(event.node_id, to_plan(event.state));
    case kind::submitted: return submit(event, event.pending_elements);
    case kind::held: return core_.hold(event.job);
    case kind::released: return core_.release(event.job);
    case kind::removed: return core_.remove(event.job);
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
      return core_.refilled(event.job, core_slot(event.unit),
                            event.predicted_end_ns == 0 ? plan::never : event.predicted_end_ns,
                            event.elements);
    case kind::restored: return apply_restored(event);
    }
    return {};
  }();
  if (!done) {
    // A decision and an event can cross; what the core refuses then has been settled already.
    ++refused_events_;
    world_.log->debug("planner: event {} of job {}: {}", static_cast<int>(event.what), event.job,
                      done.error().text);
  }
}

expected<void> planner_state::add_node(const plan_event& event) {
  node_ids_[event.node->name] = event.node->node;
  return core_.add_node(node_config_of(*event.node, event.state));
}

expected<void> planner_state::submit(const plan_event& event, std::uint32_t pending) {
  const auto& spec = *event.spec;
  plan::job_request job;
  job.id = event.job;
  job.seq = event.job;
  job.shape = shape_of(spec, node_ids_);
  job.time_limit = std::int64_t{spec.time_limit_s} * ns_per_s;
  job.held = spec.held && event.what == plan_event::kind::submitted; // it was released since
  job.begin_time = spec.begin_utc_ns;
  job.is_array = spec.array.has_value();
  job.pending = pending;
  job.max_running = spec.array ? spec.array->running_max : 0;
  return core_.restore(job);
}

expected<void> planner_state::apply_restored(const plan_event& event) {
  if (!core_.knows(event.job))
    if (auto again = submit(event, 0); !again)
      return again;
  auto slot = core_.adopt(event.job, to_plan(event.parts),
                          event.predicted_end_ns == 0 ? plan::never : event.predicted_end_ns);
  if (!slot)
    return tl::unexpected<error>{slot.error()};
  restored_[event.unit] = *slot;
  return {};
}

void planner_state::pass() {
  pass_due_ = false;
  const auto begin = std::chrono::steady_clock::now();
  auto result = core_.pass(world_.clock.utc());
  const auto took = (std::chrono::steady_clock::now() - begin).count();
  pass_ns_max_ = std::max(pass_ns_max_, static_cast<std::int64_t>(took));
  ++passes_;
  place_jobs message;
  message.sequence = sequence_;
  for (const auto& decision : result.decisions) {
    place_jobs::placement placement;
    placement.job = decision.job;
    for (const auto& unit : decision.units)
      placement.units.push_back(from_plan(unit));
    decisions_ += placement.units.size();
    message.placements.push_back(std::move(placement));
  }
  for (const auto& change : result.lease_changes)
    message.leases.push_back({change.job, change.allowed});
  if (!message.placements.empty() || !message.leases.empty())
    tell(scheduler_, cap_, std::move(message));
  if (result.more) {
    pass_due_ = true;
    self_->send(self_, request<tick>{world_.timer_cap, tick{0}});
  }
  if (auto when = core_.next_wakeup())
    wake_at(*when);
}

void planner_state::wake_at(plan::instant when) {
  if (when >= wakeup_)
    return;
  wakeup_ = when;
  const auto delay = std::max<std::int64_t>(when - world_.clock.utc(), 0);
  tick_later(self_, world_, std::chrono::nanoseconds{delay}, 1);
}

expected<why_view> planner_state::why(request<why_job>& what) const {
  const auto job = what.msg.job;
  const auto why = core_.why(job, world_.clock.utc());
  why_view view;
  view.job = job;
  view.position = static_cast<std::uint32_t>(why.position);
  view.sentence = plan::sentence(why, {clock_time});
  view.expected_start_utc_ns = why.expected_start.value_or(0);
  view.reasons.emplace_back(plan::to_string(why.reason));
  for (const auto& awaited : why.waits_for)
    view.reasons.push_back(
        awaited.until == plan::never
            ? fmt::format("job {} runs without a time limit", awaited.job)
            : fmt::format("job {} until {}", awaited.job, clock_time(awaited.until)));
  return view;
}

/// What is in use of each node; the scheduler knows the rest of a row.
node_rows planner_state::nodes() const {
  std::map<std::uint32_t, std::string> names;
  for (const auto& [name_of_node, id] : node_ids_)
    names[id] = name_of_node;
  node_rows rows;
  for (const auto& node : core_.nodes()) {
    node_row row;
    row.name = names[node.id];
    row.cores = node.cores;
    row.cores_used = node.cores - node.cores_free;
    row.memory_bytes = node.memory_bytes;
    row.memory_used_bytes = node.memory_bytes - node.memory_free_bytes;
    row.elements_running = node.units;
    rows.nodes.push_back(std::move(row));
  }
  return rows;
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
