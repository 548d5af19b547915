// SPDX-License-Identifier: Apache-2.0
// Must not compile: not enough message handlers
#include "actors/shell.hpp"

using namespace troupe;

using answering = protocol<get_status, tick>;

answering::behavior_type behave(auth::guard_observer& guard) {
  return auth::secure_behavior<answering>(
      guard, auth::on<get_status>([](request<get_status>&) { return status_report{}; }));
}
