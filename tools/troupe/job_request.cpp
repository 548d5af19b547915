// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/job_request.hpp"

#include "messages/json_scan.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/mpi_choice.hpp"
#include "tools/troupe/script.hpp"

#include <algorithm>
#include <array>
#include <climits>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

extern char** environ;

namespace troupe::cli {

namespace {

// What the launcher sets itself; those of a job around this one would only mislead.
constexpr std::array<std::string_view, 12> job_variables{
    "TROUPE_JOB_ID",     "TROUPE_ELEMENT",     "TROUPE_STEP",           "TROUPE_NODELIST",
    "TROUPE_NTASKS",     "TROUPE_RANK",        "TROUPE_NODE",           "TROUPE_SUBMIT_DIR",
    "TROUPE_LOCAL_RANK", "TROUPE_INCARNATION", "TROUPE_TASKS_PER_NODE", "TROUPE_CORES_PER_TASK"};

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    auto length = utf8_length(text);
    if (length == 0)
      return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string name_of(std::string_view variable) {
  return std::string{variable.substr(0, variable.find('='))};
}

std::vector<std::string> environment_of(const invocation& run, const job_options& options) {
  std::map<std::string, std::string, std::less<>> variables;
  auto take = [&](std::string_view variable) {
    variables[name_of(variable)] = std::string{variable};
  };
  for (auto** at = environ; !options.clean_environment && at != nullptr && *at != nullptr; ++at) {
    std::string_view variable{*at};
    auto name = name_of(variable);
    if (name.empty() || name.size() == variable.size() ||
        std::find(job_variables.begin(), job_variables.end(), name) != job_variables.end())
      continue;
    // JSON carries text only; a job should not fail because of a variable that nobody looks at.
    if (is_utf8(variable))
      take(variable);
    else
      notice(run,
             "the environment variable " + name.substr(0, 80) + " is not UTF-8 and is left out");
  }
  for (const auto& variable : options.environment)
    take(variable);
  std::vector<std::string> result;
  result.reserve(variables.size());
  for (auto& [name, variable] : variables)
    result.push_back(std::move(variable));
  return result;
}

std::string path_in(const std::vector<std::string>& environment) {
  for (const auto& variable : environment)
    if (variable.starts_with("PATH="))
      return variable.substr(5);
  return "/usr/local/bin:/usr/bin:/bin";
}

expected<std::string> working_directory(const std::string& given) {
  std::array<char, PATH_MAX> here{};
  if (given.empty() || given.front() != '/')
    if (::getcwd(here.data(), here.size()) == nullptr)
      return fail(errc::not_found, "the current directory cannot be named: " +
                                       varlink::system_message(errno) + "; give --cwd");
  std::string path = given.empty()          ? here.data()
                     : given.front() == '/' ? given
                                            : here.data() + ("/" + given);
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0)
    return fail(errc::not_found, "--cwd: " + path + ": " + varlink::system_message(errno) +
                                     "; the job needs a directory that exists");
  if (!S_ISDIR(found.st_mode))
    return fail(errc::invalid, "--cwd: " + path + " is no directory");
  return path;
}

expected<void> is_text(const job_spec& spec) {
  for (const auto& argument : spec.argv)
    if (!is_utf8(argument))
      return fail(errc::invalid,
                  "an argument of the command is not UTF-8; only such text can be sent");
  if (!is_utf8(spec.script))
    return fail(errc::invalid, "the script is not UTF-8; only such text can be sent");
  for (const auto* path :
       {&spec.cwd, &spec.stdin_path, &spec.stdout_path, &spec.stderr_path, &spec.name})
    if (!is_utf8(*path))
      return fail(errc::invalid, "a path or name is not UTF-8; only such text can be sent");
  return {};
}

tl::unexpected<problem> usage(error why) {
  return tl::unexpected<problem>{problem{exit_code::usage, std::move(why)}};
}

tl::unexpected<problem> refused(error why) {
  return tl::unexpected<problem>{problem{exit_code::failed, std::move(why)}};
}

} // namespace

tl::expected<job_options, problem> make_job(const invocation& run,
                                            const std::vector<given_option>& given) {
  job_options job;
  if (run.words.empty() || run.words.front().empty())
    return usage({errc::invalid, "no command is given; name a program or a script to run"});
  auto script = read_script(run.words.front());
  if (!script)
    return refused(script.error());
  if (*script) {
    auto inside = script_options(run.words.front(), **script);
    if (!inside)
      return usage(inside.error());
    if (auto done = apply_options(*inside, job); !done)
      return usage(done.error());
    job.spec.script = std::move(**script);
  }
  // The command line comes last: it overrides the script.
  if (auto done = apply_options(given, job); !done)
    return usage(done.error());
  auto cwd = working_directory(job.spec.cwd);
  if (!cwd)
    return refused(cwd.error());
  job.spec.cwd = std::move(*cwd);
  job.spec.argv = run.words;
  job.spec.env = environment_of(run, job);
  if (!job.mpi_given && job.spec.script.empty())
    job.spec.mpi = mpi_of_program(run.words.front(), job.spec.cwd, path_in(job.spec.env));
  if (job.spec.name.empty())
    job.spec.name =
        run.words.front().substr(run.words.front().rfind('/') + 1).substr(0, name_bytes_max);
  if (auto fine = is_text(job.spec); !fine)
    return refused(fine.error());
  return job;
}

int report(const invocation& run, const problem& what) {
  notice(run, what.why.text);
  return what.exit;
}

} // namespace troupe::cli
