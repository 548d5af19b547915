// SPDX-License-Identifier: Apache-2.0
#include "tests/catch.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/job_request.hpp"
#include "tools/troupe/script.hpp"

#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace troupe;
using namespace troupe::cli;

namespace {

class work_directory {
public:
  work_directory() {
    char pattern[] = "/tmp/troupe-command-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    path_ = pattern;
  }
  ~work_directory() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream{path_ + "/" + name} << text;
    return path_ + "/" + name;
  }
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

job_options options_of(std::string_view script) {
  auto given = script_options("job.sh", script);
  REQUIRE(given);
  job_options job;
  REQUIRE(apply_options(*given, job));
  return job;
}

std::string refusal_of(std::string_view script) {
  auto given = script_options("job.sh", script);
  return given ? "accepted" : given.error().text;
}

std::size_t command_at(std::vector<std::string> words) {
  CLI::App app;
  std::vector<given_option> given;
  define_spec_options(app, given);
  auto at = find_command(app, words);
  return at ? *at : 999;
}

} // namespace

TEST_CASE("options in #TROUPE lines mean what they mean on the command line") {
  auto job = options_of("#!/bin/sh\n"
                        "# a comment\n"
                        "#TROUPE -n 4 --mem=2G\n"
                        "\n"
                        "#TROUPE --name 'two words' -t 2h # why so long\n"
                        "#TROUPE -a 1-10%2 --exclusive\n"
                        "#TROUPER is something else\n"
                        "echo hello\n"
                        "#TROUPE -n 8\n");
  CHECK(job.spec.tasks == 4);
  CHECK(job.spec.memory_bytes == 2ull << 30);
  CHECK(job.spec.name == "two words");
  CHECK(job.spec.time_limit_s == 7200);
  REQUIRE(job.spec.array);
  CHECK(job.spec.array->running_max == 2);
  CHECK(job.spec.exclusive);
}

TEST_CASE("a mistake in a #TROUPE line names file and line") {
  CHECK(refusal_of("#!/bin/sh\n\n#TROUPE --mem 12Q\n") ==
        "job.sh:3: --mem: '12Q' is no memory size; write it like 512M, 4G or a number of bytes");
  CHECK(refusal_of("#TROUPE --bogus\n").find("job.sh:1: unknown option --bogus") == 0);
  CHECK(refusal_of("#TROUPE -n 4 true\n").find("job.sh:1: 'true' is no option") == 0);
  CHECK(refusal_of("#TROUPE --name 'open\n").find("job.sh:1: a quote") == 0);
  CHECK(refusal_of("#TROUPE -n\n").find("job.sh:1: ") == 0);
  CHECK(refusal_of("#TROUPE --dry-run\n").find("job.sh:1: --dry-run belongs") == 0);
}

TEST_CASE("a command begins at the first word that is neither option nor value") {
  CHECK(command_at({"true"}) == 0);
  CHECK(command_at({"-n", "4", "true", "-n"}) == 2);
  CHECK(command_at({"-n4", "true"}) == 1);
  CHECK(command_at({"--tasks=4", "true"}) == 1);
  CHECK(command_at({"--exclusive", "true", "--exclusive"}) == 1);
  CHECK(command_at({"--mem", "1G", "--", "-odd"}) == 2);
  CHECK(command_at({"--bogus", "true"}) == 999);
  CHECK(command_at({"-n", "4"}) == 2);
  CHECK(command_at({}) == 0);
}

TEST_CASE(
    "the command line overrides the script, and the environment is sorted without repetition") {
  work_directory in;
  invocation run;
  run.command = "submit";
  run.words = {in.file("job.sh", "#!/bin/sh\n#TROUPE -n 4 -J fromscript\ntrue\n"), "argument"};
  std::vector<given_option> given;
  for (const auto& option : spec_options()) {
    if (std::string_view{option.names} == "-n,--tasks")
      given.push_back({&option, "8"});
    if (std::string_view{option.names} == "--env") {
      given.push_back({&option, "ZEBRA=1"});
      given.push_back({&option, "ALPHA=1"});
      given.push_back({&option, "ZEBRA=2"});
    }
    if (std::string_view{option.names} == "--clean-env")
      given.push_back({&option, ""});
  }
  auto job = make_job(run, given);
  REQUIRE(job);
  CHECK(job->spec.tasks == 8);
  CHECK(job->spec.name == "fromscript");
  CHECK(job->spec.argv == run.words);
  CHECK(job->spec.script == "#!/bin/sh\n#TROUPE -n 4 -J fromscript\ntrue\n");
  CHECK(job->spec.env == std::vector<std::string>{"ALPHA=1", "ZEBRA=2"});
  CHECK(validate(job->spec));
}

