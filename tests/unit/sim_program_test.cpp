// SPDX-License-Identifier: Apache-2.0
// `troupe simulate` as a whole command: what it prints where, and with which exit code.
#include "tests/catch.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

namespace {

namespace fs = std::filesystem;

struct result {
  int code = -1;
  std::string out, err;
};

class place {
public:
  place() {
    std::string pattern = (fs::temp_directory_path() / "troupe-simulate-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~place() { fs::remove_all(path_); }
  place(const place&) = delete;
  place& operator=(const place&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream{file(name)} << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream in{file(name)};
    return {std::istreambuf_iterator<char>{in}, {}};
  }

  result simulate(const std::string& options) const {
    auto line = std::string{TROUPE_PROGRAM} + " simulate " + options + " >" + file("out") + " 2>" +
                file("err") + " </dev/null";
    auto status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("out"), read("err")};
  }

private:
  fs::path path_;
};

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

std::string job(int id, int submit, int run, int processors, int request) {
  auto number = [](int value) { return std::to_string(value) + " "; };
  return number(id) + number(submit) + "-1 " + number(run) + number(processors) + "-1 -1 " +
         number(processors) + number(request) + "-1 1 3 -1 -1 -1 -1 -1 -1\n";
}

} // namespace

TEST_CASE("simulate prints the contract's keys and writes the contract's columns") {
  place here;
  here.write("log", job(1, 0, 10, 4, 20) + job(2, 0, 30, 3, 30) + job(3, 1, 5, 1, 9));
  auto done = here.simulate(here.file("log") + " --procs 5 --policy easy --json --starts " +
                            here.file("starts.csv"));
  CHECK(done.code == 0);
  CHECK(done.err.empty());
  auto json = nlohmann::json::parse(done.out);
  CHECK(json["jobs"] == 3);
  CHECK(json["policy"] == "easy");
  CHECK(json["makespan_s"] == 40);
  CHECK(json["mean_wait_s"].get<double>() == Approx(10.0 / 3).margin(0.001));
  CHECK(json["avebsld"].get<double>() == Approx((1 + 40.0 / 30 + 1) / 3).margin(0.001));
  CHECK(json["utilisation"].get<double>() == Approx(135.0 / 200));
  CHECK(json["elapsed_s"].get<double>() > 0);
  CHECK(here.read("starts.csv") ==
        "job,submit,start,run,procs\n1,0,0,10,4\n2,0,10,30,3\n3,1,1,5,1\n");
}

TEST_CASE("what is left out is told on standard error, a line each, and the rest is simulated") {
  place here;
  std::string text = job(1, 0, 10, 4, 20) + job(2, 0, 10, 6, 20) + job(3, 0, 25, 1, 20);
  for (int i = 0; i < 7; ++i)
    text += "not a job\n";
  here.write("log", text);
  auto done = here.simulate(here.file("log") + " --procs 5");
  CHECK(done.code == 0);
  CHECK(lines(done.err) == 8);
  CHECK(done.err.find("line 4 has 3 fields instead of 18; left out") != std::string::npos);
  CHECK(done.err.find("7 malformed lines in all") != std::string::npos);
  CHECK(done.err.find("1 larger than 5 processors (the largest 6)") != std::string::npos);
  CHECK(done.err.find("1 jobs ran longer than they asked for") != std::string::npos);
}

TEST_CASE("what cannot be done is one line and exit code 1, wrong usage one line and 2") {
  place here;
  here.write("log", job(1, 0, 10, 4, 20) + "not a job\n");
  here.write("empty", "; nothing\n");
  here.write("unasked", job(1, 0, 10, 4, -1));
  auto log = here.file("log");
  for (const auto& words :
       {here.file("none") + " --procs 5", here.file("empty") + " --procs 5",
        here.file("unasked") + " --procs 5", log + " --procs 3", here.file(".") + " --procs 3",
        log + " --procs 5 --starts " + here.file("no/such/folder"),
        log + " --procs 5 --starts /dev/full"}) {
    auto failed = here.simulate(words);
    INFO(words << ": " << failed.err);
    CHECK(failed.code == 1);
    CHECK(lines(failed.err) == 1);
    CHECK(failed.out.empty());
  }
  for (const auto& words :
       {std::string{}, log, log + " --procs 0", log + " --procs many",
        log + " --procs 5 --policy x", log + " --procs 5 --policy easy --order x",
        log + " --procs 5 --order sjf",
        log + " --procs 5 --policy conservative --overtake-limit 1h",
        log + " --procs 5 --events some", log + " --procs 5 --estimates good",
        log + " --procs 5 --overtake-limit never"}) {
    auto refused = here.simulate(words);
    INFO(words << ": " << refused.err);
    CHECK(refused.code == 2);
    CHECK(lines(refused.err) == 1);
  }
}
