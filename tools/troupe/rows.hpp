// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/scheduling.hpp"
#include "tools/troupe/table.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe::cli {

/// Jobs that have not ended; a row is added when it arrives.
table queue_table();
void add_queue_row(table& to, const job_row& row, utc_ns now);

/// Jobs that have ended.
table history_table(const std::vector<job_row>& rows);

table node_table(const std::vector<node_row>& rows);

table queues_table(const std::vector<queue_row>& rows);

table reservation_table(const std::vector<reservation_row>& rows);

/// Started jobs with what they had been promised.
table estimate_table(const std::vector<estimate_row>& rows);

/// "a,b"; "-" without any.
std::string joined(const std::vector<std::string>& words);

/// "812"; of an array with its number of elements: "812_[1000]".
std::string row_id(const job_row& row);

/// Appends the members of the list "rows" in `reply`, a reply's text, to a JSON list that is being
/// written.
void append_rows_json(std::string& to, std::string_view reply);

} // namespace troupe::cli
