// SPDX-License-Identifier: Apache-2.0
// Must not compile: (is private within this context|is a private member)
#include "actors/shell.hpp"

using namespace troupe;

auto forged = std::make_shared<const auth::verified_capability::facts>();
