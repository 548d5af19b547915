// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace troupe::shepherd {

/// One line to standard error, and to whoever listens. From the main thread only.
[[gnu::format(printf, 1, 2)]] void say(const char* format, ...);

/// Who listens from now on.
void hear_what_is_said(std::function<void(const char*)> what);

} // namespace troupe::shepherd
