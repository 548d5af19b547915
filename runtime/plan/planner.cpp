// SPDX-License-Identifier: Apache-2.0
// Events: what the planner is told. Each changes the derived state and decides nothing.
#include "runtime/plan/state.hpp"

namespace troupe::plan {

namespace {

auto no_job(job_id job) {
  return fail(errc::not_found, "job " + std::to_string(job) + " has no units here");
}

std::string wrong_with_reservation(const job_request& job, const advance_table& advance) {
  if (job.shape.reservation == 0)
    return "";
  auto name = "reservation " + std::to_string(job.shape.reservation);
  const auto* inside = advance.find(job.shape.reservation);
  if (inside == nullptr)
    return "asks for " + name + ", which does not exist or is over";
  if (!admits(inside->asked, job.user, job.account))
    return "asks for " + name + ", which is for others";
  if (job.time_limit == 0 || job.time_limit > inside->asked.until - inside->asked.from)
    return "has a time limit that does not fit into " + name;
  return "";
}

auto no_slot(job_id job, slot_id slot) {
  return fail(errc::not_found, "job " + std::to_string(job) + " holds no slot " +
                                   std::to_string(slot) + "; it may have ended before");
}

} // namespace

planner_core::planner_core(planner_config config) : state_(std::make_unique<state>(config)) {}
planner_core::~planner_core() = default;
planner_core::planner_core(planner_core&&) noexcept = default;
planner_core& planner_core::operator=(planner_core&&) noexcept = default;

job_record* planner_core::state::find(job_id id) {
  auto it = jobs.find(id);
  return it == jobs.end() ? nullptr : &it->second;
}

const job_record* planner_core::state::find(job_id id) const {
  auto it = jobs.find(id);
  return it == jobs.end() ? nullptr : &it->second;
}

duration planner_core::state::effective_limit(duration asked) const {
  if (asked > 0)
    return asked;
  return config.unknown_limit > 0 ? config.unknown_limit : never;
}

void planner_core::state::set_pending(job_record& job, std::uint32_t pending) {
  units_pending = units_pending - job.pending + pending;
  if (own_bound() && pending > job.pending)
    bound.submitted(as_counted(job), pending - job.pending);
  else if (own_bound())
    bound.withdrawn(as_counted(job), job.pending - pending);
  jobs_pending = jobs_pending - (job.pending > 0 ? 1 : 0) + (pending > 0 ? 1 : 0);
  job.pending = pending;
  queue.place(job, now);
  note(job);
}

void planner_core::state::forget_if_done(job_id id, job_record& job) {
  if (job.pending > 0 || job.running > 0)
    return;
  queue.withdraw(job);
  queue.leave_class(job.group);
  job_rows.change(job.row) = {};
  job_numbers.give(job.row);
  jobs.erase(id);
}

void planner_core::state::plan_unit(const slot& unit) {
  unit_rows.change(slots.index_of(unit)).end = slot_table::planned(unit);
  for (const auto& held : unit.held)
    pool.planned(held.node).take(time_begins, slot_table::planned(unit), held.taken());
}

void planner_core::state::unplan_unit(const slot& unit) {
  for (const auto& held : unit.held)
    pool.planned(held.node).give(time_begins, slot_table::planned(unit), held.taken());
}

void planner_core::state::close_slot(job_record& job, slot_id id) {
  const auto& unit = *slots.find(job.key.id, id);
  unplan_unit(unit);
  for (const auto& held : unit.held)
    pool.give(held);
  job.group->counts_for.end(job.unit_cores());
  job.preempted -= unit.preempted ? 1 : 0;
  if (own_bound())
    bound.ended(as_counted(job), unit.started / config.second);
  unit_rows.change(slots.index_of(unit)) = {};
  slots.close(id);
  --job.running;
  changed = true;
  note(job);
}

/// It has its place; from now on it runs.
void planner_core::state::enter_unit(const job_record& job, const slot& unit) {
  auto held = std::make_shared<std::vector<queue_snapshot::share>>();
  for (const auto& each : unit.held)
    held->push_back({each.node, each.taken()});
  auto& row = unit_rows.change(slots.index_of(unit));
  row = {0, std::move(held), limit_rows_of(job), job.row, job.unit_cores()};
  plan_unit(unit);
}

void planner_core::state::note_started(job_record& job) {
  ++job.running;
  job.group->counts_for.start(job.unit_cores());
  if (own_bound())
    bound.started(as_counted(job), now / config.second);
}

void planner_core::state::submit(const job_request& request) {
  auto& job = jobs[request.id];
  job.row = job_numbers.take();
  job.key.priority = request.priority;
  job.key.seq = request.seq;
  job.key.id = request.id;
  job.held = request.held;
  job.is_array = request.is_array;
  job.begin_time = request.begin_time;
  job.max_running = request.max_running;
  job.submitted = request.submitted;
  job.queue = request.queue;
  job.user = request.user;
  job.account = request.account;
  job.nice = request.nice;
  job.expected = request.expected;
  auto limit = effective_limit(request.time_limit);
  enter_class(job, queue.join_class(request.shape, kind_of(job, limit)));
  limit_overtaking(job);
  changed = true;
  set_pending(job, request.pending);
}

// -- nodes ----------------------------------------------------------------------------------------

expected<void> planner_core::add_node(const node_config& node) {
  auto added = state_->pool.add(node);
  if (added) {
    state_->cores_all += node.cores;
    state_->scores_stale = true;
    state_->bound.set_processors(state_->pool.cores_up());
    state_->queue.nodes_changed();
    state_->changed = true;
  }
  return added;
}

expected<void> planner_core::set_node_state(node_id node, node_state wanted) {
  auto set = state_->pool.set_state(node, wanted);
  if (set) {
    state_->bound.set_processors(state_->pool.cores_up());
    state_->queue.nodes_changed();
    state_->changed = true;
  }
  return set;
}

// -- jobs -----------------------------------------------------------------------------------------

std::optional<std::string> planner_core::impossible(const job_shape& shape) const {
  auto why = describe_impossible(shape, state_->pool, false);
  return why.empty() ? std::nullopt : std::optional(why);
}

expected<void> planner_core::submit(const job_request& job) {
  if (auto why = impossible(job.shape))
    return fail(errc::invalid, "job " + std::to_string(job.id) + " can never start: it " + *why);
  if (job.pending == 0)
    return fail(errc::invalid, "job " + std::to_string(job.id) + " has nothing to start");
  if (auto wrong = wrong_with_reservation(job, state_->advance); !wrong.empty())
    return fail(errc::invalid, "job " + std::to_string(job.id) + " " + wrong);
  return restore(job);
}

expected<void> planner_core::restore(const job_request& job) {
  if (knows(job.id))
    return fail(errc::conflict, "job " + std::to_string(job.id) + " is queued or running already");
  if (job.shape.tasks == 0 || job.shape.cores_per_task == 0 || job.shape.tasks > tasks_max)
    return fail(errc::invalid, "job " + std::to_string(job.id) + " asks for " +
                                   std::to_string(job.shape.tasks) + " tasks of " +
                                   std::to_string(job.shape.cores_per_task) + " cores");
  if (job.shape.nodes > job.shape.tasks)
    return fail(errc::invalid, "job " + std::to_string(job.id) + " asks for " +
                                   std::to_string(job.shape.nodes) + " nodes but only " +
                                   std::to_string(job.shape.tasks) + " tasks");
  if (job.queue >= queues_max)
    return fail(errc::invalid, "job " + std::to_string(job.id) + " is in queue number " +
                                   std::to_string(job.queue) + "; " + std::to_string(queues_max) +
                                   " are the limit");
  state_->submit(job);
  return {};
}

expected<void> planner_core::hold(job_id id) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  job->held = true;
  state_->queue.place(*job, state_->now);
  state_->note(*job);
  state_->changed = true;
  return {};
}

