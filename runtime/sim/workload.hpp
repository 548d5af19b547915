// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/sim/swf.hpp"

namespace troupe::sim {

/// A job that the machine can run. Times in seconds.
struct workload_job {
  std::int64_t id = 0;
  std::int64_t submit = 0;  ///< at least 0
  std::int64_t run = 0;     ///< at least 1, at most `request`
  std::int64_t request = 0; ///< at least 1
  std::uint32_t processors = 0;
  std::int64_t user = 0;
};

/// Why jobs were left out, each counted once, by the first that applies.
struct left_out {
  std::uint64_t too_large = 0;         ///< more processors than the machine has
  std::uint64_t no_processors = 0;     ///< neither allocated nor requested ones known
  std::uint64_t no_run_time = 0;       ///< not above 0
  std::uint64_t no_requested_time = 0; ///< not above 0
  std::uint64_t negative_submit = 0;

  std::uint64_t total() const {
    return too_large + no_processors + no_run_time + no_requested_time + negative_submit;
  }
};

struct workload {
  std::vector<workload_job> jobs; ///< by submission; those of one second as in the log
  left_out without;
  std::uint64_t cut_to_request = 0;  ///< ran longer than they asked for
  std::int64_t largest_left_out = 0; ///< processors of the largest that is too large
  bool no_requested_times = false;   ///< in the whole log; the run time then stands for it
};

/// The filter of Gaussier et al. (SC15), in its order; see docs/scheduling.md. A log without any
/// requested time keeps its jobs: their run times stand in, and `no_requested_times` says so.
workload make_workload(const swf_log& log, std::uint32_t processors);

} // namespace troupe::sim
