// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <string>

namespace troupe::cli {

enum class purge_outcome { removed, nothing_there };

/// Removes Troupe's files (runtime/state/files.hpp) from a state directory, then the directory; one
/// with a troupe.toml stays for that. Follows no symbolic link. Only where Troupe's mark is, only
/// the caller's own, while no process holds anything in it, and nothing at all where there is
/// something that is not Troupe's: else an error says so and nothing was removed. The caller has
/// its turn (runtime/state/locks.hpp).
expected<purge_outcome> purge_state(const std::string& directory);

} // namespace troupe::cli
