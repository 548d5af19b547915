// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/state/records.hpp"

#include <cstdint>

namespace troupe::cli {

/// Processing units this process may use: what a private cluster shares.
std::uint32_t machine_cores();

/// One node with all of the machine's.
state::shape default_shape();

/// "2 nodes with 4 cores each".
std::string describe(const state::shape& of);

/// How many more cores it has than the machine; empty when it has not.
std::string describe_sharing(const state::shape& of);

} // namespace troupe::cli
