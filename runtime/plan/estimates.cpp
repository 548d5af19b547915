// SPDX-License-Identifier: Apache-2.0
// Snapshots, and what is estimated from them.
#include "runtime/plan/estimates.hpp"

#include "runtime/plan/simulation.hpp"
#include "runtime/plan/state.hpp"

namespace troupe::plan {

namespace {

/// Copies tables, giving numbers to what the planner refers to by address.
class snapshot_maker {
public:
  explicit snapshot_maker(queue_snapshot& to) : to_(to) {}

  std::uint32_t shape(const shape_entry& from, const advance_table& advance) {
    auto [it, fresh] = shapes_.try_emplace(&from, static_cast<std::uint32_t>(to_.shapes.size()));
    if (fresh) {
      auto& made = to_.shapes.emplace_back();
      made.need = from.need;
      made.inside = from.shape->reservation != 0;
      if (const auto* entry = advance.find(from.shape->reservation)) {
        made.nodes = entry->nodes;
        made.from = entry->asked.from;
        made.to = entry->asked.until;
      }
    }
    return it->second;
  }

  std::uint32_t group(const limit_group& from) {
    auto [it, fresh] =
        groups_.try_emplace(from.of_user_in_queue, static_cast<std::uint32_t>(to_.groups.size()));
    if (fresh)
      to_.groups.push_back(
          {{count(from.of_queue), count(from.of_user), count(from.of_user_in_queue)}});
    return it->second;
  }

private:
  std::uint32_t count(const running_count* from) {
    auto [it, fresh] = counts_.try_emplace(from, static_cast<std::uint32_t>(to_.counts.size()));
    if (fresh)
      to_.counts.push_back(*from);
    return it->second;
  }

  queue_snapshot& to_;
  std::unordered_map<const shape_entry*, std::uint32_t> shapes_;
  std::unordered_map<const running_count*, std::uint32_t> groups_, counts_;
};

void copy_nodes(const node_pool& pool, const advance_table& advance, queue_snapshot& to) {
  for (const auto& node : pool.all())
    to.nodes.push_back({node.room(), node.up()});
  if (!advance.all().empty())
    to.closed.resize(pool.all().size());
  for (const auto& [id, entry] : advance.all())
    for (auto node : entry.nodes)
      to.closed[node].push_back({entry.asked.from, entry.asked.until});
}

} // namespace

std::shared_ptr<queue_snapshot> planner_core::state::copy(instant at) const {
  auto made = std::make_shared<queue_snapshot>();
  made->now = at;
  snapshot_maker maker(*made);
  copy_nodes(pool, advance, *made);
  auto by = queue_ordering();
  std::unordered_map<job_id, std::uint32_t> with_limit;
  for (const auto& [id, job] : jobs) {
    if (job.pending == 0 || job.held || !job.group->shape->placeable)
      continue;
    if (job.max_running > 0)
      with_limit.emplace(id, static_cast<std::uint32_t>(made->waiting.size()));
    made->waiting.push_back(
        {by.key_at(job.key, job.view, at), maker.shape(*job.group->shape, advance),
         counts.any() ? maker.group(job.group->counts_for) : queue_snapshot::none,
         job.group->limit(), job.pending, job.running, job.max_running, job.begin_time});
  }
  for (const auto& key : slots.by_end()) {
    const auto& unit = slots.at(key.index);
    const auto& owner = jobs.at(unit.job);
    auto& copy = made->units.emplace_back();
    copy.end = std::max(slot_table::planned(unit), at);
    for (const auto& held : unit.held)
      copy.held.push_back({held.node, held.taken()});
    if (counts.any())
      copy.group = maker.group(owner.group->counts_for);
    if (auto known = with_limit.find(unit.job); known != with_limit.end())
      copy.job = known->second;
    copy.cores = owner.unit_cores();
  }
  return made;
}

std::shared_ptr<const queue_snapshot> planner_core::snapshot(instant now) const {
  return state_->copy(now);
}

start_estimates estimate_starts(const queue_snapshot& from, std::uint64_t units_max) {
  queue_simulation simulation(from, units_max);
  simulation.run(std::nullopt);
  return {from.now, simulation.starts()};
}

} // namespace troupe::plan
