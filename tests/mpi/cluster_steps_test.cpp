// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>

// MPI programs as steps of a job, and what they spawn.

using namespace troupe::test;

namespace {

std::string program(const std::string& name) {
  return std::string{TROUPE_MPI_PROGRAMS} + "/" + name;
}

std::vector<std::string> sorted_lines(const std::string& text) {
  auto lines = lines_of(text);
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::string submit_script(test_cluster& cluster, words options, const std::string& text) {
  cluster.write("script.sh", "#!/bin/sh\n" + text, 0755);
  options.push_back("./script.sh");
  return cluster.submit(std::move(options));
}

} // namespace

TEST_CASE("MPI programs run as steps of a script, one after another and side by side, over nodes") {
  test_cluster cluster{{2, 4, {}, {}}};
  const auto id =
      submit_script(cluster, {"-N", "2", "-n", "8", "-o", "out"},
                    "troupe run -N 2 -n 4 " + program("hello.openmpi") + " || exit 1\n" +
                        "troupe run -N 2 -n 4 " + program("ring.openmpi") + " >r1 &\n" +
                        "one=$!\n" + "troupe run -N 2 -n 4 " + program("ring.mpich") + " >r2 &\n" +
                        "two=$!\n" + "wait $one && wait $two\n");
  const auto waited = cluster.wait(id);
  INFO(cluster.file("out") << cluster.file("r1") << cluster.file("r2"));
  CHECK(waited.exit == 0);
  const auto lines = sorted_lines(cluster.file("out"));
  REQUIRE(lines.size() == 4);
  CHECK(lines[3] == "rank 3 of 4, 2 on its node");
  CHECK(lines_of(cluster.file("r1")).size() == 4);
  CHECK(lines_of(cluster.file("r2")).size() == 4);
}

TEST_CASE("MPI_Comm_spawn starts a further step in the allocation, whose output comes out here") {
  test_cluster cluster{{2, 2, {}, {}}};
  cluster.set_environment("OMPI_MCA_coll=^han"); // see openmpi_test.cpp
  SECTION("of a job, beside its own ranks") {
    const auto ran = cluster.troupe({"run", "-n", "2", program("spawn.openmpi")}, 60s);
    INFO(ran.out << ran.err);
    CHECK(ran.exit == 0);
    CHECK(sorted_lines(ran.out) ==
          std::vector<std::string>{"child 0: sum 6 of 4", "child 1: sum 6 of 4",
                                   "parent 0: sum 6 of 4", "parent 1: sum 6 of 4"});
  }
  SECTION("of a step, on a node where it had no rank") {
    const auto id = submit_script(cluster, {"-N", "2", "-n", "4", "-o", "out"},
                                  "troupe run -w node1 -n 2 " + program("spawn.openmpi") + "\n");
    const auto waited = cluster.wait(id);
    INFO(cluster.file("out") << waited.err);
    CHECK(waited.exit == 0);
    CHECK(sorted_lines(cluster.file("out")) ==
          std::vector<std::string>{"child 0: sum 6 of 4", "child 1: sum 6 of 4",
                                   "parent 0: sum 6 of 4", "parent 1: sum 6 of 4"});
    const auto steps = cluster.ask({"show", id})["job"]["steps"];
    REQUIRE(steps.size() == 2);
    CHECK(steps[1]["state"] == "completed");
  }
}

TEST_CASE("what ranks have spawned ends with them when their job is ended") {
  test_cluster cluster{{1, 2, {}, {}}};
  cluster.set_environment("OMPI_MCA_coll=^han"); // see openmpi_test.cpp
  const auto id =
      cluster.submit({"-n", "1", "-o", "out", program("waits.openmpi"), "never", "spawns"});
  REQUIRE(eventually([&] { return lines_of(cluster.file("out")).size() == 2; }, 30s));
  SECTION("by a cancel") {
    CHECK(cluster.troupe({"cancel", id}).exit == 0);
    CHECK(cluster.reaches(id, "cancelled"));
  }
  SECTION("by the end of a rank") {
    const auto parent = cluster.job_processes().front();
    REQUIRE(::kill(parent, SIGKILL) == 0);
    CHECK(cluster.reaches(id, "failed"));
  }
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
}

TEST_CASE("more ranks than the allocation has cores are an error of MPI_Comm_spawn, no wait") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto ran = cluster.troupe({"run", "-n", "1", program("spawn.openmpi")}, 60s);
  INFO(ran.out << ran.err);
  CHECK(ran.exit != 0);
}

TEST_CASE("the standard input of MPI ranks is the first one's") {
  test_cluster cluster{{1, 2, {}, {}}};
  cluster.write("input", "a line\n");
  const auto ran = cluster.troupe({"run", "-n", "2", "--mpi", "pmix", "--label", "--stdin", "input",
                                   "sh", "-c", "cat; exec " + program("pmix_init")});
  INFO(ran.out << ran.err);
  CHECK(ran.exit == 0);
  CHECK(ran.out.find("0: a line") != std::string::npos);
  CHECK(ran.out.find("1: a line") == std::string::npos);
}

TEST_CASE("where it is asked for, the others go on when a rank fails, and hear of it") {
  test_cluster cluster{{2, 2, {}, {}}};
  const auto ran = cluster.troupe(
      {"run", "-N", "2", "-n", "4", "--mpi", "pmix", "--on-rank-failure", "notify", "sh", "-c",
       program("pmix_events") +
           " failure >/dev/null; code=$?; echo \"$TROUPE_RANK: $code\"; exit $code"},
      60s);
  INFO(ran.out << ran.err);
  CHECK(ran.exit == 9);
  CHECK(sorted_lines(ran.out) == std::vector<std::string>{"0: 0", "1: 0", "2: 0", "3: 9"});
}