TEST_CASE("a job's environment is this one without the variables of a job around it") {
  ::setenv("TROUPE_RANK", "3", 1);
  ::setenv("TROUPE_TEST_VARIABLE", "kept", 1);
  ::setenv("TROUPE_TEST_BROKEN", "\xff", 1);
  invocation run;
  run.command = "run";
  run.words = {"true"};
  auto job = make_job(run, {});
  ::unsetenv("TROUPE_RANK");
  ::unsetenv("TROUPE_TEST_BROKEN");
  REQUIRE(job);
  auto has = [&](std::string_view variable) {
    return std::find(job->spec.env.begin(), job->spec.env.end(), variable) != job->spec.env.end();
  };
  CHECK(has("TROUPE_TEST_VARIABLE=kept"));
  CHECK_FALSE(has("TROUPE_RANK=3"));
  CHECK_FALSE(has("TROUPE_TEST_BROKEN=\xff"));
  CHECK(job->spec.name == "true");
  CHECK(job->spec.cwd == std::filesystem::current_path().string());
}

TEST_CASE("what cannot be run is refused before anything is sent") {
  work_directory in;
  invocation run;
  run.command = "submit";
  auto exit_of = [&](std::vector<std::string> words) {
    run.words = std::move(words);
    auto job = make_job(run, {});
    return job ? 0 : job.error().exit;
  };
  CHECK(exit_of({}) == exit_code::usage);
  CHECK(exit_of({in.path() + "/missing"}) == exit_code::failed);
  CHECK(exit_of({in.path()}) == exit_code::failed);
  CHECK(exit_of({in.file("text", "no script")}) == exit_code::failed);
  CHECK(exit_of({in.file("bad.sh", "#!/bin/sh\n#TROUPE -t never\n")}) == exit_code::usage);
  CHECK(exit_of({in.file("huge.sh", "#!/bin/sh\n" + std::string(1024 * 1024, '#'))}) ==
        exit_code::failed);
  CHECK(exit_of({in.file("latin.sh", "#!/bin/sh\n# \xe4\n")}) == exit_code::failed);
  CHECK(exit_of({"true", "\xff"}) == exit_code::failed);
  CHECK(exit_of({"true"}) == 0);
}

TEST_CASE("a working directory that is not there is refused") {
  invocation run;
  run.command = "submit";
  run.words = {"true"};
  for (const auto& option : spec_options())
    if (std::string_view{option.names} == "--cwd") {
      CHECK_FALSE(make_job(run, {{&option, "/nonexistent/place"}}));
      CHECK_FALSE(make_job(run, {{&option, "/dev/null"}}));
      CHECK(make_job(run, {{&option, "/"}})->spec.cwd == "/");
    }
}

TEST_CASE("every command has help and a page") {
  for (const auto& one : commands()) {
    INFO(one.name);
    auto page = man_page(one.name);
    CHECK(page.find(".SH OPTIONS") != std::string::npos);
    CHECK(page.find("\\-\\-json") != std::string::npos);
    CHECK(page.find("\n'") == std::string::npos);
  }
  CHECK(man_page("").find("troupe\\-run(1)") != std::string::npos);
}

TEST_CASE("wrong usage is exit code 2 and needs no cluster") {
  ::setenv("TROUPE_SOCKET", "/nonexistent/socket", 1);
  for (const std::vector<std::string>& words : {std::vector<std::string>{"dance"},
                                                {"run"},
                                                {"run", "--bogus", "true"},
                                                {"run", "-n", "0", "true"},
                                                {"run", "-a", "1-3", "true"},
                                                {"submit"},
                                                {"submit", "--mem", "lots", "true"},
                                                {"submit", "-t", "soon", "true"},
                                                {"submit", "--label", "true"},
                                                {"cancel"},
                                                {"cancel", "nine"},
                                                {"cancel", "1", "--unknown"},
                                                {"wait"},
                                                {"signal", "LOUD", "1"},
                                                {"show"},
                                                {"show", "1-2"},
                                                {"queue", "-s", "lazy"},
                                                {"history", "--limit", "0"},
                                                {"drain"},
                                                {"drain", "n[1"},
                                                {"cap"},
                                                {"cap", "sell"},
                                                {"audit"},
                                                {"up", "--nodes", "0"},
                                                {"nodes", "extra"}})
    CHECK(main_of(words) == exit_code::usage);
}

TEST_CASE("a cluster that is not there is exit code 75") {
  ::setenv("TROUPE_SOCKET", "/nonexistent/socket", 1);
  for (const std::vector<std::string>& words : {std::vector<std::string>{"run", "true"},
                                                {"submit", "true"},
                                                {"queue"},
                                                {"history"},
                                                {"nodes"},
                                                {"show", "1"},
                                                {"why", "1"},
                                                {"wait", "1"},
                                                {"cancel", "1"},
                                                {"hold", "1"},
                                                {"release", "1"},
                                                {"signal", "TERM", "1"},
                                                {"logs", "1"},
                                                {"drain", "n1"},
                                                {"resume", "n1"},
                                                {"cap", "show"},
                                                {"cap", "keys"},
                                                {"audit", "tail"},
                                                {"audit", "verify"},
                                                {"console", "-c", "ps"}})
    CHECK(main_of(words) == exit_code::unreachable);
}
