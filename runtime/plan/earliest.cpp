// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/earliest.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

/// What `tasks` of the unit take of a node.
amounts wanted_of(const unit_need& need, std::uint32_t tasks, const node_line& line) {
  return {static_cast<std::int64_t>(need.memory_bytes),
          need.exclusive ? line.cores_all : static_cast<std::int32_t>(tasks * need.cores_per_task),
          static_cast<std::int32_t>(tasks * need.gpus_per_task)};
}

bool holds(const amounts& free, const amounts& wanted) {
  return free.cores >= wanted.cores && free.gpus >= wanted.gpus &&
         free.memory_bytes >= wanted.memory_bytes;
}

/// May the node ever be used, by name and features?
bool admits(const unit_need& need, const node_pool& pool, std::uint32_t node) {
  return (need.features == 0 || (pool.at(node).features & need.features) == need.features) &&
         !need.excludes(node);
}

} // namespace

bool earliest_search::find(const unit_need& need, duration limit, const node_pool& pool,
                           std::span<const node_line> lines, instant from) {
  if (need.unknown_node || need.memory_bytes > memory_per_node_max ||
      need.cores() > std::uint64_t{lines.size()} * cores_per_node_max ||
      std::uint64_t{need.tasks} * need.gpus_per_task >
          std::uint64_t{lines.size()} * gpus_per_node_max)
    return false;
  query q{need, limit, pool, lines};
  auto least = static_cast<std::int32_t>(need.least * need.cores_per_task);
  at_ = from;
  for (sure_ = false; !sure_;) {
    auto bound = lower_bound(q, at_);
    if (bound == time_ends)
      return false;
    sure_ = sure_ || bound == at_;
    at_ = bound;
    // What fits at a lower bound fits no earlier.
    if (choose_.choose(need, window_rooms{lines, at_, until(at_, limit), least}))
      return true;
  }
  return false;
}

instant earliest_search::lower_bound(const query& q, instant from) {
  return q.need.nodes > 0 || q.need.tasks == 1 ? of_exact(q, from) : of_fewest(q, from);
}

/// Every condition of `chooser` for a fixed number of nodes, each as a bound.
instant earliest_search::of_exact(const query& q, instant from) {
  const auto& need = q.need;
  auto nodes = std::max(need.nodes, 1u);
  auto required = static_cast<std::uint32_t>(need.required.size());
  if (required > nodes)
    return time_ends;
  auto bound = nth_gap(q, need.least, nodes, from, false);
  bool one_condition = need.plus_one == 0 && required == 0;
  if (need.plus_one > 0)
    bound = std::max(bound, nth_gap(q, need.least + 1, need.plus_one, from, false));
  if (required > 0)
    bound = std::max(bound, nth_gap(q, need.least, required, from, true));
  if (auto others = nodes - required; required > 0 && need.plus_one > others)
    bound = std::max(bound, nth_gap(q, need.least + 1, need.plus_one - others, from, true));
  sure_ = sure_ && one_condition;
  return bound;
}

/// When the `count`-th node has a gap for so many tasks. `sure_` when all of these gaps are open
/// then.
instant earliest_search::nth_gap(const query& q, std::uint32_t tasks, std::uint32_t count,
                                 instant from, bool required_only) {
  gaps_.clear();
  auto bound = time_ends;
  for (const auto& line : q.lines) {
    auto wanted = wanted_of(q.need, tasks, line);
    if (line.next >= bound && (line.cores < wanted.cores || line.gpus < wanted.gpus))
      continue;
    if ((required_only && !q.need.requires_node(line.node)) || !admits(q.need, q.pool, line.node) ||
        (q.need.exclusive &&
         tasks * q.need.cores_per_task > static_cast<std::uint32_t>(line.cores_all)))
      continue;
    gap found;
    bool open = false;
    for (std::uint32_t i = 0; i < line.count; ++i) {
      const auto& step = line.steps[i];
      if (!open && i > 0 && step.at >= bound)
        break;
      if (i + 1 < line.count && line.steps[i + 1].at <= from)
        continue;
      if (holds(step.free, wanted)) {
        if (!open)
          found.opens = i == 0 ? from : std::max(step.at, from);
        open = true;
        if (found.opens >= bound)
          break;
      } else if (open && until(found.opens, q.limit) <= step.at) {
        found.closes = step.at - q.limit;
        break;
      } else {
        open = false;
      }
    }
    if (!open || found.opens >= bound)
      continue;
    gaps_.push_back(found);
    std::push_heap(gaps_.begin(), gaps_.end());
    if (gaps_.size() > count) {
      std::pop_heap(gaps_.begin(), gaps_.end());
      gaps_.pop_back();
    }
    if (gaps_.size() == count)
      bound = gaps_.front().opens;
    if (bound == from)
      break;
  }
  sure_ = std::all_of(gaps_.begin(), gaps_.end(), [&](const gap& g) { return g.closes >= bound; });
  return bound;
}

instant earliest_search::of_fewest(const query& q, instant from) {
  const auto& need = q.need;
  if (need.required.size() > need.tasks)
    return time_ends;
  gains_.clear();
  gains_sum_ = 0;
  for (const auto& line : q.lines) {
    if (admits(need, q.pool, line.node))
      add_gains(q, line, from);
    if (gains_sum_ >= need.tasks && gains_.front().at == from)
      break;
  }
  auto bound = gains_sum_ >= need.tasks ? gains_.front().at : time_ends;
  if (auto required = static_cast<std::uint32_t>(need.required.size()); required > 0)
    bound = std::max(bound, nth_gap(q, 1, required, from, true));
  // What was gained on the way may be gone again: the next look is from there on.
  sure_ = false;
  return bound;
}

/// Adds when the node can take more tasks than before. Keeps only the earliest gains that are
/// enough together.
void earliest_search::add_gains(const query& q, const node_line& line, instant from) {
  const auto& need = q.need;
  bool enough = gains_sum_ >= need.tasks;
  auto per_task = static_cast<std::int32_t>(need.cores_per_task);
  if (enough && line.next >= gains_.front().at && line.cores < per_task)
    return;
  std::uint32_t most = 0;
  for (std::uint32_t i = 0; i < line.count; ++i) {
    if (i + 1 < line.count && line.steps[i + 1].at <= from)
      continue;
    auto at = i == 0 ? from : std::max(line.steps[i].at, from);
    if (enough && at >= gains_.front().at)
      return;
    auto tasks = tasks_in(need, room_from(line, i, until(at, q.limit)));
    if (tasks <= most)
      continue;
    gains_.push_back({at, tasks - most});
    std::push_heap(gains_.begin(), gains_.end());
    gains_sum_ += tasks - most;
    most = tasks;
    while (gains_sum_ - gains_.front().tasks >= need.tasks) {
      gains_sum_ -= gains_.front().tasks;
      std::pop_heap(gains_.begin(), gains_.end());
      gains_.pop_back();
    }
    enough = gains_sum_ >= need.tasks;
  }
}

} // namespace troupe::plan
