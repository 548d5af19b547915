// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/rows.hpp"

#include "tools/troupe/jobs.hpp"
#include "tools/troupe/values.hpp"

#include <algorithm>

namespace troupe::cli {

namespace {

using align = table::align;

std::string seconds_between(utc_ns from, utc_ns to) {
  // A clock that was set back makes no run shorter than nothing.
  return from == 0 ? "-" : format_duration(std::max<std::int64_t>(to - from, 0) / ns_per_s);
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
  auto add = [&](const std::string& more) {
    if (!more.empty())
      text += (text.empty() ? "" : "; ") + more;
  };
  if (row.elements_total > 0 || row.elements_pending == 0)
    add(elements_of(row));
  add(row.reason);
  if (row.expected_start_utc_ns != 0)
    add("starts " + format_time(row.expected_start_utc_ns));
  return text;
}

} // namespace

std::string row_id(const job_row& row) {
  auto id = format_id(row.job);
  return row.elements_total == 0 ? id : id + "_[" + std::to_string(row.elements_total) + "]";
}

table queue_table() {
  return table{{{"ID"},
                {"NAME"},
                {"USER"},
                {"STATE"},
                {"TASKS", align::right},
                {"CORES", align::right},
                {"MEMORY", align::right},
                {"TIME", align::right},
                {"LIMIT", align::right},
                {"WHERE OR WHY"}}};
}

void add_queue_row(table& to, const job_row& row, utc_ns now) {
  to.add({row_id(row), row.name, row.user, state_of(row), std::to_string(row.tasks),
          std::to_string(std::uint64_t{row.tasks} * row.cores_per_task),
          format_memory(row.memory_bytes), seconds_between(row.started_utc_ns, now),
          row.time_limit_s == 0 ? "-" : format_duration(row.time_limit_s), detail_of(row)});
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
                {"GPUS", align::right},
                {"IN USE", align::right},
                {"RUNNING", align::right},
                {"FEATURES"},
                {"REMARKS"}}};
  for (const auto& row : rows) {
    auto remarks = row.reason;
    if (row.oversubscribed)
      remarks += remarks.empty() ? "over-subscribed" : "; over-subscribed";
    result.add({row.name, to_string(row.state), std::to_string(row.cores),
                std::to_string(row.cores_used), format_memory(row.memory_bytes),
                format_memory(row.memory_used_bytes), std::to_string(row.gpus),
                std::to_string(row.gpus_used), std::to_string(row.elements_running),
                joined(row.features), remarks});
  }
  return result;
}

namespace {

std::string limit(std::uint64_t most) {
  return most == 0 ? "-" : std::to_string(most);
}

std::string who_may(const std::vector<std::string>& users, const std::vector<std::string>& groups,
                    const char* sign) {
  std::string text;
  for (const auto& user : users)
    text += (text.empty() ? "" : ",") + user;
  for (const auto& group : groups)
    text += (text.empty() ? "" : ",") + std::string{sign} + group;
  return text;
}

/// "+1:05" late, "-0:30" early.
std::string difference(utc_ns promised, utc_ns started) {
  const auto seconds = (started - promised) / ns_per_s;
  return (seconds < 0 ? "-" : "+") + format_duration(seconds < 0 ? -seconds : seconds);
}

} // namespace

std::string joined(const std::vector<std::string>& words) {
  return words.empty() ? "-" : who_may(words, {}, "");
}

table queues_table(const std::vector<queue_row>& rows) {
  table result{{{"NAME"},
                {"PRIORITY", align::right},
                {"PENDING", align::right},
                {"RUNNING", align::right},
                {"TIME", align::right},
                {"LIMIT", align::right},
                {"JOBS", align::right},
                {"AT ONCE", align::right},
                {"CORES", align::right},
                {"EACH USER"},
                {"WHO"},
                {"PREEMPTS"}}};
  for (const auto& row : rows) {
    const auto time = [](std::uint32_t seconds) {
      return seconds == 0 ? std::string{"-"} : format_duration(seconds);
    };
    std::string each;
    for (auto [count, what] :
         {std::pair{row.user_jobs_max, "jobs"}, std::pair{row.user_running_max, "running"},
          std::pair{row.user_cores_max, "cores"}})
      if (count > 0)
        each += (each.empty() ? "" : ", ") + std::to_string(count) + " " + what;
    const auto who = who_may(row.users, row.groups, "@");
    result.add({row.name + (row.is_default ? "*" : ""), std::to_string(row.priority),
                std::to_string(row.pending), std::to_string(row.running), time(row.time_default_s),
                time(row.time_max_s), limit(row.jobs_max), limit(row.running_max),
                limit(row.cores_max), each.empty() ? "-" : each, who.empty() ? "everyone" : who,
                joined(row.preempts)});
  }
  return result;
}

table reservation_table(const std::vector<reservation_row>& rows) {
  table result{{{"NAME"}, {"FROM"}, {"UNTIL"}, {"NODES"}, {"WHO"}, {"REASON"}}};
  for (const auto& row : rows) {
    const auto who = who_may(row.users, row.accounts, "account ");
    result.add({row.name, format_time(row.start_utc_ns), format_time(row.end_utc_ns),
                joined(row.nodes), who.empty() ? "nobody" : who, row.reason});
  }
  return result;
}

table estimate_table(const std::vector<estimate_row>& rows) {
  table result{{{"ID"},
                {"NAME"},
                {"USER"},
                {"SUBMITTED"},
                {"FIRST PROMISED"},
                {"STARTED"},
                {"OFF BY", align::right},
                {"LAST OFF BY", align::right}}};
  for (const auto& row : rows)
    result.add({format_id(row.job), row.name, row.user, format_time(row.submitted_utc_ns),
                format_time(row.first_promised_utc_ns), format_time(row.started_utc_ns),
                difference(row.first_promised_utc_ns, row.started_utc_ns),
                difference(row.last_promised_utc_ns, row.started_utc_ns)});
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
