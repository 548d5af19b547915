// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/types.hpp"
#include "runtime/sim/workload.hpp"

#include <span>
#include <string>

namespace troupe::sim {

/// "job,submit,start,run,procs" and a line for each job, by submission. `starts` belongs to `jobs`.
std::string starts_csv(std::span<const workload_job> jobs, std::span<const plan::instant> starts);

/// Writes it to a file, replacing one that is there. Fails (`errc::storage`) if not all of
/// it could be written.
expected<void> write_starts_file(const std::string& path, std::span<const workload_job> jobs,
                                 std::span<const plan::instant> starts);

} // namespace troupe::sim
