// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace troupe {

/// A set of numbers kept as disjoint inclusive intervals: an array's elements cost what their gaps
/// cost. Every operation is O(log intervals) plus the intervals it touches.
class interval_set {
public:
  using number = std::uint32_t;
  using map_type = std::map<number, number>; ///< first → last

  void insert(number first, number last) {
    if (last < first)
      return;
    auto at = intervals_.upper_bound(first);
    if (at != intervals_.begin()) {
      auto before = std::prev(at);
      if (std::uint64_t{before->second} + 1 >= first) {
        first = before->first;
        last = std::max(last, before->second);
        count_ -= size_of(*before);
        intervals_.erase(before);
      }
    }
    at = intervals_.lower_bound(first);
    while (at != intervals_.end() && at->first <= std::uint64_t{last} + 1) {
      last = std::max(last, at->second);
      count_ -= size_of(*at);
      at = intervals_.erase(at);
    }
    intervals_.emplace(first, last);
    count_ += std::uint64_t{last} - first + 1;
  }

  void erase(number first, number last) {
    auto at = intervals_.upper_bound(first);
    if (at != intervals_.begin())
      --at;
    while (at != intervals_.end() && at->first <= last) {
      auto [low, high] = *at;
      if (high < first) {
        ++at;
        continue;
      }
      count_ -= std::uint64_t{high} - low + 1;
      at = intervals_.erase(at);
      if (low < first)
        add(low, first - 1);
      if (high > last)
        add(last + 1, high);
    }
  }

  /// Takes up to `count_max` consecutive numbers from the lowest interval.
  std::optional<std::pair<number, number>> take_front(std::uint64_t count_max) {
    if (intervals_.empty() || count_max == 0)
      return std::nullopt;
    auto [first, last] = *intervals_.begin();
    auto end = static_cast<number>(std::min<std::uint64_t>(last, first + count_max - 1));
    erase(first, end);
    return std::pair{first, end};
  }

  bool contains(number value) const {
    auto at = intervals_.upper_bound(value);
    return at != intervals_.begin() && std::prev(at)->second >= value;
  }

  bool empty() const { return intervals_.empty(); }
  std::uint64_t count() const { return count_; }
  const map_type& intervals() const { return intervals_; }

private:
  static std::uint64_t size_of(const map_type::value_type& interval) {
    return std::uint64_t{interval.second} - interval.first + 1;
  }
  void add(number first, number last) {
    intervals_.emplace(first, last);
    count_ += std::uint64_t{last} - first + 1;
  }

  map_type intervals_;
  std::uint64_t count_ = 0;
};

} // namespace troupe
