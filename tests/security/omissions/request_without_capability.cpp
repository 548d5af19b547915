// SPDX-License-Identifier: Apache-2.0
// Must not compile: (could not convert|no viable conversion).*get_status
#include "actors/shell.hpp"

using namespace troupe;

auto alone = request<get_status>{get_status{}};
