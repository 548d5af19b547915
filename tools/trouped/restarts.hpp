// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"

namespace troupe::daemon {

/// Everything that counts is durable, so a defect is met by starting this program over from that,
/// with the same arguments: at most five times in a minute. `lock`, the state directory's, is kept
/// over it. To be called once, before the others; what it is given has to stay.
void prepare_to_start_over(char** argv, const unique_fd& lock);

/// Returns when that is used up, or the program cannot be executed. Safe in a signal handler.
void start_over();

/// From now on what ends this process by itself (SIGABRT of a library, a fault in memory) starts it
/// over.
void start_over_on_defects();

} // namespace troupe::daemon
