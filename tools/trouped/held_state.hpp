// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"
#include "runtime/state/records.hpp"
#include "tools/trouped/options.hpp"

#include <spdlog/logger.h>

namespace troupe::daemon {

/// The state directory in this process's hands, seen to be whole and marked as Troupe's.
struct held_state {
  unique_fd lock; ///< until the process ends
  state::mark mark;
  bool has_pid_file = false;
};

/// Makes the directory if it is missing, becomes its daemon and looks at what is in it; nothing
/// that is there is opened or made by this. errc::conflict where another trouped serves it.
expected<held_state> hold_state(const options& how, spdlog::logger& log);

/// Remembers, for the next start, what this one has made and as what it serves.
expected<void> remember_start(const options& how, held_state& held, const std::string& cluster);

/// Sees that the threads can be made that the cluster needs, while there is nothing to be ended
/// yet.
expected<void> try_threads();

} // namespace troupe::daemon
