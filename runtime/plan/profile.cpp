// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/profile.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

constexpr auto before = [](instant at, const auto& step) { return at < step.at; };

} // namespace

void profile::advance(instant now) {
  auto next = std::upper_bound(steps_.begin(), steps_.end(), now, before);
  if (next == steps_.begin())
    return;
  steps_.erase(steps_.begin(), next - 1);
  steps_.front().at = now;
}

/// The step that begins at `at`, made if there is none.
std::size_t profile::step_at(instant at) {
  auto next = std::upper_bound(steps_.begin(), steps_.end(), at, before);
  auto index = static_cast<std::size_t>(next - steps_.begin());
  if (index > 0 && steps_[index - 1].at == at)
    return index - 1;
  steps_.insert(next, {at, index > 0 ? steps_[index - 1].free : std::int64_t{count_}});
  return index;
}

void profile::change(instant from, instant to, std::int64_t by) {
  from = std::max(from, steps_.front().at);
  if (from >= to)
    return;
  auto first = step_at(from);
  auto last = step_at(to);
  for (auto i = first; i < last; ++i)
    steps_[i].free += by;
  // Steps that are none any more: only at the two ends can neighbours have become equal.
  auto drop = [this](std::size_t i) {
    if (i > 0 && steps_[i].free == steps_[i - 1].free)
      steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(i));
  };
  drop(last);
  drop(first);
}

instant profile::earliest(std::uint32_t processors, duration length, instant from) const {
  auto i = std::upper_bound(steps_.begin(), steps_.end(), from, before);
  if (i != steps_.begin())
    --i;
  instant begin = from;
  for (; i != steps_.end(); ++i) {
    if (i->free < processors)
      begin = never;
    else if (begin == never)
      begin = i->at;
    bool lasts = i + 1 == steps_.end() || (begin != never && (i + 1)->at - begin >= length);
    if (begin != never && lasts)
      return begin;
  }
  return never;
}

} // namespace troupe::plan
