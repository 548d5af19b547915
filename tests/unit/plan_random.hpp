// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/planner.hpp"
#include "tests/unit/plan_reference.hpp"

#include <map>
#include <string>
#include <utility>

/// Random clusters and jobs, the same for a seed on every machine, and a mirror that drives the
/// planner and the reference side by side.
namespace troupe::plan::random {

class generator {
public:
  explicit generator(std::uint64_t seed) : state_(seed) {}
  /// splitmix64
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint32_t between(std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(next() % (high - low + 1));
  }
  bool one_in(std::uint32_t n) { return next() % n == 0; }

private:
  std::uint64_t state_;
};

inline node_config some_node(generator& g, node_id id) {
  node_config node;
  node.id = id;
  node.cores = g.between(1, 8);
  node.memory_bytes = g.between(2, 10);
  if (g.one_in(2))
    for (std::uint32_t core = 0; core < node.cores; ++core)
      node.core_groups.push_back(g.one_in(2) ? core % 2 : core / 4);
  for (auto gpus = g.one_in(2) ? g.between(1, 4) : 0; gpus > 0; --gpus)
    node.gpu_groups.push_back(g.between(0, 1));
  node.features = g.between(0, 3);
  return node;
}

inline job_shape some_shape(generator& g, const std::vector<reference::node>& nodes) {
  job_shape shape;
  shape.tasks = g.one_in(2) ? 1 : g.between(1, 6);
  shape.cores_per_task = g.one_in(2) ? 1 : g.between(1, 4);
  if (g.one_in(3))
    shape.nodes = g.between(1, std::min(shape.tasks, 3u));
  if (g.one_in(3))
    shape.memory_bytes = g.between(1, 6);
  shape.exclusive = g.one_in(10);
  shape.gpus_per_task = g.one_in(4) ? g.between(1, 2) : 0;
  shape.features = g.one_in(6) ? g.between(1, 3) : 0;
  for (const auto& node : nodes) {
    if (g.one_in(20))
      shape.required_nodes.push_back(node.id);
    else if (g.one_in(20))
      shape.excluded_nodes.push_back(node.id);
  }
  return shape;
}

inline job_request some_job(generator& g, job_id id, const job_shape& shape, instant now) {
  job_request job;
  job.id = job.seq = id;
  job.shape = shape;
  job.time_limit = g.one_in(5) ? 0 : g.between(1, 20);
  job.held = g.one_in(12);
  job.begin_time = g.one_in(12) ? now + g.between(1, 10) : 0;
  job.submitted = now;
  job.queue = g.between(0, 2);
  job.user = g.between(1, 3);
  job.account = g.between(1, 2);
  job.nice = static_cast<std::int32_t>(g.between(0, 2));
  if (g.one_in(4)) {
    job.is_array = true;
    job.pending = g.between(1, 8);
    job.max_running = g.one_in(2) ? g.between(1, 4) : 0;
  }
  return job;
}

/// Drives a planner with random events and keeps its own books of what must follow.
class mirror {
public:
  mirror(std::uint64_t seed, planner_config config) : gen(seed), planner(config) {
    world.config = config;
    auto count = gen.between(1, 4);
    for (std::uint32_t i = 0; i < count; ++i) {
      auto node = some_node(gen, 100 + i * 7);
      if (!planner.add_node(node))
        problem = "a node was refused";
      world.nodes.push_back({node.id, node.cores, node.memory_bytes, node_state::up,
                             static_cast<std::uint32_t>(node.gpu_groups.size()), node.features});
      cores_.emplace_back(node.cores, slot_id{0});
      gpus_.emplace_back(node.gpu_groups.size(), slot_id{0});
    }
  }

  void submit(const job_request& request) {
    bool ok = planner.submit(request).has_value();
    bool possible = reference::place(world, request.shape, world.whole(true)).has_value();
    if (auto id = request.shape.reservation; id != 0) {
      const auto* inside = world.find_advance(id, last_pass_);
      auto listed = [](const auto& ids, auto wanted) {
        return std::find(ids.begin(), ids.end(), wanted) != ids.end();
      };
      possible = possible && inside != nullptr && request.time_limit > 0 &&
                 request.time_limit <= inside->until - inside->from &&
                 (listed(inside->users, request.user) || listed(inside->accounts, request.account));
    }
    if (ok != possible)
      problem = "job " + std::to_string(request.id) + (ok ? " was taken" : " was refused") +
                " against the reference";
    if (!ok)
      return;
    world.jobs.push_back({request, 0, std::nullopt});
    changed = true;
  }

