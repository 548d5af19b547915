// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/clock.hpp"
#include "runtime/plan/types.hpp"

#include <algorithm>
#include <cstdlib>

namespace troupe::actors {

/// The time that the planner plans on: it only ever goes forward, as time since boot does, whatever
/// becomes of the wall clock. At first it reads as the wall clock did; from then on what was asked
/// for in wall time (`--begin`, reservations) is mapped onto it, anew whenever the clock is set.
class plan_time {
public:
  explicit plan_time(const clock_source& clock)
      : clock_{clock}, base_{clock.utc() - clock.boot()} {}

  plan::instant now() const { return clock_.boot() + base_; }

  /// Reads the wall clock. True if it has moved against this time, so that what was mapped before
  /// has to be mapped again; a clock that is merely kept right moves in small steps.
  bool follow() {
    const auto ahead = clock_.utc() - now();
    if (std::abs(ahead - ahead_) < step_ns_min)
      return false;
    ahead_ = ahead;
    return true;
  }

  plan::instant of_wall(utc_ns at) const { return moved(at, -ahead_); }
  utc_ns wall_of(plan::instant at) const { return moved(at, ahead_); }

  /// When something was that has been already.
  plan::instant past_of_wall(utc_ns at) const { return std::min(of_wall(at), now()); }

private:
  static constexpr std::int64_t step_ns_min = 10 * ns_per_ms;
  /// Beyond, there is no time but "never".
  static constexpr std::int64_t end_of_time = plan::never / 2;

  static std::int64_t moved(std::int64_t at, std::int64_t by) {
    return at >= end_of_time || at <= -end_of_time ? at : at + by;
  }

  const clock_source& clock_;
  std::int64_t base_ = 0;  ///< this time minus that since boot
  std::int64_t ahead_ = 0; ///< the wall clock's, of this time
};

} // namespace troupe::actors
