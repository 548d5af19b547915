// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/troupe/job_request.hpp"

namespace troupe::cli {

/// Decides what of the job's input and output is streamed from and to here, as `run` does.
tl::expected<void, problem> lend_streams(job_options& job);

/// Submits the job, or starts the step, and stays with it to its end; answers its exit code.
int run_in_foreground(const invocation& run, job_options job);

} // namespace troupe::cli
