// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace troupe::stub {

/// Gives this process, and all that come from it, its node's name as the name of its host, where
/// that has another one: virtual nodes share theirs. Answers 0, or the error of a host that allows
/// nobody to do so; nothing has changed then. Ends the process where it is left halfway.
int take_host_name(const char* node);

} // namespace troupe::stub