expected<void> planner_core::release(job_id id) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  job->held = false;
  state_->queue.place(*job, state_->now);
  state_->note(*job);
  state_->changed = true;
  return {};
}

expected<void> planner_core::set_pending(job_id id, std::uint32_t pending) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  state_->changed = true;
  state_->set_pending(*job, pending);
  state_->forget_if_done(id, *job);
  return {};
}

expected<void> planner_core::remove(job_id id) {
  if (auto done = set_pending(id, 0); !done)
    return done;
  auto* job = state_->find(id);
  if (job == nullptr)
    return {};
  std::vector<slot_id> left;
  for (const auto& key : state_->slots.by_end())
    if (state_->slots.at(key.index).job == id)
      left.push_back(state_->slots.id_at(key.index));
  for (auto slot : left)
    state_->close_slot(*job, slot);
  state_->forget_if_done(id, *job);
  return {};
}

/// Changes a job that waits, or runs, and gives it its new place.
template <class F>
expected<void> planner_core::state::rejoin(job_id id, F&& change) {
  auto* job = find(id);
  if (job == nullptr)
    return no_job(id);
  auto* before = job->group;
  auto cores = job->unit_cores();
  auto limit = before->limit();
  queue.withdraw(*job);
  for (std::uint32_t i = 0; i < job->running; ++i)
    before->counts_for.end(cores);
  if (own_bound())
    bound.withdrawn(as_counted(*job), job->pending + job->running);
  change(*job, limit);
  enter_class(*job, queue.join_class(*before->shape->shape, kind_of(*job, limit)));
  queue.leave_class(before);
  if (own_bound())
    bound.submitted(as_counted(*job), job->pending + job->running);
  for (std::uint32_t i = 0; i < job->running; ++i)
    job->group->counts_for.start(cores);
  queue.place(*job, now);
  note(*job);
  for (const auto& key : slots.by_end())
    if (job->running > 0 && slots.at(key.index).job == id)
      unit_rows.change(key.index).limits = limit_rows_of(*job);
  changed = true;
  return {};
}

