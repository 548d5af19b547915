// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/console_format.hpp"
#include "tools/troupe/line_editor.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/table.hpp"

#include <memory>
#include <unistd.h>

namespace troupe::cli {

namespace {

constexpr std::string_view help_text =
    "ps          every actor with its counters\n"
    "tree        the same, who supervises whom\n"
    "show ID     what one actor says of itself; by number or name\n"
    "debug ID    the same, all of it\n"
    "help        this\n"
    "quit        leave\n";

/// "show  job/7" as "show" and "job/7".
std::pair<std::string, std::string> split(std::string_view line) {
  auto trim = [](std::string_view text) {
    auto first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos)
      return std::string{};
    return std::string{text.substr(first, text.find_last_not_of(" \t") - first + 1)};
  };
  auto whole = trim(line);
  auto space = whole.find_first_of(" \t");
  return space == std::string::npos ? std::pair{whole, std::string{}}
                                    : std::pair{whole.substr(0, space), trim(whole.substr(space))};
}

class console {
public:
  console(const invocation& run, session to) : run_{run}, to_{std::move(to)} {}

  /// One command; its exit code.
  int execute(std::string_view line) {
    auto [word, argument] = split(line);
    if (word.empty())
      return exit_code::done;
    if (word == "help")
      return print(help_text) ? exit_code::done : exit_code::failed;
    if (word == "ps" || word == "tree")
      return argument.empty() ? actors(word == "tree")
                              : report_usage(run_, "'" + word + "' takes no argument");
    if (word == "show" || word == "debug")
      return argument.empty() ? report_usage(run_, "'" + word + "' needs an actor; 'ps' lists them")
                              : status(argument, word == "debug");
    return report_usage(run_,
                        "there is no console command '" + word.substr(0, 80) + "'; try 'help'");
  }

private:
  int actors(bool as_tree) {
    auto answer = to_.call(calls::actors{});
    if (!answer)
      return report(run_, answer.error());
    const auto& rows = answer->value.actors;
    auto text = run_.json ? answer->json + "\n"
                : as_tree ? actor_tree(rows)
                          : actor_table(rows).text(terminal_width());
    return print(text) ? exit_code::done : exit_code::failed;
  }

  int status(const std::string& actor, bool all) {
    auto verbosity = all ? status_verbosity::debug : status_verbosity::detailed;
    auto answer = to_.call(calls::actor_status{actor, verbosity});
    if (!answer)
      return report(run_, answer.error());
    auto text = run_.json ? answer->json + "\n" : status_text(answer->value.status);
    return print(text) ? exit_code::done : exit_code::failed;
  }

  const invocation& run_;
  session to_;
};

int converse(console& with) {
  line_editor editor{"troupe> "};
  int last = exit_code::done;
  while (auto line = editor.next()) {
    auto word = split(*line).first;
    if (word == "quit" || word == "exit")
      break;
    last = with.execute(*line);
    if (last == exit_code::unreachable)
      return last;
  }
  // A person at a terminal has seen every error; a script wants to know of the last one.
  return ::isatty(STDIN_FILENO) != 0 ? exit_code::done : last;
}

int open_console(const invocation& run, const std::string& line) {
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  console with{run, std::move(*to)};
  return line.empty() ? converse(with) : with.execute(line);
}

} // namespace

void define_console(CLI::App& app, invocation& run) {
  app.footer("Commands:\n" + std::string{help_text});
  auto line = std::make_shared<std::string>();
  app.add_option("-c", *line, "carry out one command and leave")->type_name("COMMAND");
  run.act = [&run, line] { return open_console(run, *line); };
}

} // namespace troupe::cli
