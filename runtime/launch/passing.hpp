// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/launch/protocol.hpp"

#include <cerrno>

// What passes by itself: such a refusal or failed start never ends an element, it waits and is
// ordered again. Everything else is final.

namespace troupe::launch {

/// Whether a launcher that refuses an order for this reason may take it later.
inline constexpr bool passes(reason why) {
  switch (why) {
  case reason::busy:           // it is being shut down, or has another peer
  case reason::table_full:     // records to acknowledge, groups to forget
  case reason::expired:        // the order waited too long on its way; a new one is signed
  case reason::wrong_instance: // it was made for an earlier start of the launcher
  case reason::not_connected:
  case reason::system: return true; // the kernel did not give something
  case reason::malformed:
  case reason::keyring:
  case reason::unknown_key:
  case reason::signature:
  case reason::wrong_cluster:
  case reason::wrong_node:
  case reason::identity:
  case reason::wrong_spec:
  case reason::repeated:
  case reason::not_found:
  case reason::unsupported: return false;
  }
  return false;
}

/// Whether an errno means that processes, descriptors or memory ran out for a while.
inline constexpr bool is_shortage(int error) {
  return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE ||
         error == ENOBUFS;
}

/// Whether a failed start may be tried again: nothing ran, and what was missing may come back.
inline constexpr bool passes(const record& what) {
  return what.what == record_kind::start_failed && (what.flags & record_never_ran) != 0 &&
         is_shortage(what.error);
}

} // namespace troupe::launch
