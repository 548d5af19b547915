// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/target_set.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace troupe::actors {

namespace {

bool comes_before(const job_range& a, const job_range& b) {
  return a.first != b.first ? a.first < b.first : a.last < b.last;
}

/// Ranges that overlap or touch become one.
std::vector<job_range> merged(std::vector<job_range> ranges) {
  std::sort(ranges.begin(), ranges.end(), comes_before);
  std::vector<job_range> result;
  for (const auto& each : ranges) {
    const auto joins = !result.empty() &&
                       (each.first <= result.back().last || each.first - result.back().last == 1);
    if (joins)
      result.back().last = std::max(result.back().last, each.last);
    else
      result.push_back(each);
  }
  return result;
}

bool contains(const std::vector<job_range>& ranges, job_id job) {
  const auto behind =
      std::upper_bound(ranges.begin(), ranges.end(), job,
                       [](job_id number, const job_range& range) { return number < range.first; });
  return behind != ranges.begin() && job <= std::prev(behind)->last;
}

expected<void> check(const job_selector::target& target) {
  if (target.last < target.first)
    return fail(errc::invalid, fmt::format("{} to {} is no range of jobs: it ends before it begins",
                                           target.first, target.last));
  if (!target.elements)
    return {};
  const auto [first, last] = *target.elements;
  if (target.first != target.last)
    return fail(errc::invalid, fmt::format("elements are named of one array, not of the jobs {} to "
                                           "{}",
                                           target.first, target.last));
  if (last < first || last > element_max)
    return fail(errc::invalid, fmt::format("{}_[{}-{}] are no elements; their numbers rise, up to "
                                           "{}",
                                           target.first, first, last, element_max));
  return {};
}

} // namespace

expected<target_set> target_set::of(const std::vector<job_selector::target>& targets) {
  target_set result;
  for (const auto& target : targets) {
    if (auto ok = check(target); !ok)
      return tl::unexpected<error>{ok.error()};
    result.as_named_.push_back({target.first, target.last});
    if (target.elements)
      result.elements_[target.first].insert(static_cast<std::uint32_t>(target.elements->first),
                                            static_cast<std::uint32_t>(target.elements->last));
    else
      result.whole_.push_back({target.first, target.last});
  }
  result.jobs_ = merged(result.as_named_);
  result.whole_ = merged(std::move(result.whole_));
  std::erase_if(result.elements_,
                [&](const auto& each) { return contains(result.whole_, each.first); });
  auto& named = result.as_named_;
  std::sort(named.begin(), named.end(), comes_before);
  named.erase(std::unique(named.begin(), named.end()), named.end());
  return result;
}

bool target_set::by_number(job_id job) const {
  return std::binary_search(as_named_.begin(), as_named_.end(), job_range{job, job}, comes_before);
}

std::uint64_t target_set::count() const {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t sum = 0;
  const auto add = [&](std::uint64_t more) { sum = more > most - sum ? most : sum + more; };
  for (const auto& range : whole_) {
    add(range.last - range.first);
    add(1);
  }
  for (const auto& [job, numbers] : elements_)
    add(numbers.count());
  return sum;
}

} // namespace troupe::actors
