// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/guard.hpp"
#include "messages/types.hpp"

// What orders of elements and of steps have in common.

namespace troupe::actors {

/// Whether several of its elements or ranks may write to one file.
inline bool shares_files(const job_spec& spec) {
  const auto is_file = [](const std::string& path) { return !path.empty() && path != "|"; };
  return (spec.array || spec.tasks > 1) && (is_file(spec.stdout_path) || is_file(spec.stderr_path));
}

/// Whether what the authority refuses may be signed later, or when it is made anew.
inline bool passes(const caf::error& why) {
  const auto refused = auth::refusal_of(why);
  return refused &&
         (refused->why == auth::reason::too_many || refused->why == auth::reason::expired ||
          refused->why == auth::reason::not_yet_valid);
}

} // namespace troupe::actors
