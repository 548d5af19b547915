// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <string>

namespace troupe::cli {

/// Where the private cluster keeps its state: TROUPE_STATE_DIR, $XDG_STATE_HOME/troupe or
/// ~/.local/state/troupe. It alone says which cluster is meant; `up` and `down` look at nothing
/// else.
expected<std::string> state_directory();

/// Where other commands find a cluster: TROUPE_SOCKET, or "socket" in the state directory.
expected<std::string> socket_path();

/// Whether TROUPE_SOCKET names another socket than that of the state directory.
bool is_socket_elsewhere(const std::string& state_directory);

/// Makes `path` and what is missing above it; `path` itself is 0700. Refuses one that belongs to
/// someone else, is open to others, or is a symbolic link.
expected<void> make_private_directory(const std::string& path);

/// Finds a program of Troupe: beside this one, in ../libexec/troupe from here, then in PATH.
expected<std::string> find_program(const std::string& name);

/// Whether the shell would find this command, by its path or in PATH, and may execute it.
bool is_command(const std::string& name);

} // namespace troupe::cli