TEST_CASE("MPI_Comm_spawn_multiple starts several programs as one step, each with its number") {
  test_cluster cluster{{2, 2, {}, {}}};
  cluster.set_environment("OMPI_MCA_coll=^han"); // see openmpi_test.cpp
  const auto ran = cluster.troupe({"run", "-n", "1", "-N", "1", program("spawn_several.openmpi")});
  INFO("on too few cores: " << ran.out << ran.err);
  CHECK(ran.exit != 0);
  const auto id = submit_script(cluster, {"-N", "2", "-n", "4", "-o", "out"},
                                "troupe run -n 1 " + program("spawn_several.openmpi") + "\n");
  const auto waited = cluster.wait(id);
  INFO(cluster.file("out") << waited.err);
  CHECK(waited.exit == 0);
  CHECK(sorted_lines(cluster.file("out")) ==
        std::vector<std::string>{
            "one 0 of 3, program 0: sum 6 of 4", "parent 0 of 1, program 0: sum 6 of 4",
            "two 1 of 3, program 1: sum 6 of 4", "two 2 of 3, program 1: sum 6 of 4"});
  CHECK(cluster.ask({"show", id})["job"]["steps"].size() == 2);
}

TEST_CASE("a step's output is read by its id, and its cancel ends it alone") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto id = submit_script(cluster, {"-n", "2", "-o", "out"},
                                "troupe run -n 1 sh -c 'echo first; exec sleep 1000'\n"
                                "echo \"first ended with $?\"\n"
                                "troupe run -n 1 echo second\n");
  const auto step = id + ".1";
  REQUIRE(eventually([&] { return cluster.troupe({"logs", step}).out == "first\n"; }));
  CHECK(cluster.troupe({"cancel", step, "--reason", "enough"}).out ==
        "cancelled step " + step + "\n");
  CHECK(cluster.wait(id).exit == 0);
  INFO(cluster.file("out"));
  CHECK(cluster.file("out") == "first\ntroupe run: step " + step +
                                   " was cancelled: enough\nfirst ended with 143\nsecond\n");
  CHECK(cluster.troupe({"logs", id + ".2"}).out == "second\n");
  const auto steps = cluster.ask({"show", id})["job"]["steps"];
  REQUIRE(steps.size() == 2);
  CHECK(steps[0]["state"] == "cancelled");
  CHECK(steps[0]["reason"] == "enough");
  CHECK(cluster.troupe({"cancel", step}).exit == 1);
  CHECK(cluster.troupe({"logs", id + ".9"}).exit == 1);
  CHECK(cluster.troupe({"show", step}).exit == 2);
}

TEST_CASE("a signal to a job reaches its script and its steps; one to a step reaches it alone") {
  test_cluster cluster{{1, 2, {}, {}}};
  const std::string listen = "trap 'echo $1 heard; exit 0' USR1; echo $1 listens; "
                             "while :; do sleep 0.05; done";
  cluster.write("listen.sh", "#!/bin/sh\n" + listen + "\n", 0755);
  const auto id =
      submit_script(cluster, {"-n", "2", "-o", "out"},
                    "troupe run -n 1 ./listen.sh one &\ntroupe run -n 1 ./listen.sh two &\n"
                    "trap 'echo script heard' USR1\nwait; wait\n");
  const auto says = [&](const std::string& words) {
    return eventually([&] { return cluster.file("out").find(words) != std::string::npos; });
  };
  REQUIRE(says("one listens"));
  REQUIRE(says("two listens"));
  CHECK(cluster.troupe({"signal", "USR1", id + ".1"}).exit == 0);
  CHECK(says("heard"));
  const auto after_first = cluster.file("out");
  CHECK(after_first.find("script heard") == std::string::npos);
  CHECK(cluster.troupe({"signal", "USR1", id}).exit == 0);
  CHECK(says("script heard"));
  CHECK(says("one heard"));
  CHECK(says("two heard"));
  CHECK(cluster.wait(id).exit == 0);
}

TEST_CASE("a step whose client died while it waited for its turn never starts") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto id = submit_script(
      cluster, {"-n", "1", "-o", "out"},
      "troupe run sh -c 'touch runs; while [ ! -e go ]; do sleep 0.05; done' & first=$!\n"
      "while [ ! -e runs ]; do sleep 0.05; done\n"
      "troupe run touch started & echo $! >client\n"
      "wait $first; troupe run echo last\n");
  REQUIRE(eventually([&] { return cluster.file("client").ends_with("\n"); }));
  const auto client = std::atoi(cluster.file("client").c_str());
  REQUIRE(client > 1);
  const auto steps_wait = [&](const std::string& count) {
    const auto lines = lines_of(cluster.troupe({"console", "-c", "show job/" + id}).out);
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find("steps waiting") != std::string::npos && line.ends_with(" " + count);
    });
  };
  REQUIRE(eventually([&] { return steps_wait("1"); }));
  kill_and_wait(client);
  CHECK(eventually([&] { return steps_wait("0"); }));
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 0);
  CHECK(lines_of(cluster.file("out")) == std::vector<std::string>{"last"});
  CHECK_FALSE(std::filesystem::exists(cluster.path("started")));
  CHECK(cluster.ask({"show", id})["job"]["steps"].size() == 2);
}
