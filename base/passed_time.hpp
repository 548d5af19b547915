// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/clock.hpp"

#include <algorithm>

namespace troupe {

/// Wall time by which something may be ended or forgotten for good: never ahead of what has really
/// passed since it was made, so that a clock that runs ahead for a moment ends nothing.
class passed_time {
public:
  explicit passed_time(const clock_source& clock) : clock_{&clock}, began_{clock.read()} {}

  utc_ns utc() const {
    return std::min(clock_->utc(), began_.utc + (boot_time{clock_->boot()} - began_.now));
  }

private:
  const clock_source* clock_;
  clock_reading began_;
};

} // namespace troupe
