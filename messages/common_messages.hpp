// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/guard.hpp"
#include "messages/events.hpp"
#include "messages/types.hpp"

#include <map>
#include <memory>
#include <vector>

// What every message needs, and the messages every actor answers.

namespace troupe {

using auth::kind_set;
using auth::request;
using auth::verb;
using bytes = std::vector<std::uint8_t>;
using launcher_instance = fixed_bytes<16>;

// == Everybody ==================================================================================

/// Asks any actor how it is. Answers names and values; more of them with more verbosity.
struct get_status {
  status_verbosity verbosity = status_verbosity::info;
  using answer = status_report;
};

/// A timer of the actor's own has fired.
struct tick {
  std::uint32_t timer = 0;
  using answer = void;
};

} // namespace troupe
