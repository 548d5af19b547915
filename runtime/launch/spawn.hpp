// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/launch/client.hpp"

#include <sys/types.h>

namespace troupe::launch {

/// Where a launcher is and how it is reached.
struct launcher_place {
  std::string program; ///< path of troupe-launcher
  std::string state;   ///< its state directory, enrolled
  std::string socket;  ///< at most 107 bytes
};

/// What `troupe-launcher enroll` writes down.
struct enrolment {
  fixed_bytes<16> cluster_id{};
  std::string nodes; ///< "1-4"
  uid_t peer_uid = 0;
  fixed_bytes<32> root_key{};
  bool is_private = true;
};

/// Runs `troupe-launcher enroll` and waits for it.
expected<void> enroll_launcher(const launcher_place& place, const enrolment& what);

/// Starts a launcher that outlives the caller: its own session, no descriptor of the caller's, its
/// messages appended to `launcher.log` in its state directory. Answers its pid; it is a child of
/// the caller until the caller ends. `extra` are further options. Call this before starting threads
/// or filling memory: it is cheap then.
expected<pid_t> spawn_launcher(const launcher_place& place,
                               const std::vector<std::string>& extra = {});

/// Connects to the launcher at `place`, or starts it when none listens there; `deadline` covers
/// both. `spawned` tells which it was.
expected<launcher_client> find_or_spawn_launcher(const launcher_place& place, byte_view keyring,
                                                 std::chrono::milliseconds deadline,
                                                 bool* spawned = nullptr);

} // namespace troupe::launch
