// SPDX-License-Identifier: Apache-2.0
// Must not compile: a message of this interface comes without a capability
#include "actors/shell.hpp"

using namespace troupe;

using answering = caf::typed_actor<caf::replies_to<get_status>::with<status_report>>;

answering::behavior_type behave(auth::guard_observer& guard) {
  return auth::secure_behavior<answering>(
      guard, auth::on<get_status>([](request<get_status>&) { return status_report{}; }));
}
