// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <sys/types.h>

namespace troupe::pmix {

/// The uid that owns the other end of a connected loopback TCP socket, from the kernel: what the
/// peer says of itself is no proof. Refused where the other end is not on this host or is gone.
expected<uid_t> owner_of_peer(int socket);

} // namespace troupe::pmix
