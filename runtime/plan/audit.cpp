// SPDX-License-Identifier: Apache-2.0
// Views, and the check of every derived figure against what it was derived from.
#include "runtime/plan/state.hpp"

#include <algorithm>
#include <numeric>

namespace troupe::plan {

std::vector<node_view> planner_core::nodes() const {
  std::vector<node_view> out;
  out.reserve(state_->pool.all().size());
  for (const auto& node : state_->pool.all())
    out.push_back({node.id, node.state, node.cores, node.free.free(), node.units, node.memory_bytes,
                   node.memory_free, node.gpus.count(), node.gpus.free(), node.features});
  return out;
}

totals planner_core::total() const {
  totals out;
  out.nodes = state_->pool.all().size();
  out.nodes_up = state_->pool.nodes_up();
  out.cores_up = state_->pool.cores_up();
  out.cores_free = state_->pool.cores_free();
  out.jobs_waiting = state_->jobs_pending;
  out.units_pending = state_->units_pending;
  out.units_running = state_->slots.running();
  return out;
}

namespace {

/// Every core is free or held once, and so is the memory.
std::string audit_nodes(const node_pool& pool, const slot_table& slots) {
  std::vector<std::vector<std::uint32_t>> holders;
  std::vector<std::uint64_t> memory(pool.all().size(), 0);
  std::vector<std::vector<std::uint32_t>> gpu_holders;
  for (const auto& node : pool.all()) {
    holders.emplace_back(node.cores, 0);
    gpu_holders.emplace_back(node.gpus.count(), 0);
  }
  for (const auto& key : slots.by_end())
    for (const auto& held : slots.at(key.index).held) {
      memory[held.node] += held.memory_bytes;
      for (auto core : held.cores)
        ++holders[held.node][core];
      for (auto gpu : held.gpus)
        ++gpu_holders[held.node][gpu];
    }
  std::uint64_t free_up = 0;
  for (std::uint32_t i = 0; i < pool.all().size(); ++i) {
    const auto& node = pool.at(i);
    auto name = "node " + std::to_string(node.id);
    for (std::uint32_t core = 0; core < node.cores; ++core)
      if (holders[i][core] + (node.free.is_free(core) ? 1 : 0) != 1)
        return name + ": core " + std::to_string(core) + " is held by " +
               std::to_string(holders[i][core]) + " units";
    if (memory[i] > node.memory_bytes || node.memory_bytes - memory[i] != node.memory_free)
      return name + ": its free memory is wrong";
    free_up += node.state == node_state::up ? node.free.free() : 0;
    for (std::uint32_t gpu = 0; gpu < node.gpus.count(); ++gpu)
      if (gpu_holders[i][gpu] + (node.gpus.is_free(gpu) ? 1 : 0) != 1)
        return name + ": GPU " + std::to_string(gpu) + " is held by " +
               std::to_string(gpu_holders[i][gpu]) + " units";
  }
  return free_up == pool.cores_free() ? "" : "the count of free cores is wrong";
}

/// The timelines say what runs and what is reserved, and no more.
std::string audit_timelines(const node_pool& pool, const slot_table& slots,
                            const advance_table& advance) {
  std::vector<node_timeline> wanted;
  for (const auto& node : pool.all())
    wanted.emplace_back(node.all());
  for (const auto& key : slots.by_end()) {
    const auto& unit = slots.at(key.index);
    for (const auto& held : unit.held)
      wanted[held.node].take(time_begins, slot_table::planned(unit), held.taken());
  }
  for (const auto& [id, entry] : advance.all())
    for (auto node : entry.nodes)
      wanted[node].take(entry.asked.from, entry.asked.until, pool.at(node).all());
  for (std::uint32_t i = 0; i < pool.all().size(); ++i) {
    auto is = pool.planned(i).steps();
    auto should = wanted[i].steps();
    if (!std::equal(is.begin(), is.end(), should.begin(), should.end(),
                    [](const step& a, const step& b) { return a.at == b.at && a.free == b.free; }))
      return "node " + std::to_string(pool.at(i).id) + ": its timeline is wrong";
  }
  return "";
}

std::string audit_counts(const std::unordered_map<job_id, job_record>& jobs) {
  std::map<const running_count*, run_limits> wanted;
  for (const auto& [id, job] : jobs)
    for (const auto* count : {job.group->counts_for.of_queue, job.group->counts_for.of_user,
                              job.group->counts_for.of_user_in_queue}) {
      wanted[count].units += job.running;
      wanted[count].cores += job.running * job.unit_cores();
    }
  for (const auto& [count, sum] : wanted)
    if (!(count->running == sum))
      return "a count of what runs is wrong";
  return "";
}

std::string audit_job(const job_record& job, std::size_t slots) {
  auto name = "job " + std::to_string(job.key.id);
  if (job.running != slots)
    return name + ": its count of running units is wrong";
  bool waits = job.stands == standing::waiting;
  if (waits && (job.pending == 0 || job.held || job.at_limit()))
    return name + ": waits though it may not start";
  if (waits != (job.group->waiting.count({job.key, nullptr}) == 1))
    return name + ": is not where it should be in the queue";
  return "";
}

bool same(const std::vector<queue_snapshot::share>& row, const std::vector<held_share>& held) {
  return std::equal(row.begin(), row.end(), held.begin(), held.end(),
                    [](const queue_snapshot::share& a, const held_share& b) {
                      return a.node == b.node && a.taken == b.taken();
                    });
}

std::string audit_heads(const job_queue& queue) {
  std::size_t listed = 0;
  for (const auto& [shape, entry] : queue.shapes())
    for (const auto& [kind, group] : entry.classes) {
      bool wanted = entry.placeable && !group.waiting.empty();
      listed += wanted ? 1 : 0;
      if (group.listed != wanted || (wanted && !(group.head == group.waiting.begin()->key)))
        return "a class is not listed by its first job";
    }
  return listed == queue.heads().size() ? "" : "a class is listed twice";
}

} // namespace

/// What snapshots share is what is.
std::string planner_core::state::audit_rows() const {
  std::size_t used = 0;
  for (std::uint32_t row = 0; row < job_rows.size(); ++row)
    used += job_rows[row].shape != queue_snapshot::none ? 1 : 0;
  for (const auto& [id, job] : jobs)
    if (!(job_rows[job.row] == row_of(job)))
      return "job " + std::to_string(id) + ": snapshots know something else of it";
  std::size_t running = 0;
  for (std::uint32_t row = 0; row < unit_rows.size(); ++row)
    running += unit_rows[row].held ? 1 : 0;
  for (const auto& key : slots.by_end()) {
    const auto& unit = slots.at(key.index);
    const auto& row = unit_rows[key.index];
    if (!row.held || row.end != slot_table::planned(unit) || !same(*row.held, unit.held) ||
        row.job != jobs.at(unit.job).row || row.limits != limit_rows_of(jobs.at(unit.job)))
      return "job " + std::to_string(unit.job) + ": snapshots know something else of what runs";
  }
  for (const auto& [shape, entry] : queue.shapes()) {
    const auto& row = queue.table()[entry.row];
    if (row.placeable != entry.placeable || row.need.tasks != entry.need.tasks ||
        row.need.nodes != entry.need.nodes)
      return "snapshots know something else of a shape";
  }
  return used == jobs.size() && running == slots.running() ? "" : "snapshots know of more";
}

std::string planner_core::audit() const {
  const auto& s = *state_;
  std::unordered_map<job_id, std::size_t> slots;
  for (const auto& key : s.slots.by_end())
    ++slots[s.slots.at(key.index).job];
  std::uint64_t pending = 0;
  for (const auto& [id, job] : s.jobs) {
    pending += job.pending;
    if (auto wrong = audit_job(job, slots[id]); !wrong.empty())
      return wrong;
  }
  auto with_pending = std::count_if(s.jobs.begin(), s.jobs.end(),
                                    [](const auto& job) { return job.second.pending > 0; });
  if (pending != s.units_pending || static_cast<std::uint64_t>(with_pending) != s.jobs_pending)
    return "the count of pending units is wrong";
  if (auto wrong = s.audit_rows(); !wrong.empty())
    return wrong;
  if (auto wrong = audit_nodes(s.pool, s.slots); !wrong.empty())
    return wrong;
  if (auto wrong = audit_timelines(s.pool, s.slots, s.advance); !wrong.empty())
    return wrong;
  if (auto wrong = audit_counts(s.jobs); !wrong.empty())
    return wrong;
  return audit_heads(s.queue);
}

} // namespace troupe::plan
