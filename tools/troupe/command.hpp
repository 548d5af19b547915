// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <CLI/App.hpp>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::cli {

/// Exit codes of every command (DESIGN, section 10).
namespace exit_code {
inline constexpr int done = 0;
inline constexpr int failed = 1;
inline constexpr int usage = 2;
inline constexpr int unreachable = 75;
} // namespace exit_code

/// One run of the program: which command, what is common to all of them.
struct invocation {
  std::string command; ///< "submit"
  bool json = false;
  std::string capability;         ///< a file made by 'cap attenuate'; empty: what the cluster gives
  std::vector<std::string> words; ///< of run and submit: the job's command
  std::function<int()> act;       ///< set by the command's definition, called after parsing
};

/// One command. `define` adds its options to `app` and sets `act`; what the options fill must
/// outlive the parse, so `act` owns it.
struct command {
  const char* name;
  const char* summary; ///< one line, for the list of commands
  void (*define)(CLI::App& app, invocation& run);
  const char* words = nullptr; ///< what comes after its options and is not looked at for more
  bool has_session = true;     ///< asks the cluster under a capability
};

/// All commands, in the order of `troupe --help`.
std::span<const command> commands();

/// The whole program: the words after its name; answers the exit code.
int main_of(std::vector<std::string> words);

/// Defines a command with what all have in common: --help and --json.
void define(const command& what, CLI::App& app, invocation& run);

/// Every command defines itself in the file of its name.
void define_alloc(CLI::App& app, invocation& run);
void define_attach(CLI::App& app, invocation& run);
void define_audit(CLI::App& app, invocation& run);
void define_backup(CLI::App& app, invocation& run);
void define_cancel(CLI::App& app, invocation& run);
void define_cap(CLI::App& app, invocation& run);
void define_config(CLI::App& app, invocation& run);
void define_console(CLI::App& app, invocation& run);
void define_down(CLI::App& app, invocation& run);
void define_drain(CLI::App& app, invocation& run);
void define_history(CLI::App& app, invocation& run);
void define_hold(CLI::App& app, invocation& run);
void define_ledger(CLI::App& app, invocation& run);
void define_logs(CLI::App& app, invocation& run);
void define_modify(CLI::App& app, invocation& run);
void define_nodes(CLI::App& app, invocation& run);
void define_queue(CLI::App& app, invocation& run);
void define_queues(CLI::App& app, invocation& run);
void define_release(CLI::App& app, invocation& run);
void define_reserve(CLI::App& app, invocation& run);
void define_resume(CLI::App& app, invocation& run);
void define_run(CLI::App& app, invocation& run);
void define_show(CLI::App& app, invocation& run);
void define_signal(CLI::App& app, invocation& run);
void define_simulate(CLI::App& app, invocation& run);
void define_submit(CLI::App& app, invocation& run);
void define_up(CLI::App& app, invocation& run);
void define_version(CLI::App& app, invocation& run);
void define_wait(CLI::App& app, invocation& run);
void define_why(CLI::App& app, invocation& run);

/// One line on standard error: "troupe submit: …". Answers the exit code for the error.
int report(const invocation& run, const error& why);

/// The same for wrong usage: exit code 2.
int report_usage(const invocation& run, std::string_view why);

/// One line on standard error without ending anything.
void notice(const invocation& run, std::string_view text);

/// Writes all of `text` to `fd`; false when nobody reads it any more.
bool write_all(int fd, std::string_view text);

/// Writes all of `text` to standard output; false when nobody reads it any more.
bool print(std::string_view text);

/// The page of one command, or of the program for an empty name, in roff.
std::string man_page(const std::string& command_name);

} // namespace troupe::cli
