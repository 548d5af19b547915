// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

namespace troupe {

/// Wall time in UTC nanoseconds since 1970. Stamps events and bounds capabilities; orders nothing.
using utc_ns = std::int64_t;

/// Time since boot, suspended time included: all durations.
using boot_ns = std::int64_t;

/// Where time comes from. Actors get one injected, so that tests run in virtual time.
class clock_source {
public:
  virtual ~clock_source() = default;
  virtual utc_ns utc() const = 0;
  virtual boot_ns boot() const = 0;
};

/// The machine's clocks.
class system_clock_source final : public clock_source {
public:
  utc_ns utc() const override { return read(CLOCK_REALTIME); }
  boot_ns boot() const override { return read(CLOCK_BOOTTIME); }

private:
  static std::int64_t read(clockid_t id) {
    timespec now{};
    ::clock_gettime(id, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
};

inline constexpr std::int64_t ns_per_s = 1'000'000'000;
inline constexpr std::int64_t ns_per_ms = 1'000'000;

} // namespace troupe
