// SPDX-License-Identifier: Apache-2.0
// Must not compile: no matching (function|member function).*verified_capability
#include "actors/shell.hpp"

using namespace troupe;

void leak(caf::binary_serializer& sink, auth::verified_capability& cap) {
  sink(cap);
}
