// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/fit.hpp"

namespace troupe::plan {

void chooser::begin(const unit_need& need) {
  candidates_.clear();
  shares_.clear();
  room_ = 0;
  with_one_more_ = 0;
  may_stop_early_ = need.required.empty();
}

bool chooser::finish(const unit_need& need) {
  if (!has_required(need))
    return false;
  return need.nodes > 0 ? finish_exact(need) : finish_fewest(need);
}

bool chooser::has_required(const unit_need& need) const {
  return std::all_of(need.required.begin(), need.required.end(), [&](std::uint32_t node) {
    auto it = std::lower_bound(candidates_.begin(), candidates_.end(), node,
                               [](const task_share& a, std::uint32_t b) { return a.node < b; });
    return it != candidates_.end() && it->node == node;
  });
}

bool chooser::finish_exact(const unit_need& need) {
  if (candidates_.size() < need.nodes || with_one_more_ < need.plus_one ||
      need.required.size() > need.nodes)
    return false;
  picked_.assign(candidates_.size(), 0);
  auto any = need.nodes - static_cast<std::uint32_t>(need.required.size());
  auto large = need.plus_one;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    if (!need.requires_node(candidates_[i].node))
      continue;
    picked_[i] = 1;
    if (large > 0 && candidates_[i].tasks > need.least)
      --large;
  }
  if (large > any)
    return false;
  any -= large;
  for (std::size_t i = 0; i < candidates_.size() && large > 0; ++i)
    if (picked_[i] == 0 && candidates_[i].tasks > need.least) {
      picked_[i] = 1;
      --large;
    }
  for (std::size_t i = 0; i < candidates_.size() && any > 0; ++i)
    if (picked_[i] == 0) {
      picked_[i] = 1;
      --any;
    }
  auto plus_one = need.plus_one;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    if (picked_[i] == 0)
      continue;
    bool more = plus_one > 0 && candidates_[i].tasks > need.least;
    plus_one -= more ? 1 : 0;
    shares_.push_back({candidates_[i].node, need.least + (more ? 1 : 0)});
  }
  return true;
}

bool chooser::finish_fewest(const unit_need& need) {
  if (room_ < need.tasks || need.required.size() > need.tasks)
    return false;
  if (candidates_.size() == 1) {
    shares_.push_back({candidates_[0].node, need.tasks});
    return true;
  }
  picked_.assign(candidates_.size(), 0);
  by_room_.clear();
  std::uint64_t room = 0;
  std::uint32_t count = 0;
  auto pick = [&](std::uint32_t i) {
    picked_[i] = 1;
    room += candidates_[i].tasks;
    ++count;
  };
  for (std::uint32_t i = 0; i < candidates_.size(); ++i) {
    if (need.requires_node(candidates_[i].node))
      pick(i);
    else
      by_room_.push_back(i);
  }
  // The roomiest, of equal ones the first: on top of a heap, of which few are needed.
  auto less_roomy = [&](std::uint32_t a, std::uint32_t b) {
    return candidates_[a].tasks != candidates_[b].tasks
               ? candidates_[a].tasks < candidates_[b].tasks
               : a > b;
  };
  std::make_heap(by_room_.begin(), by_room_.end(), less_roomy);
  while (room < need.tasks) {
    std::pop_heap(by_room_.begin(), by_room_.end(), less_roomy);
    pick(by_room_.back());
    by_room_.pop_back();
  }
  auto left = need.tasks;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    if (picked_[i] == 0)
      continue;
    --count;
    // Every node that follows holds at least one task, so that none is taken for nothing.
    auto tasks = std::min(candidates_[i].tasks, left - count);
    shares_.push_back({candidates_[i].node, tasks});
    left -= tasks;
  }
  return true;
}

} // namespace troupe::plan
