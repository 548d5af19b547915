// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"
#include "tools/troupe/table.hpp"

#include <string>
#include <vector>

namespace troupe::cli {

/// One row for each actor.
table actor_table(const std::vector<actor_row>& rows);

/// The same by supervision, drawn with lines. An actor whose parent is not there, or is below it,
/// is a root.
std::string actor_tree(const std::vector<actor_row>& rows);

/// What one actor said of itself.
std::string status_text(const status_report& report);

} // namespace troupe::cli
