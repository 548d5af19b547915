// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>

// Steps: `troupe run` inside a job, in that job's allocation.

using namespace troupe::test;

namespace {

/// A script that is submitted: it runs once, whatever it asks for.
std::string submit_script(test_cluster& cluster, words options, const std::string& text) {
  cluster.write("script.sh", "#!/bin/sh\n" + text, 0755);
  options.push_back("./script.sh");
  return cluster.submit(std::move(options));
}

json steps_of(test_cluster& cluster, const std::string& id) {
  return cluster.ask({"show", id})["job"]["steps"];
}

std::vector<std::string> sorted_lines(const std::string& text) {
  auto lines = lines_of(text);
  std::sort(lines.begin(), lines.end());
  return lines;
}

} // namespace

TEST_CASE("a script runs once, and its steps have ranks, numbers and nodes of their own") {
  test_cluster cluster{{2, 2, {}, {}}};
  const auto id = submit_script(
      cluster, {"-N", "2", "-n", "4", "-o", "out"},
      "echo \"script $TROUPE_STEP of $TROUPE_NTASKS on $TROUPE_NODELIST\"\n"
      "troupe run -n 4 sh -c 'echo \"step $TROUPE_STEP rank $TROUPE_RANK of $TROUPE_NTASKS\"'\n"
      "troupe run -N 2 -n 2 sh -c 'echo \"$TROUPE_NODE has $TROUPE_RANK\"'\n"
      "troupe run -w node2 sh -c 'exit 7'; echo \"code $?\"\n");
  const auto waited = cluster.wait(id);
  INFO(waited.err << cluster.file("out"));
  CHECK(waited.exit == 0);
  CHECK(sorted_lines(cluster.file("out")) ==
        std::vector<std::string>{"code 7", "node1 has 0", "node2 has 1",
                                 "script 0 of 4 on node1,node2", "step 1 rank 0 of 4",
                                 "step 1 rank 1 of 4", "step 1 rank 2 of 4", "step 1 rank 3 of 4"});
  const auto steps = steps_of(cluster, id);
  REQUIRE(steps.size() == 3);
  CHECK(steps[0]["state"] == "completed");
  CHECK(steps[2]["step"] == 3);
  CHECK(steps[2]["state"] == "failed");
  CHECK(steps[2]["exit_code"] == 7);
  CHECK(cluster.troupe({"show", id}).out.find(id + ".3") != std::string::npos);
}

TEST_CASE("a step that could never fit is refused; one that does not fit now waits its turn") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto id = submit_script(
      cluster, {"-n", "2", "-o", "out"},
      "troupe run -n 3 true 2>&1; echo \"refused $?\"\n"
      "troupe run -n 2 sh -c 'echo first begins; touch up; while [ ! -e go ]; do sleep 0.05; "
      "done; echo first ends' &\n"
      "while [ ! -e up ]; do sleep 0.05; done\n"
      "troupe run -n 2 sh -c 'echo second' &\n"
      "wait\n");
  const auto is_waiting = [&] {
    const auto lines = lines_of(cluster.troupe({"console", "-c", "show job/" + id}).out);
    return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
      return line.find("steps waiting") != std::string::npos && line.back() == '1';
    });
  };
  REQUIRE(eventually(is_waiting));
  CHECK(steps_of(cluster, id).size() == 1);
  CHECK(cluster.file("out").find("second") == std::string::npos);
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 0);
  const auto out = cluster.file("out");
  INFO(out);
  CHECK(out.find("the step asks for 3 tasks of 1 cores; job " + id + " has 2 cores on node1") !=
        std::string::npos);
  CHECK(out.find("refused 1") != std::string::npos);
  const auto lines = lines_of(out);
  CHECK(std::count(lines.begin(), lines.end(), "first ends") == 2);
  CHECK(std::count(lines.begin(), lines.end(), "second") == 2);
}

TEST_CASE("steps share no core, unless they say so") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto id =
      submit_script(cluster, {"-n", "2", "-o", "out"},
                    "for i in 1 2; do troupe run sh -c 'taskset -cp $$; touch up.$TROUPE_STEP; "
                    "while [ ! -e go ]; do sleep 0.05; done' & done\n"
                    "while [ ! -e up.1 ] || [ ! -e up.2 ]; do sleep 0.05; done\n"
                    "troupe run -n 2 --overlap echo both at once\n"
                    "touch go; wait\n");
  CHECK(cluster.wait(id).exit == 0);
  const auto steps = steps_of(cluster, id);
  REQUIRE(steps.size() == 3);
  const auto out = cluster.file("out");
  INFO(out);
  const auto lines = lines_of(out);
  CHECK(std::count(lines.begin(), lines.end(), "both at once") == 2);
}

