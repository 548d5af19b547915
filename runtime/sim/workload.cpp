// SPDX-License-Identifier: Apache-2.0
#include "runtime/sim/workload.hpp"

#include <algorithm>

namespace troupe::sim {

namespace {

/// Counts why the job is left out; false if it is not.
bool leave_out(const swf_job& job, std::int64_t wanted, std::uint32_t processors,
               bool needs_request, workload& out) {
  auto largest = std::max(job.allocated_processors, job.requested_processors);
  auto& count = out.without;
  if (largest > processors) {
    out.largest_left_out = std::max(out.largest_left_out, largest);
    return ++count.too_large > 0;
  }
  if (wanted <= 0)
    return ++count.no_processors > 0;
  if (job.run <= 0)
    return ++count.no_run_time > 0;
  if (needs_request && job.requested_time <= 0)
    return ++count.no_requested_time > 0;
  if (job.submit < 0)
    return ++count.negative_submit > 0;
  return false;
}

} // namespace

workload make_workload(const swf_log& log, std::uint32_t processors) {
  workload out;
  out.no_requested_times =
      !log.jobs.empty() && std::none_of(log.jobs.begin(), log.jobs.end(),
                                        [](const swf_job& job) { return job.requested_time > 0; });
  out.jobs.reserve(log.jobs.size());
  for (const auto& job : log.jobs) {
    auto wanted =
        job.requested_processors > 0 ? job.requested_processors : job.allocated_processors;
    if (leave_out(job, wanted, processors, !out.no_requested_times, out))
      continue;
    auto request = out.no_requested_times ? job.run : job.requested_time;
    out.cut_to_request += request < job.run;
    out.jobs.push_back({job.id, job.submit, std::min(job.run, request), request,
                        static_cast<std::uint32_t>(wanted), job.user});
  }
  std::stable_sort(out.jobs.begin(), out.jobs.end(),
                   [](const auto& a, const auto& b) { return a.submit < b.submit; });
  return out;
}

} // namespace troupe::sim
