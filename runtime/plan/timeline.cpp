// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/timeline.hpp"

namespace troupe::plan {

/// The step that begins at `at`; there is one then.
std::size_t node_timeline::split(instant at) {
  auto it = std::lower_bound(steps_.begin(), steps_.end(), at,
                             [](const step& s, instant t) { return s.at < t; });
  auto index = static_cast<std::size_t>(it - steps_.begin());
  if (it == steps_.end() || it->at != at)
    steps_.insert(it, {at, steps_[index - 1].free});
  return index;
}

/// Forgets a step that changes nothing.
void node_timeline::merge(std::size_t at) {
  if (at > 0 && at < steps_.size() && steps_[at].free == steps_[at - 1].free)
    steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(at));
}

void node_timeline::change(instant from, instant to, const amounts& what, std::int32_t sign) {
  if (from >= to)
    return;
  auto first = split(from);
  auto last = to == time_ends ? steps_.size() : split(to);
  for (auto i = first; i < last; ++i)
    steps_[i].free.add(what, sign);
  merge(last);
  merge(first);
}

} // namespace troupe::plan
