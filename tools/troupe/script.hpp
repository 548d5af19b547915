// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/troupe/spec_options.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace troupe::cli {

/// The script that `word`, the first of a command, names: its bytes; nothing when it is a program
/// to be started by its name. A script is a file that begins with "#!"; only a word with a slash,
/// or a file of that name here, is one. Errors: a path that is not there, a directory, a file that
/// is neither program nor script, one over the limit.
expected<std::optional<std::string>> read_script(const std::string& word);

/// The options in the #TROUPE lines at the head of a script, up to its first command. Errors name
/// file and line.
expected<std::vector<given_option>> script_options(const std::string& file, std::string_view text);

} // namespace troupe::cli
