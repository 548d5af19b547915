// SPDX-License-Identifier: Apache-2.0
// Events: what the planner is told. Each changes the derived state and decides nothing.
#include "runtime/plan/state.hpp"

namespace troupe::plan {

namespace {

auto no_job(job_id job) {
  return fail(errc::not_found, "job " + std::to_string(job) + " has no units here");
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
  job.pending = pending;
  queue.place(job, now);
}

void planner_core::state::forget_if_done(job_id id, job_record& job) {
  if (job.pending > 0 || job.running > 0)
    return;
  queue.withdraw(job);
  queue.leave_class(job.group);
  jobs.erase(id);
}

void planner_core::state::close_slot(job_record& job, slot_id id) {
  for (const auto& held : slots.find(job.key.id, id)->held)
    pool.give(held);
  slots.close(id);
  --job.running;
  changed = true;
}

void planner_core::state::submit(const job_request& request) {
  auto& job = jobs[request.id];
  job.key = {request.priority, request.seq, request.id};
  job.group = queue.join_class(request.shape, effective_limit(request.time_limit));
  job.held = request.held;
  job.is_array = request.is_array;
  job.begin_time = request.begin_time;
  job.max_running = request.max_running;
  changed = true;
  set_pending(job, request.pending);
}

// -- nodes ----------------------------------------------------------------------------------------

expected<void> planner_core::add_node(const node_config& node) {
  auto added = state_->pool.add(node);
  if (added) {
    state_->queue.nodes_changed();
    state_->changed = true;
  }
  return added;
}

expected<void> planner_core::set_node_state(node_id node, node_state wanted) {
  auto set = state_->pool.set_state(node, wanted);
  if (set) {
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
  state_->submit(job);
  return {};
}

expected<void> planner_core::hold(job_id id) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  job->held = true;
  state_->queue.place(*job, state_->now);
  state_->changed = true;
  return {};
}

expected<void> planner_core::release(job_id id) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  job->held = false;
  state_->queue.place(*job, state_->now);
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

expected<void> planner_core::set_priority(job_id id, std::int64_t priority) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  state_->queue.withdraw(*job);
  job->key.priority = priority;
  state_->queue.place(*job, state_->now);
  state_->changed = true;
  return {};
}

expected<void> planner_core::set_time_limit(job_id id, duration limit) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  auto* before = job->group;
  state_->queue.withdraw(*job);
  job->group = state_->queue.join_class(*before->shape->shape, state_->effective_limit(limit));
  state_->queue.leave_class(before);
  state_->queue.place(*job, state_->now);
  state_->changed = true;
  return {};
}

expected<void> planner_core::set_begin_time(job_id id, instant begin) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  state_->queue.withdraw(*job);
  job->begin_time = begin;
  state_->queue.place(*job, state_->now);
  state_->changed = true;
  return {};
}

expected<void> planner_core::set_max_running(job_id id, std::uint32_t max_running) {
  auto* job = state_->find(id);
  if (job == nullptr)
    return no_job(id);
  job->max_running = max_running;
  state_->queue.place(*job, state_->now);
  state_->changed = true;
  return {};
}

bool planner_core::knows(job_id job) const {
  return state_->find(job) != nullptr;
}

// -- running units --------------------------------------------------------------------------------

expected<slot_id> planner_core::adopt(job_id id, const placement& where, instant predicted_end) {
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
  auto slot = state_->slots.open(id, predicted_end);
  state_->slots.find(id, slot)->held = std::move(held);
  ++job->running;
  state_->queue.place(*job, state_->now);
  state_->changed = true;
  return slot;
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
  if (state_->slots.find(id, slot) == nullptr)
    return no_slot(id, slot);
  state_->slots.set_end(slot, predicted_end);
  state_->changed = true;
  return {};
}

expected<void> planner_core::refilled(job_id id, slot_id slot, instant predicted_end,
                                      std::uint32_t taken) {
  auto* job = state_->find(id);
  if (job == nullptr || state_->slots.find(id, slot) == nullptr)
    return no_slot(id, slot);
  state_->slots.restart(slot, predicted_end);
  state_->set_pending(*job, job->pending - std::min(taken, job->pending));
  state_->changed = true;
  return {};
}

} // namespace troupe::plan
