// SPDX-License-Identifier: Apache-2.0
// Must not compile: every handler stands behind a guard
#include "actors/shell.hpp"

using namespace troupe;

using answering = protocol<get_status>;

answering::behavior_type behave(auth::guard_observer& guard) {
  return auth::secure_behavior<answering>(guard,
                                          [](request<get_status>&) { return status_report{}; });
}
