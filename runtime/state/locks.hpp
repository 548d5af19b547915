// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>

namespace troupe::state {

/// Who holds a lock. The number is 0 when that process cannot be seen from here: it is on another
/// host or in another container.
struct lock_holder {
  pid_t pid = 0;
};

/// The process that holds the lock on this file, if one does. A file that is not there is not held.
std::optional<lock_holder> holder_of(const std::string& path);

/// The process that serves this state directory (`trouped`): who holds its lock or, as a daemon of
/// an earlier release does, its ledger alone. And the one that runs its jobs (its launcher).
std::optional<lock_holder> daemon_of(const std::string& directory);
std::optional<lock_holder> launcher_of(const std::string& directory);

/// The host that the daemon runs on, as it has said itself, if that is another one than this.
std::optional<std::string> other_host(const std::string& directory);

/// "process 812", or that it cannot be seen from here.
std::string describe(const lock_holder& who);

/// Becomes the daemon of this state directory: held until the process ends, over an execve too
/// where `keep_over_exec` is called before. errc::conflict when another one is.
expected<unique_fd> become_daemon(const std::string& directory);
void keep_over_exec(const unique_fd& lock);

/// Puts up, down and purge of one state directory in order: waits until no other of them is at
/// work, and calls `waiting` with who is, once, after a second. The directory must exist; if a
/// purge has removed it meanwhile, errc::not_found.
expected<unique_fd> take_turn(const std::string& directory,
                              const std::function<void(const lock_holder&)>& waiting);

} // namespace troupe::state
