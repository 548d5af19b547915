// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/calls.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <memory>
#include <string>
#include <vector>

// What the commands about jobs share: how jobs are chosen, and how changes and rows are told.

namespace troupe::cli {

/// Ids and filters as they were given.
struct job_choice {
  std::vector<std::string> ids;
  bool all = false;
  std::string user;
  std::string name;
  std::string queue;
  std::vector<std::string> states;
};

/// Defines ids and filters on `app`. The result must live until the command has run.
std::shared_ptr<job_choice> define_job_choice(CLI::App& app);

/// As the cluster understands it. Errors are wrong usage.
expected<job_selector> to_selector(const job_choice& from);

/// The same, where an empty choice would mean too much: at least one id, filter or --all is needed.
expected<job_selector> to_deliberate_selector(const job_choice& from);

/// Takes the ids of steps out of a choice: "812.1". Errors are wrong usage.
expected<std::vector<job_step_id>> take_steps(job_choice& from);

/// Whether anything is chosen at all.
bool is_empty(const job_choice& choice);

/// Ends these steps (signal 0), or sends them a signal; answers the exit code.
int change_steps(const invocation& run, session& to, const std::vector<job_step_id>& steps,
                 std::int32_t number, const std::string& reason, const std::string& done);

/// Tells what a change did, in one line or JSON, and answers the exit code: 1 when any job refused.
int tell_change(const invocation& run, const calls::change_reply& what, const std::string& json,
                const char* done);

/// When and where a job would start, in one or two lines.
std::string describe_forecast(const start_forecast& what);

/// "completed", "exit code 3", "SIGKILL".
std::string describe_end(job_state state, std::int32_t exit_code, std::int32_t signal);

} // namespace troupe::cli
