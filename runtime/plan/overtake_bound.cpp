// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/overtake_bound.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

double work_of(const pool_job& job) {
  return static_cast<double>(job.expected > 0 ? job.expected : job.estimate) * job.processors;
}

} // namespace

duration overtake_bound::limit(const pool_job& job) const {
  auto done = running_ * static_cast<double>(job.submitted) - started_at_;
  auto ahead = std::max(work_ - done, 0.0) / processors_;
  auto longest = std::max(longest_estimate_, job.estimate);
  return static_cast<duration>(ahead) + longest;
}

void overtake_bound::submitted(const pool_job& job, std::uint32_t units) {
  work_ += work_of(job) * units;
  longest_estimate_ = std::max(longest_estimate_, job.estimate);
}

void overtake_bound::withdrawn(const pool_job& job, std::uint32_t units) {
  work_ -= work_of(job) * units;
}

void overtake_bound::started(const pool_job& job, instant start) {
  running_ += job.processors;
  started_at_ += static_cast<double>(start) * job.processors;
}

void overtake_bound::ended(const pool_job& job, instant start) {
  work_ -= work_of(job);
  running_ -= job.processors;
  started_at_ -= static_cast<double>(start) * job.processors;
}

} // namespace troupe::plan
