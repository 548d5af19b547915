// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

#include <cstddef>
#include <vector>

namespace troupe::plan {

/// How many processors are free at each time to come: a step function, after whose last step all
/// are free. What is taken beyond the count makes a step negative until it is given back.
class profile {
public:
  explicit profile(std::uint32_t count) : count_(count), steps_{{0, count}} {}

  /// Forgets what is before `now`.
  void advance(instant now);

  /// From `from` until before `to`.
  void take(instant from, instant to, std::uint32_t processors) {
    change(from, to, -std::int64_t{processors});
  }
  void give(instant from, instant to, std::uint32_t processors) { change(from, to, processors); }

  /// The first time, not before `from`, from which so many are free for `length`.
  instant earliest(std::uint32_t processors, duration length, instant from) const;

private:
  struct step {
    instant at = 0;
    std::int64_t free = 0; ///< until the next step
  };

  void change(instant from, instant to, std::int64_t by);
  std::size_t step_at(instant at);

  std::uint32_t count_;
  std::vector<step> steps_;
};

} // namespace troupe::plan
