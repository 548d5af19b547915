// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <ctime>

namespace troupe {

/// Wall time in UTC nanoseconds since 1970. Stamps events and bounds capabilities; orders nothing.
using utc_ns = std::int64_t;

/// Time since boot, suspended time included: all durations.
using boot_ns = std::int64_t;

/// A moment on the boot clock, by which all is judged that stays inside the process: wall time is
/// set, by people and by time servers. No number, so that wall time cannot be taken for it.
class boot_time {
public:
  constexpr boot_time() = default;
  constexpr explicit boot_time(boot_ns ns) : ns_{ns} {}
  constexpr boot_ns ns() const { return ns_; }
  constexpr boot_time operator+(std::int64_t by) const { return boot_time{ns_ + by}; }
  constexpr std::int64_t operator-(boot_time other) const { return ns_ - other.ns_; }
  constexpr auto operator<=>(const boot_time&) const = default;
  /// Never comes.
  static constexpr boot_time never() { return boot_time{INT64_MAX}; }

private:
  boot_ns ns_ = 0;
};

/// Both clocks at one moment: what comes in from outside is judged by the one and goes on by the
/// other.
struct clock_reading {
  utc_ns utc = 0;
  boot_time now;
};

/// Where time comes from. Actors get one injected, so that tests run in virtual time.
class clock_source {
public:
  virtual ~clock_source() = default;
  virtual utc_ns utc() const = 0;
  virtual boot_ns boot() const = 0;
  /// `boot()` as what is asked on every message may read it: some milliseconds late at most.
  virtual boot_time now() const { return boot_time{boot()}; }
  clock_reading read() const { return {utc(), boot_time{boot()}}; }
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