  void set_priorities(const priority_config& priorities) {
    world.priorities = priorities;
    planner.set_priorities(priorities);
    changed = true;
  }

  void reserve() {
    advance_reservation wanted;
    wanted.id = ++reservations_;
    for (const auto& node : world.nodes)
      if (gen.one_in(2))
        wanted.nodes.push_back(node.id);
    wanted.from = now + gen.between(0, 20) - 5;
    wanted.until = wanted.from + gen.between(1, 20);
    wanted.users.assign(1, gen.between(1, 3));
    bool possible = wanted.until > last_pass_ && !wanted.nodes.empty();
    for (const auto& other : world.advance)
      for (auto node : wanted.nodes)
        possible = possible && !(reference::contains(other.nodes, node) &&
                                 other.from < wanted.until && wanted.from < other.until);
    if (planner.reserve(wanted).has_value() != possible)
      problem = "a reservation was made or refused against the reference";
    if (possible)
      world.advance.push_back(wanted);
    changed = changed || possible;
  }

  /// A pass of both; the books follow the planner's decisions.
  pass_result pass() {
    for (const auto& j : world.jobs)
      changed = changed || (!j.request.held && j.request.pending > 0 &&
                            j.request.begin_time > last_pass_ && j.request.begin_time <= now);
    for (const auto& each : world.advance)
      for (auto at : {each.from, each.until})
        changed = changed || (at > last_pass_ && at <= now);
    std::erase_if(world.advance, [&](const auto& each) { return each.until <= now; });
    last_pass_ = now;
    bool sorted = world.config.order == queue_order::fcfs && world.config.overtake_limit == 0;
    if (!sorted && planner.next_wakeup() && *planner.next_wakeup() <= now)
      changed = true;
    auto expected = world;
    auto wanted = reference::pass(expected, now);
    auto result = planner.pass(now);
    // Without an event the planner rests: what it decided before still keeps its promises.
    if (!std::exchange(changed, false)) {
      if (!result.decisions.empty() || !result.lease_changes.empty())
        problem = "decisions without an event";
      return result;
    }
    std::vector<reference::start> got;
    for (const auto& decision : result.decisions)
      for (const auto& unit : decision.units)
        got.push_back({decision.job, decision.backfilled, book(decision.job, unit)});
    if (got != wanted.starts)
      problem = "the reference starts " + std::to_string(wanted.starts.size()) +
                " units, the planner " + std::to_string(got.size()) + ", or others";
    compare(wanted, result);
    for (auto& j : world.jobs)
      for (const auto& e : expected.jobs)
        if (e.request.id == j.request.id)
          j.promise = e.promise;
    for (const auto& change : result.lease_changes)
      leases[change.job] = change.allowed;
    check_leases();
    if (problem.empty())
      problem = planner.audit();
    return result;
  }

  reference::job& job(job_id id) {
    return *std::find_if(world.jobs.begin(), world.jobs.end(),
                         [&](const auto& j) { return j.request.id == id; });
  }

  void end_unit(std::size_t i, bool give_back) {
    changed = true;
    auto unit = world.running[i];
    world.running.erase(world.running.begin() + static_cast<std::ptrdiff_t>(i));
    auto& owner = job(unit.job);
    --owner.running;
    owner.request.pending += give_back ? 1 : 0;
    bool ok = give_back ? planner.give_back(unit.job, unit.slot).has_value()
                        : planner.ended(unit.job, unit.slot).has_value();
    if (!ok || planner.ended(unit.job, unit.slot))
      problem = "a unit did not end exactly once";
    for (auto* held : {&cores_, &gpus_})
      for (auto& node : *held)
        std::replace(node.begin(), node.end(), unit.slot, slot_id{0});
    forget(unit.job);
  }

  void forget(job_id id) {
    if (job(id).request.pending == 0 && job(id).running == 0)
      std::erase_if(world.jobs, [&](const auto& j) { return j.request.id == id; });
  }

