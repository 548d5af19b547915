// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace troupe {

/// The latest point in time that may be asked for, 2100-01-01 in UTC: with the longest run behind
/// it, no sum of the scheduler's leaves what nanoseconds in 64 bits hold (2262-04-11).
inline constexpr std::int64_t latest_time_s = 4'102'444'800;
inline constexpr std::int64_t latest_time_ns = latest_time_s * 1'000'000'000;

} // namespace troupe
