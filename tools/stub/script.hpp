// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace troupe::stub {

/// Becomes a job's script, in an environment that tells mpirun its nodes. Returns where it cannot.
int run_script(char** argv);

} // namespace troupe::stub