TEST_CASE("a job's steps end with it") {
  test_cluster cluster{{2, 2, {}, {}}};
  SECTION("when its script ends") {
    const auto id = submit_script(cluster, {"-N", "2", "-n", "2", "-o", "out"},
                                  "troupe run -N 2 -n 2 sleep 600 &\n"
                                  "while ! pgrep -f 'sleep 600' >/dev/null; do sleep 0.05; done\n"
                                  "exit 3\n");
    CHECK(cluster.wait(id).exit == 1);
    const auto row = cluster.row_of(id);
    CHECK(row["state"] == "failed");
    CHECK(row["exit_code"] == 3);
    CHECK(steps_of(cluster, id)[0]["state"] == "cancelled");
  }
  SECTION("when it is cancelled") {
    const auto id = submit_script(cluster, {"-N", "2", "-n", "2", "-o", "out"},
                                  "troupe run -N 2 -n 2 sleep 600\n");
    REQUIRE(eventually([&] {
      const auto steps = steps_of(cluster, id);
      return steps.size() == 1 && steps[0]["state"] == "running";
    }));
    CHECK(cluster.troupe({"cancel", id}).exit == 0);
    CHECK(cluster.wait(id).exit == 1);
    CHECK(cluster.row_of(id)["state"] == "cancelled");
  }
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
}

TEST_CASE("a signal to troupe run reaches the step's ranks, and its end is their code") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto id = submit_script(
      cluster, {"-o", "out"},
      "troupe run sh -c 'trap \"echo caught; exit 9\" USR1; echo up; while :; do sleep 0.05; "
      "done' &\n"
      "pid=$!\n"
      "while ! grep -q up out; do sleep 0.05; done\n"
      "kill -USR1 $pid; wait $pid; echo \"code $?\"\n");
  CHECK(cluster.wait(id).exit == 0);
  INFO(cluster.file("out"));
  CHECK(cluster.file("out").find("caught") != std::string::npos);
  CHECK(cluster.file("out").find("code 9") != std::string::npos);
}

TEST_CASE("a step goes on over a kill of trouped, and its output and code arrive") {
  test_cluster cluster{{2, 2, {}, {}}};
  const auto id = submit_script(
      cluster, {"-N", "2", "-n", "4", "-o", "out"},
      "troupe run -N 2 -n 2 sh -c 'echo before; while [ ! -e go ]; do sleep 0.05; done; echo "
      "after; "
      "touch after.$TROUPE_RANK; while [ ! -e after.0 ] || [ ! -e after.1 ]; do sleep 0.05; done; "
      "exit 5' 2>/dev/null\n"
      "echo \"code $?\"\n"
      "troupe run -n 4 true && echo more\n");
  REQUIRE(eventually([&] { return cluster.file("out") == "before\nbefore\n"; }));
  cluster.kill_trouped();
  SECTION("the step ends after the restart") {
    cluster.up();
    cluster.write("go", "");
  }
  SECTION("the step ends while nobody listens") {
    cluster.write("go", "");
    REQUIRE(eventually([&] { return cluster.job_processes().size() <= 2; }));
    cluster.up();
  }
  const auto waited = cluster.wait(id);
  const auto out = cluster.file("out");
  INFO(out << waited.err);
  CHECK(waited.exit == 0);
  CHECK(sorted_lines(out) ==
        std::vector<std::string>{"after", "after", "before", "before", "code 5", "more"});
  const auto steps = steps_of(cluster, id);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0]["exit_code"] == 5);
}

TEST_CASE("what a job asks for while trouped is away waits until it is back") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto id = submit_script(cluster, {"-o", "out"},
                                "touch ready; while [ ! -e go ]; do sleep 0.02; done\n"
                                "touch asks; troupe run echo step; echo \"code $?\"\n"
                                "troupe queue >/dev/null; echo \"code $?\"; touch done\n");
  REQUIRE(eventually([&] { return std::filesystem::exists(cluster.path("ready")); }));
  cluster.kill_trouped();
  cluster.write("go", "");
  REQUIRE(eventually([&] { return std::filesystem::exists(cluster.path("asks")); }));
  CHECK_FALSE(eventually([&] { return std::filesystem::exists(cluster.path("done")); },
                         std::chrono::milliseconds{500}));
  cluster.up();
  CHECK(cluster.wait(id).exit == 0);
  CHECK(cluster.file("out") == "step\ncode 0\ncode 0\n");
}

TEST_CASE("elements of an array have steps of their own") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto id = submit_script(cluster, {"-a", "1-3", "-n", "1", "-o", "out.%a"},
                                "troupe run sh -c 'echo \"element $TROUPE_ELEMENT\"'\n");
  CHECK(cluster.wait(id).exit == 0);
  for (const std::string element : {"1", "2", "3"})
    CHECK(cluster.file("out." + element) == "element " + element + "\n");
  CHECK(steps_of(cluster, id).size() == 3);
}

