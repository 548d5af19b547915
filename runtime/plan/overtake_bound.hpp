// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/pool_planner.hpp"

#include <algorithm>

namespace troupe::plan {

/// How long a job may be overtaken by others, from what its site's jobs are like: the time that the
/// machine needs for the work ahead of it when it is submitted, which is about what first come
/// first served would make it wait, and the longest estimate of any job so far.
///
/// Work is processors × expected run time. What runs is taken to be worked off as time goes: a job
/// that outlives its expectation counts as less than nothing for as long.
class overtake_bound {
public:
  explicit overtake_bound(std::uint64_t processors) { set_processors(processors); }

  /// At least one.
  void set_processors(std::uint64_t processors) {
    processors_ = static_cast<double>(std::max<std::uint64_t>(processors, 1));
  }

  /// For a job that is about to be submitted.
  duration limit(const pool_job& job) const;

  void submitted(const pool_job& job, std::uint32_t units = 1);
  /// Units that were to start never will.
  void withdrawn(const pool_job& job, std::uint32_t units);
  void started(const pool_job& job, instant start);
  void ended(const pool_job& job, instant start);

private:
  // Doubles: products of times and processors may leave 64 bits; they are exact below 2^53.
  double processors_ = 1;
  double work_ = 0;       ///< of all jobs that have not ended
  double running_ = 0;    ///< processors
  double started_at_ = 0; ///< sum of processors × start, of what runs
  duration longest_estimate_ = 0;
};

} // namespace troupe::plan
