// SPDX-License-Identifier: Apache-2.0
// Must compile: what the files beside it leave out is here, so that they fail for that alone.
#include "actors/shell.hpp"

using namespace troupe;

using answering = protocol<get_status>;

answering::behavior_type behave(auth::guard_observer& guard) {
  return auth::secure_behavior<answering>(
      guard, auth::on<get_status>([](request<get_status>&) { return status_report{}; }));
}

void send(caf::event_based_actor& self, const answering& to, const auth::verified_capability& cap) {
  self.send(to, request<get_status>{cap, get_status{}});
}