TEST_CASE("only a job that runs has steps, and only its owner's request starts one") {
  test_cluster cluster{{1, 1, {}, {}}};
  cluster.set_environment("TROUPE_JOB_ID=4711");
  const auto ran = cluster.troupe({"run", "true"});
  CHECK(ran.exit == 1);
  CHECK(ran.err.find("job 4711 is not running and can have no steps") != std::string::npos);
}

TEST_CASE("an allocation lasts as long as the command that it was made for") {
  test_cluster cluster{{2, 2, {}, {}}};
  const std::string script =
      "echo \"job $TROUPE_JOB_ID\"; troupe run -N 2 -n 2 sh -c 'echo \"$TROUPE_NODE\"'; "
      "troupe run -n 4 sh -c 'exit $TROUPE_RANK'; echo \"code $?\"; exit 6";
  const auto done = cluster.troupe({"alloc", "-N", "2", "-n", "4", "sh", "-c", script});
  INFO(done.out << done.err);
  CHECK(done.exit == 6);
  const auto lines = sorted_lines(done.out);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].starts_with("code "));
  CHECK(lines[0] != "code 0");
  CHECK(lines[2] == "node1");
  CHECK(lines[3] == "node2");
  const auto id = lines[1].substr(4);
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  CHECK(eventually([&] { return cluster.state_of(id) == "completed"; }));
}

TEST_CASE("an allocation that is interrupted while it waits is cancelled at once, and says so") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto busy = cluster.submit({"sleep", "600"});
  REQUIRE(cluster.reaches(busy, "running"));
  for (auto number : {SIGINT, SIGTERM, SIGHUP}) {
    auto alloc = cluster.start({"alloc", "touch", "it-ran"});
    std::string waits;
    REQUIRE(eventually([&] {
      const auto queue = cluster.ask({"queue"});
      for (const auto& row : queue["rows"])
        if (row["state"] == "pending")
          waits = std::to_string(row["job"].get<std::uint64_t>());
      return !waits.empty();
    }));
    alloc.signal(number);
    const auto done = alloc.wait();
    INFO(done.err);
    CHECK(done.exit == 128 + number);
    CHECK(done.err.find("job " + waits + " is cancelled") != std::string::npos);
    CHECK(cluster.state_of(waits) == "cancelled");
  }
  // What it runs has the signals from then on, and its exit code is the answer.
  REQUIRE(cluster.troupe({"cancel", busy}).exit == 0);
  auto alloc = cluster.start(
      {"alloc", "sh", "-c", "trap 'exit 7' TERM; touch runs; while :; do sleep 0.1; done"});
  REQUIRE(eventually([&] { return std::filesystem::exists(cluster.path("runs")); }));
  alloc.signal(SIGTERM);
  CHECK(alloc.wait().exit == 7);
  CHECK_FALSE(std::filesystem::exists(cluster.path("it-ran")));
}

TEST_CASE("an allocation is not asked for where its command is none") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto ran = cluster.troupe({"alloc", "not-there-at-all"});
  CHECK(ran.exit == 1);
  CHECK(ran.err.find("not-there-at-all: there is no such program") != std::string::npos);
  CHECK(cluster.ask({"queue"})["rows"].empty());
  CHECK(cluster.ask({"history"})["rows"].empty());
}

TEST_CASE("what a step wrote to files is read by its id, while it runs and afterwards") {
  test_cluster cluster{{1, 2, {}, {}}};
  cluster.write("script.sh",
                "#!/bin/sh\nmkdir sub\n"
                "troupe run -n 1 -o one-%j.%N -e one.err sh -c 'echo out; echo err >&2; "
                "while [ ! -e go ]; do sleep 0.02; done'\n"
                "cd sub\ntroupe run -n 2 -o two.%t sh -c 'echo rank $TROUPE_RANK'\n",
                0755);
  const auto id = cluster.submit({"-n", "2", "-o", "job.out", "./script.sh"});
  const auto read = [&](const std::string& step, const words& options = {}) {
    words all{"logs", id + "." + step};
    all.insert(all.end(), options.begin(), options.end());
    return cluster.troupe(all);
  };
  const auto check_first = [&] {
    CHECK(read("1").out == "out\n");
    CHECK(read("1", {"-e"}).out == "err\n");
  };
  REQUIRE(eventually([&] { return read("1").out == "out\n"; }));
  check_first();
  auto follower = cluster.start({"logs", "-f", id + ".1"});
  cluster.write("go", "");
  CHECK(follower.wait().out == "out\n");
  CHECK(cluster.wait(id).exit == 0);
  check_first();
  CHECK(read("2", {"--task", "1"}).out == "rank 1\n");
  CHECK(read("3").err.find("shows no step 3") != std::string::npos);
  const auto steps = cluster.ask({"show", id})["job"]["steps"];
  CHECK(steps.at(0).at("nodelist") == "node1");
}
