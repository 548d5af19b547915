// SPDX-License-Identifier: Apache-2.0
// Must not compile: receiver does not accept given message
#include "actors/shell.hpp"

using namespace troupe;

void send(caf::event_based_actor& self, const protocol<get_status>& to) {
  self.send(to, get_status{});
}
