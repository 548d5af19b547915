// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/rows.hpp"

#include "tools/troupe/jobs.hpp"
#include "tools/troupe/values.hpp"

namespace troupe::cli {

namespace {

using align = table::align;

std::string seconds_between(utc_ns from, utc_ns to) {
  return from == 0 ? "-" : format_duration((to - from) / ns_per_s);
}

std::string state_of(const job_row& row) {
  if (row.held && row.state == job_state::pending)
    return "held";
  return to_string(row.state);
}

/// What an array's elements are doing, as the last column of a queue.
std::string elements_of(const job_row& row) {
  std::string text;
  auto add = [&](std::uint32_t count, const char* what) {
    if (count > 0)
      text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  add(row.elements_running, "running");
  add(row.elements_pending, "pending");
  add(row.elements_failed, "failed");
  return text;
}

std::string detail_of(const job_row& row) {
  auto text = row.nodelist;
  for (const auto& more : {elements_of(row), row.reason})
    if (!more.empty())
      text += (text.empty() ? "" : "; ") + more;
  return text;
}

} // namespace

std::string row_id(const job_row& row) {
  auto id = format_id(row.job);
  return row.elements_total == 0 ? id : id + "_[" + std::to_string(row.elements_total) + "]";
}

table queue_table(const std::vector<job_row>& rows, utc_ns now) {
  table result{{{"ID"},
                {"NAME"},
                {"USER"},
                {"STATE"},
                {"TASKS", align::right},
                {"CORES", align::right},
                {"MEMORY", align::right},
                {"TIME", align::right},
                {"LIMIT", align::right},
                {"WHERE OR WHY"}}};
  for (const auto& row : rows)
    result.add({row_id(row), row.name, row.user, state_of(row), std::to_string(row.tasks),
                std::to_string(std::uint64_t{row.tasks} * row.cores_per_task),
                format_memory(row.memory_bytes), seconds_between(row.started_utc_ns, now),
                row.time_limit_s == 0 ? "-" : format_duration(row.time_limit_s), detail_of(row)});
  return result;
}

table history_table(const std::vector<job_row>& rows) {
  table result{{{"ID"},
                {"NAME"},
                {"USER"},
                {"TASKS", align::right},
                {"CORES", align::right},
                {"ENDED"},
                {"TIME", align::right},
                {"HOW"},
                {"WHERE OR WHY"}}};
  for (const auto& row : rows)
    result.add({row_id(row), row.name, row.user, std::to_string(row.tasks),
                std::to_string(std::uint64_t{row.tasks} * row.cores_per_task),
                format_time(row.ended_utc_ns),
                seconds_between(row.started_utc_ns, row.ended_utc_ns),
                describe_end(row.state, row.exit_code, row.signal), detail_of(row)});
  return result;
}

table node_table(const std::vector<node_row>& rows) {
  table result{{{"NAME"},
                {"STATE"},
                {"CORES", align::right},
                {"IN USE", align::right},
                {"MEMORY", align::right},
                {"IN USE", align::right},
                {"RUNNING", align::right},
                {"REMARKS"}}};
  for (const auto& row : rows) {
    auto remarks = row.reason;
    if (row.oversubscribed)
      remarks += remarks.empty() ? "over-subscribed" : "; over-subscribed";
    result.add({row.name, to_string(row.state), std::to_string(row.cores),
                std::to_string(row.cores_used), format_memory(row.memory_bytes),
                format_memory(row.memory_used_bytes), std::to_string(row.elements_running),
                remarks});
  }
  return result;
}

void append_rows_json(std::string& to, std::string_view reply) {
  auto open = reply.find('[');
  auto close = reply.rfind(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close <= open + 1)
    return;
  if (to.back() != '[')
    to += ',';
  to += reply.substr(open + 1, close - open - 1);
}

} // namespace troupe::cli
