// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/state/records.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/session.hpp"

#include <optional>
#include <string>
#include <sys/types.h>

namespace troupe::cli {

/// What a trouped is started as.
struct daemon_start {
  std::string state;
  state::shape shape;
  bool paused = false;     ///< it is to end what runs, and starts nothing
  bool foreground = false; ///< its words go to the terminal
};

using cluster_now = answered<calls::summary::reply>;

/// A state directory whose sockets have paths that the system can take, or a sentence.
expected<std::string> usable_state_directory();

/// The configuration's file that a cluster of this shape has; "" for none.
std::string configuration_file(const std::string& state, const state::shape& shape);

/// Starts trouped in a session of its own, its words going to its log, and waits until it answers.
/// The caller has its turn (runtime/state/locks.hpp).
expected<cluster_now> start_daemon(const invocation& run, const daemon_start& how);

/// Becomes trouped; returns only when that fails.
error become_daemon(const daemon_start& how);

/// Runs a trouped that serves nobody and looks after the ledger instead. Answers the JSON that it
/// says. The caller has its turn.
expected<std::string> run_daemon_once(const std::string& state, const std::string& action);

/// How many processes of jobs live that a launcher left when it and its keeper were killed.
expected<std::uint32_t> count_survivors(const std::string& state);

/// Waits until the trouped that serves the directory answers as ready. Nothing when it has ended
/// instead; errc::unreachable when it lives and has not answered in time.
expected<std::optional<cluster_now>> await_daemon(const invocation& run, const std::string& state);

} // namespace troupe::cli
