// SPDX-License-Identifier: Apache-2.0
#include "runtime/sim/figures.hpp"

#include <algorithm>

namespace troupe::sim {

schedule_figures figures_of(std::span<const workload_job> jobs,
                            std::span<const plan::instant> starts, std::uint32_t processors) {
  schedule_figures out;
  out.jobs = jobs.size();
  if (jobs.empty())
    return out;
  // Doubles: a sum of products of times and processors may leave 64 bits.
  double slowdowns = 0, waits = 0, used = 0;
  auto first = jobs.front().submit;
  auto last = first;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const auto& job = jobs[i];
    auto wait = starts[i] - job.submit;
    slowdowns += std::max(1.0, static_cast<double>(wait + job.run) /
                                   static_cast<double>(std::max(job.run, slowdown_bound_s)));
    waits += static_cast<double>(wait);
    used += static_cast<double>(job.run) * job.processors;
    out.longest_wait_s = std::max(out.longest_wait_s, wait);
    first = std::min(first, job.submit);
    last = std::max(last, starts[i] + job.run);
  }
  auto count = static_cast<double>(jobs.size());
  out.avebsld = slowdowns / count;
  out.mean_wait_s = waits / count;
  out.makespan_s = last - first;
  out.utilisation = used / (static_cast<double>(out.makespan_s) * processors);
  return out;
}

} // namespace troupe::sim
