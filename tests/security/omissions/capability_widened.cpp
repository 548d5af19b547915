// SPDX-License-Identifier: Apache-2.0
// Must not compile: (discards qualifiers|not marked const)
#include "actors/shell.hpp"

using namespace troupe;

void widen(auth::verified_capability& cap) {
  cap.fields().verbs = auth::verb_set{auth::verb::cluster_stop};
}
