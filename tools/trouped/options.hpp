// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/system_journal.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace troupe::daemon {

/// What trouped is told on its command line.
struct options {
  bool is_private = false;
  bool foreground = false;
  bool paused = false; ///< nothing is started: it is there to end what runs
  std::string state;
  std::string socket;
  std::string config; ///< troupe.toml; "": all is default
  std::uint32_t nodes = 1;
  std::uint32_t cores = 0;        ///< per node; 0: an equal part of the machine
  std::uint64_t memory_bytes = 0; ///< per node; 0: an equal part of the machine
  std::string ledger;             ///< "check", "rebuild" or "backup=FILE" instead of serving
  /// How long a job of `troupe run` outlives the loss of its client.
  std::uint32_t attached_grace_s = 60;
  /// The socket of the system's journal; "": heads of the audit chain go nowhere else.
  std::string journal{auth::system_journal::usual_socket};
};

/// Reads the command line; nothing when the process should end with `exit_code` at once.
std::optional<options> read_options(int argc, char** argv, int& exit_code);

} // namespace troupe::daemon
