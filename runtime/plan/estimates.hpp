// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

#include <memory>
#include <unordered_map>

namespace troupe::plan {

/// What `planner_core::snapshot` copies; opaque, immutable, for any thread.
struct queue_snapshot;

/// Expected starts of the jobs that waited when the snapshot was taken.
struct start_estimates {
  instant as_of = 0;
  std::unordered_map<job_id, instant> starts; ///< of the first unit to come; those that are known
};

/// Simulates the queue until everything has started: EASY backfill with one reservation over nodes,
/// every unit running to its limit. At most `units_max` starts; jobs behind have no estimate.
inline constexpr std::uint64_t simulated_units_max = 4'000'000;
start_estimates estimate_starts(const queue_snapshot& from,
                                std::uint64_t units_max = simulated_units_max);

} // namespace troupe::plan
