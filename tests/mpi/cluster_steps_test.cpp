// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <csignal>

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
