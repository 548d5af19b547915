// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"
#include "runtime/sim/workload.hpp"

#include <span>

namespace troupe::sim {

/// A run time below this counts as this in slowdowns.
inline constexpr std::int64_t slowdown_bound_s = 10;

/// Of a schedule, over all its jobs.
struct schedule_figures {
  std::size_t jobs = 0;
  double avebsld = 0; ///< mean of max(1, (wait + run) / max(run, 10 s))
  double mean_wait_s = 0;
  std::int64_t longest_wait_s = 0;
  double utilisation = 0;      ///< run × processors over machine × makespan
  std::int64_t makespan_s = 0; ///< from the first submission to the last end
};

/// `starts` belongs to `jobs`, one by one.
schedule_figures figures_of(std::span<const workload_job> jobs,
                            std::span<const plan::instant> starts, std::uint32_t processors);

} // namespace troupe::sim
