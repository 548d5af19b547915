// SPDX-License-Identifier: Apache-2.0
// Must not compile: (no matching function|no matching constructor)
#include "actors/shell.hpp"

using namespace troupe;

auto forged = auth::verified_capability{auth::capability{}};
