// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

#include <memory>
#include <vector>

namespace troupe::plan {

/// What `planner_core::snapshot` copies; opaque, immutable, for any thread.
struct queue_snapshot;

/// Expected starts of the jobs that waited when the snapshot was taken.
struct start_estimates {
  struct entry {
    job_id job = 0;
    instant start = 0;       ///< of the first unit to come
    instant first = 0;       ///< what was expected when it was first known
    std::uint32_t units = 0; ///< that waited then
  };
  instant as_of = 0;
  std::vector<entry> starts; ///< those that are known, by job

  /// nullptr: nothing is known of it.
  const entry* find(job_id job) const;
};

/// Simulates the queue until everything has started: EASY backfill with one reservation over nodes,
/// every unit running to its limit. At most `units_max` starts; jobs behind have no estimate.
/// What was first expected of a unit is taken from the estimates `before`.
inline constexpr std::uint64_t simulated_units_max = 4'000'000;
start_estimates estimate_starts(const queue_snapshot& from,
                                std::uint64_t units_max = simulated_units_max,
                                const start_estimates* before = nullptr);

} // namespace troupe::plan
