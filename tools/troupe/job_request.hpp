// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/troupe/command.hpp"
#include "tools/troupe/spec_options.hpp"

namespace troupe::cli {

/// Why there is no job to submit, and the exit code that this means.
struct problem {
  int exit = exit_code::failed;
  error why;
};

/// The job that options, script and command of `run` ask for; where its output goes is left as it
/// was given.
tl::expected<job_options, problem> make_job(const invocation& run,
                                            const std::vector<given_option>& given);

/// Says it in one line and answers the exit code.
int report(const invocation& run, const problem& what);

} // namespace troupe::cli