expected<void> planner_core::set_priority(job_id id, std::int64_t priority) {
  return state_->rejoin(id, [&](job_record& job, duration&) { job.key.priority = priority; });
}

expected<void> planner_core::set_time_limit(job_id id, duration limit) {
  return state_->rejoin(id,
                        [&](job_record&, duration& now) { now = state_->effective_limit(limit); });
}

expected<void> planner_core::set_queue_of(job_id id, queue_index queue) {
  if (queue >= queues_max)
    return fail(errc::invalid, "there is no queue number " + std::to_string(queue));
  return state_->rejoin(id, [&](job_record& job, duration&) { job.queue = queue; });
}

expected<void> planner_core::set_nice(job_id id, std::int32_t nice) {
  return state_->rejoin(id, [&](job_record& job, duration&) { job.nice = nice; });
}

expected<void> planner_core::set_begin_time(job_id id, instant begin) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  state_->queue.withdraw(*job);
  job->begin_time = begin;
  state_->queue.place(*job, state_->now);
  state_->note(*job);
  state_->changed = true;
  return {};
}

expected<void> planner_core::set_max_running(job_id id, std::uint32_t max_running) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  job->max_running = max_running;
  state_->queue.place(*job, state_->now);
  state_->note(*job);
  state_->changed = true;
  return {};
}

bool planner_core::knows(job_id job) const {
  return state_->find(job) != nullptr;
}

std::optional<duration> planner_core::limit_of(job_id id) const {
  const auto* job = state_->find(id);
  return job == nullptr ? std::nullopt : std::optional{job->group->limit()};
}

std::uint32_t planner_core::pending(job_id id) const {
  const auto* job = state_->find(id);
  return job == nullptr ? 0 : job->pending;
}

// -- running units --------------------------------------------------------------------------------

expected<slot_id> planner_core::adopt(job_id id, const placement& where, instant predicted_end,
                                      instant started) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  if (where.empty())
    return fail(errc::invalid, "job " + std::to_string(id) + " was to run on no node");
  std::vector<held_share> held;
  for (const auto& share : where) {
    auto taken = state_->pool.take_exactly(job->group->shape->need, share);
    if (!taken) {
      for (const auto& back : held)
        state_->pool.give(back);
      return fail(taken.error().code, "job " + std::to_string(id) +
                                          " cannot have what it ran on: " + taken.error().text);
    }
    held.push_back(std::move(*taken));
  }
  return state_->adopt(*job, std::move(held), predicted_end, started);
}

expected<slot_id> planner_core::adopt_rest(job_id id, const placement& where, instant predicted_end,
                                           instant started) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  std::vector<held_share> held;
  for (const auto& share : where)
    if (auto taken = state_->pool.take_rest(job->group->shape->need, share))
      held.push_back(std::move(*taken));
  return state_->adopt(*job, std::move(held), predicted_end, started);
}

slot_id planner_core::state::adopt(job_record& job, std::vector<held_share> held,
                                   instant predicted_end, instant started) {
  const auto id = slots.open(job.key.id, now, predicted_end);
  auto& unit = *slots.find(job.key.id, id);
  unit.held = std::move(held);
  unit.since = started > 0 ? started : now;
  enter_unit(job, unit);
  note_started(job);
  queue.place(job, now);
  note(job);
  changed = true;
  return id;
}

expected<void> planner_core::ended(job_id id, slot_id slot) {
  auto* job = state_->find(id);
  if (job == nullptr || state_->slots.find(id, slot) == nullptr)
    return no_slot(id, slot);
  state_->close_slot(*job, slot);
  state_->queue.place(*job, state_->now);
  state_->forget_if_done(id, *job);
  return {};
}

expected<void> planner_core::give_back(job_id id, slot_id slot) {
  auto* job = state_->find(id);
  if (job == nullptr || state_->slots.find(id, slot) == nullptr)
    return no_slot(id, slot);
  state_->close_slot(*job, slot);
  state_->set_pending(*job, job->pending + 1);
  return {};
}

expected<void> planner_core::set_predicted_end(job_id id, slot_id slot, instant predicted_end) {
  auto* unit = state_->slots.find(id, slot);
  if (unit == nullptr)
    return no_slot(id, slot);
  state_->unplan_unit(*unit);
  state_->slots.set_end(slot, predicted_end);
  state_->plan_unit(*unit);
  state_->changed = true;
  return {};
}

expected<void> planner_core::refilled(job_id id, slot_id slot, instant predicted_end,
                                      std::uint32_t taken) {
  auto* job = state_->find(id);
  auto* unit = job == nullptr ? nullptr : state_->slots.find(id, slot);
  if (unit == nullptr)
    return no_slot(id, slot);
  state_->unplan_unit(*unit);
  state_->slots.restart(slot, predicted_end);
  unit->since = state_->now;
  state_->plan_unit(*unit);
  state_->set_pending(*job, job->pending - std::min(taken, job->pending));
  state_->changed = true;
  return {};
}

} // namespace troupe::plan
