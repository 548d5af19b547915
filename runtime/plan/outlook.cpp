// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/outlook.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

bool less_in_anything(const amounts& a, const amounts& b) {
  return a.cores < b.cores || a.gpus < b.gpus || a.memory_bytes < b.memory_bytes;
}

/// More than any node has.
constexpr amounts everything{std::int64_t{1} << 61, 1 << 24, 1 << 24};

} // namespace

node_room room_from(const node_line& line, std::uint32_t first, instant to) {
  amounts least = line.steps[first].free;
  // What never gets less is least at first.
  for (auto i = first + 1; line.dips && i < line.count && line.steps[i].at < to; ++i)
    least.cap(line.steps[i].free);
  return {static_cast<std::uint32_t>(std::max(least.cores, 0)),
          static_cast<std::uint32_t>(line.cores_all),
          static_cast<std::uint64_t>(std::max<std::int64_t>(least.memory_bytes, 0)),
          static_cast<std::uint32_t>(std::max(least.gpus, 0)), line.features};
}

node_room room_in(const node_line& line, instant from, instant to) {
  std::uint32_t first = 0;
  while (first + 1 < line.count && line.steps[first + 1].at <= from)
    ++first;
  return room_from(line, first, to);
}

node_line line_from(std::uint32_t node, const node_room& has, std::span<const step> steps,
                    instant now) {
  while (steps.size() > 1 && steps[1].at <= now)
    steps = steps.subspan(1);
  node_line line;
  line.node = node;
  line.count = static_cast<std::uint32_t>(steps.size());
  line.steps = steps.data();
  line.cores = steps[0].free.cores;
  line.gpus = steps[0].free.gpus;
  line.next = steps.size() > 1 ? steps[1].at : time_ends;
  line.cores_all = static_cast<std::int32_t>(has.cores_all);
  line.features = has.features;
  for (std::size_t i = 1; i < steps.size() && !line.dips; ++i)
    line.dips = less_in_anything(steps[i].free, steps[i - 1].free);
  return line;
}

void outlook::begin(const node_pool& pool, instant now) {
  pool_ = &pool;
  now_ = now;
  overlays_used_ = 0;
  lines_.clear();
  auto count = static_cast<std::uint32_t>(pool.all().size());
  at_.assign(count, none);
  overlay_of_.assign(count, none);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!pool.at(i).up())
      continue;
    at_[i] = static_cast<std::uint32_t>(lines_.size());
    lines_.push_back(line_from(i, pool.rooms()[i], pool.planned(i).steps(), now));
  }
}

node_timeline& outlook::overlay(std::uint32_t node) {
  auto& index = overlay_of_[node];
  if (index == none) {
    index = static_cast<std::uint32_t>(overlays_used_++);
    if (overlays_used_ > overlays_.size())
      overlays_.emplace_back();
    overlays_[index] = node_timeline(line_of(node).all());
  }
  return overlays_[index];
}

void outlook::claim(std::uint32_t node, instant from, instant to, const amounts& what) {
  if (at_[node] == none)
    return;
  auto& timeline = overlay(node);
  timeline.take(from, to, what);
  auto& line = lines_[at_[node]];
  line = line_from(node, pool_->rooms()[node], timeline.steps(), now_);
  // Also where a claim begins now, on what somebody still holds beyond its prediction.
  line.dips = true;
}

void outlook::note(std::uint32_t node, instant to, const amounts& what) {
  if (overlay_of_[node] != none)
    return claim(node, time_begins, to, what);
  if (at_[node] == none)
    return;
  auto& line = lines_[at_[node]];
  line = line_from(node, pool_->rooms()[node], pool_->planned(node).steps(), now_);
}

inside_view::inside_view(const node_pool& pool, const outlook& plan,
                         std::span<const std::uint32_t> nodes, instant from, instant to) {
  timelines_.reserve(nodes.size());
  for (auto node : nodes) {
    const auto& entry = pool.at(node);
    if (!entry.up())
      continue;
    auto& timeline = timelines_.emplace_back(plan.line_of(node).all());
    timeline.give(from, to, entry.all());
    timeline.take(time_begins, from, everything);
    timeline.take(to, time_ends, everything);
    lines_.push_back(line_from(node, pool.rooms()[node], timeline.steps(), plan.now()));
  }
}

} // namespace troupe::plan
