// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace troupe::shepherd {

/// One line to the job's log (standard error).
[[gnu::format(printf, 1, 2)]] void say(const char* format, ...);

} // namespace troupe::shepherd
