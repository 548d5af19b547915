// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/core_map.hpp"

#include <algorithm>
#include <bit>
#include <map>

namespace troupe::plan {

core_map::core_map(std::uint32_t cores, std::span<const std::uint32_t> groups)
    : bits_((cores + 63) / 64, 0), free_(cores) {
  for (std::uint32_t core = 0; core < cores; ++core)
    bits_[core / 64] |= std::uint64_t{1} << (core % 64);
  std::map<std::uint32_t, words> by_group;
  for (std::uint32_t core = 0; core < groups.size() && core < cores; ++core) {
    auto [it, fresh] = by_group.try_emplace(groups[core], words(bits_.size(), 0));
    it->second[core / 64] |= std::uint64_t{1} << (core % 64);
  }
  if (by_group.size() < 2)
    return;
  for (auto& [group, mask] : by_group)
    groups_.push_back(std::move(mask));
}

bool core_map::is_free(std::uint32_t core) const {
  return core / 64 < bits_.size() && (bits_[core / 64] >> (core % 64) & 1) != 0;
}

void core_map::take(std::uint32_t tasks, std::uint32_t per_task, std::vector<std::uint16_t>& out) {
  if (groups_.empty()) {
    take_lowest(tasks * per_task, nullptr, out);
    return;
  }
  if (const auto* group = tightest_group(tasks * per_task)) {
    take_lowest(tasks * per_task, group, out);
    return;
  }
  for (std::uint32_t task = 0; task < tasks; ++task)
    take_lowest(per_task, tightest_group(per_task), out);
}

const core_map::words* core_map::tightest_group(std::uint32_t count) const {
  const words* best = nullptr;
  std::uint32_t best_free = 0;
  for (const auto& group : groups_) {
    std::uint32_t free = 0;
    for (std::size_t i = 0; i < bits_.size(); ++i)
      free += static_cast<std::uint32_t>(std::popcount(bits_[i] & group[i]));
    if (free >= count && (best == nullptr || free < best_free)) {
      best = &group;
      best_free = free;
    }
  }
  return best;
}

void core_map::take_lowest(std::uint32_t count, const words* within,
                           std::vector<std::uint16_t>& out) {
  if (count > 1 && take_run(count, within, out))
    return;
  for (std::size_t i = 0; i < bits_.size() && count > 0; ++i)
    for (auto left = word(i, within); left != 0 && count > 0; left &= left - 1, --count)
      take_one(static_cast<std::uint32_t>(i * 64) +
                   static_cast<std::uint32_t>(std::countr_zero(left)),
               out);
}

bool core_map::take_run(std::uint32_t count, const words* within, std::vector<std::uint16_t>& out) {
  std::uint32_t length = 0;
  std::uint32_t last = 0;
  for (std::size_t i = 0; i < bits_.size(); ++i) {
    for (auto left = word(i, within); left != 0; left &= left - 1) {
      auto core =
          static_cast<std::uint32_t>(i * 64) + static_cast<std::uint32_t>(std::countr_zero(left));
      length = length > 0 && core == last + 1 ? length + 1 : 1;
      last = core;
      if (length < count)
        continue;
      for (auto each = core + 1 - count; each <= core; ++each)
        take_one(each, out);
      return true;
    }
  }
  return false;
}

void core_map::take_one(std::uint32_t core, std::vector<std::uint16_t>& out) {
  bits_[core / 64] &= ~(std::uint64_t{1} << (core % 64));
  --free_;
  out.push_back(static_cast<std::uint16_t>(core));
}

void core_map::take_exactly(std::span<const std::uint16_t> cores) {
  for (auto core : cores)
    bits_[core / 64] &= ~(std::uint64_t{1} << (core % 64));
  free_ -= static_cast<std::uint32_t>(cores.size());
}

void core_map::give(std::span<const std::uint16_t> cores) {
  for (auto core : cores)
    bits_[core / 64] |= std::uint64_t{1} << (core % 64);
  free_ += static_cast<std::uint32_t>(cores.size());
}

} // namespace troupe::plan
