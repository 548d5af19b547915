// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/spec_options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <poll.h>
#include <unistd.h>

namespace troupe::cli {

namespace {

constexpr const char* job_words = "COMMAND [ARGUMENT...] | SCRIPT [ARGUMENT...]";

constexpr std::array table{
    command{"up", "start a private cluster, or say that it is up", define_up, nullptr, false},
    command{"down", "stop the private cluster", define_down},
    command{"run", "run a command as a job and wait for it", define_run, job_words},
    command{"submit", "submit a command or script as a job; prints its id", define_submit,
            job_words},
    command{"alloc", "run a command here with an allocation for its steps", define_alloc,
            "COMMAND [ARGUMENT...]"},
    command{"attach", "run a shell or a command inside a running job", define_attach,
            "ID [COMMAND [ARGUMENT...]]"},
    command{"wait", "wait until jobs have ended", define_wait},
    command{"cancel", "end jobs, or withdraw them", define_cancel},
    command{"hold", "keep pending jobs from starting", define_hold},
    command{"release", "let held jobs start", define_release},
    command{"modify", "change what pending jobs ask for", define_modify},
    command{"signal", "send a signal to running jobs", define_signal},
    command{"logs", "print what a job wrote", define_logs},
    command{"show", "tell all about a job", define_show},
    command{"why", "tell why a job waits and when it may start", define_why},
    command{"queue", "list jobs that have not ended", define_queue},
    command{"history", "list jobs that have ended", define_history},
    command{"queues", "list queues, their limits and what is in them", define_queues},
    command{"nodes", "list nodes and what of them is in use", define_nodes},
    command{"drain", "let nothing more start on nodes", define_drain},
    command{"resume", "take drained nodes into use again", define_resume},
    command{"reserve", "keep nodes for some jobs for a time", define_reserve},
    command{"config", "check, show or reload the configuration", define_config},
    command{"cap", "look at capabilities and the keys that sign them, and narrow them", define_cap},
    command{"audit", "look at the audit chain, or check it", define_audit},
    command{"ledger", "check the ledger, or make it again from its events", define_ledger},
    command{"backup", "copy the ledger to a new file", define_backup},
    command{"console", "look at the actors of a running cluster", define_console},
    command{"simulate", "replay a workload log under a scheduling policy", define_simulate, nullptr,
            false},
    command{"version", "print the version", define_version, nullptr, false},
};

/// CLI11's help with a usage line that tells where a job's command stands.
class help_format : public CLI::Formatter {
public:
  explicit help_format(const char* words) : words_{words} { column_width(34); }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    if (words_ == nullptr)
      return CLI::Formatter::make_usage(app, std::move(name));
    return "Usage: " + app->get_name() + " [OPTIONS] " + words_ + "\n\n";
  }

private:
  const char* words_;
};

const command* find(std::string_view name) {
  auto at = std::find_if(table.begin(), table.end(),
                         [&](const command& one) { return name == one.name; });
  return at == table.end() ? nullptr : &*at;
}

int help_of_all() {
  std::string text = "Troupe runs jobs on a cluster, or on this machine.\n\nUsage: troupe COMMAND "
                     "[OPTIONS] …\n\nCommands:\n";
  for (const auto& one : table) {
    std::string name{one.name};
    text += "  " + name + std::string(10 - std::min<std::size_t>(name.size(), 9), ' ') +
            one.summary + "\n";
  }
  text += "\n'troupe COMMAND --help' tells about one of them. 'troupe up' starts a cluster of your "
          "own.\n";
  return print(text) ? exit_code::done : exit_code::failed;
}

/// CLI11's sentences, made ours where they do not say what to do.
std::string sentence(const CLI::App& app, const CLI::ParseError& wrong) {
  if (dynamic_cast<const CLI::ExtrasError*>(&wrong) != nullptr && app.remaining_size(true) > 0)
    return "unknown argument " + app.remaining(true).front().substr(0, 80);
  auto actions = app.get_subcommands({});
  if (!actions.empty() && dynamic_cast<const CLI::RequiredError*>(&wrong) != nullptr &&
      app.get_subcommands().empty()) {
    std::string names;
    for (const auto* action : actions)
      names += (names.empty() ? "" : ", ") + action->get_name();
    return "name one of its actions: " + names;
  }
  std::string text = wrong.what();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

int run_command(const command& what, std::vector<std::string> words) {
  invocation run;
  run.command = what.name;
  CLI::App app{what.summary};
  define(what, app, run);
  if (what.words != nullptr) {
    auto begin = find_command(app, words);
    if (!begin)
      return report_usage(run, begin.error().text);
    auto at = words.begin() + static_cast<std::ptrdiff_t>(*begin);
    run.words.assign(at != words.end() && *at == "--" ? at + 1 : at, words.end());
    words.erase(at, words.end());
  }
  try {
    // CLI11 takes its words from the back.
    std::reverse(words.begin(), words.end());
    app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    return print(app.help()) ? exit_code::done : exit_code::failed;
  } catch (const CLI::ParseError& wrong) {
    return report_usage(run, sentence(app, wrong) + "; see 'troupe " + run.command + " --help'");
  }
  return run.act();
}

} // namespace

std::span<const command> commands() {
  return table;
}

void define(const command& what, CLI::App& app, invocation& run) {
  app.name("troupe " + std::string{what.name});
  app.formatter(std::make_shared<help_format>(what.words));
  app.set_help_flag("-h,--help", "print this help and exit");
  app.add_flag("--json", run.json, "print JSON: one document, or one per line for streams");
  if (what.has_session)
    app.add_option("--capability", run.capability,
                   "act under the capability in this file alone; 'troupe cap attenuate' makes one")
        ->type_name("FILE");
  what.define(app, run);
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    auto written = ::write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd wait{fd, POLLOUT, 0};
      ::poll(&wait, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool print(std::string_view text) {
  return write_all(STDOUT_FILENO, text);
}

void notice(const invocation& run, std::string_view text) {
  std::string line = "troupe " + run.command + ": " + std::string{text};
  std::replace(line.begin(), line.end(), '\n', ' ');
  write_all(STDERR_FILENO, line + "\n");
}

int report(const invocation& run, const error& why) {
  notice(run, why.text);
  return why.code == errc::unreachable ? exit_code::unreachable : exit_code::failed;
}

int report_usage(const invocation& run, std::string_view why) {
  notice(run, why);
  return exit_code::usage;
}

int main_of(std::vector<std::string> words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help")
    return words.size() == 2 && find(words[1]) != nullptr ? run_command(*find(words[1]), {"--help"})
                                                          : help_of_all();
  if (words[0] == "--version")
    words[0] = "version";
  if (words[0] == "--man")
    return print(man_page(words.size() > 1 ? words[1] : "")) ? exit_code::done : exit_code::failed;
  const auto* what = find(words[0]);
  if (what == nullptr) {
    write_all(STDERR_FILENO, "troupe: there is no command '" + words[0].substr(0, 80) +
                                 "'; see 'troupe --help'\n");
    return exit_code::usage;
  }
  return run_command(*what, {words.begin() + 1, words.end()});
}

} // namespace troupe::cli
