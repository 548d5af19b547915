// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

namespace troupe::cli {

/// Whether a private cluster keeps a file (or folder) of this name in its state directory.
bool is_state_file(std::string_view name);

/// Removes Troupe's files from a state directory, then the directory. Follows no symbolic link.
/// Answers the name of something that is not ours; then nothing was removed. A directory that is
/// not there is fine.
expected<std::string> purge_state(const std::string& directory);

} // namespace troupe::cli
