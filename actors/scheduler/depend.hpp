// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

namespace troupe::actors {

/// Does the dependency hold, with the other job as `row` tells it?
bool is_met(const job_dependency& dependency, const job_row& row);

/// Why it can never hold any more; "" while it can.
std::string unmet(const job_dependency& dependency, const job_row& row);

} // namespace troupe::actors
