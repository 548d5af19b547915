// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace troupe::daemon {

/// Starts this program over with the same arguments: everything that counts is durable, so a defect
/// is met by starting from that. At most five times in a minute; returns when that is used up.
void start_over(char** argv);

} // namespace troupe::daemon