  generator gen;
  planner_core planner;
  reference::world world;
  instant now = 1;
  std::map<job_id, bool> leases;
  bool changed = true;
  std::string problem; ///< empty while all is well

private:
  void compare(const reference::outcome& wanted, const pass_result& result) {
    std::vector<reference::promise> got;
    for (const auto& reserved : result.reserved) {
      reference::spread cores(world.nodes.size(), 0);
      for (const auto& share : reserved.shares)
        for (std::size_t i = 0; i < cores.size(); ++i)
          if (world.nodes[i].id == share.node)
            cores[i] = share.cores;
      got.push_back({reserved.job, reserved.at, cores});
    }
    auto expected = wanted.reserved;
    for (auto& each : expected) {
      const auto& shape = job(each.job).request.shape;
      for (std::size_t i = 0; i < each.tasks.size(); ++i)
        if (each.tasks[i] > 0)
          each.tasks[i] =
              shape.exclusive ? world.nodes[i].cores : each.tasks[i] * shape.cores_per_task;
    }
    if (got != expected)
      problem = "the reservations differ";
  }

  /// Checks a started unit against everything that could be given twice, and books it.
  reference::spread book(job_id id, const started_unit& unit) {
    auto& owner = job(id);
    const auto& shape = owner.request.shape;
    reference::spread tasks(world.nodes.size(), 0);
    for (const auto& share : unit.where) {
      std::size_t i = 0;
      while (world.nodes[i].id != share.node)
        ++i;
      tasks[i] = share.tasks;
      if (world.nodes[i].state != node_state::up)
        problem = "a start on a node that is not up";
      if (share.cores.size() != std::size_t{share.tasks} * shape.cores_per_task)
        problem = "a share has another number of cores than its tasks need";
      for (auto core : share.cores) {
        if (core >= cores_[i].size() || cores_[i][core] != 0)
          problem = "core " + std::to_string(core) + " was given twice";
        else
          cores_[i][core] = unit.slot;
      }
      if (share.gpus.size() != std::size_t{share.tasks} * shape.gpus_per_task)
        problem = "a share has another number of GPUs than its tasks need";
      for (auto gpu : share.gpus) {
        if (gpu >= gpus_[i].size() || gpus_[i][gpu] != 0)
          problem = "GPU " + std::to_string(gpu) + " was given twice";
        else
          gpus_[i][gpu] = unit.slot;
      }
      if ((world.nodes[i].features & shape.features) != shape.features)
        problem = "a start on a node without the features";
      for (auto& core : cores_[i])
        if (shape.exclusive && core == 0)
          core = unit.slot;
    }
    world.running.push_back({id, unit.slot, ++world.started, unit.predicted_end, shape, tasks});
    --owner.request.pending;
    ++owner.running;
    if (owner.request.max_running > 0 && owner.running > owner.request.max_running)
      problem = "an array's limit was exceeded";
    std::vector<std::uint64_t> memory(world.nodes.size(), 0);
    for (const auto& u : world.running)
      for (std::size_t i = 0; i < memory.size(); ++i)
        memory[i] += u.tasks[i] > 0 ? u.shape.memory_bytes : 0;
    for (std::size_t i = 0; i < memory.size(); ++i)
      if (memory[i] > world.nodes[i].memory)
        problem = "memory was given twice";
    return tasks;
  }

  /// An array may refill itself exactly if nobody who could start is ahead of it.
  void check_leases() {
    auto queue = reference::in_order(world, now);
    std::erase_if(queue, [&](const auto* j) { return world.limited(j->request); });
    auto key = [&](const auto& j) {
      return reference::key_of(world, j.request, world.config.order, true, now);
    };
    for (const auto& j : world.jobs) {
      const auto& r = j.request;
      bool first = queue.empty() || !(key(*queue.front()) < key(j));
      bool wanted = r.is_array && r.pending > 0 && j.running > 0 && !r.held &&
                    r.begin_time <= now && reference::placeable(world, r.shape, now) && first;
      if (planner.refill_allowed(r.id) != wanted)
        problem = "the lease of job " + std::to_string(r.id) + " is wrong";
      if (leases[r.id] != wanted)
        problem = "the lease of job " + std::to_string(r.id) + " was not reported";
    }
  }

  std::vector<std::vector<slot_id>> cores_, gpus_;
  instant last_pass_ = 0;
  reservation_id reservations_ = 0;
};

} // namespace troupe::plan::random
