// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <unistd.h>

using namespace troupe::test;

namespace {

/// Runs until the file `until` is there.
std::string waits_for(const std::string& until) {
  return "while ! [ -e " + until + " ]; do sleep 0.02; done";
}

} // namespace

TEST_CASE("jobs start in the order in which they came") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto first = cluster.submit_shell({}, waits_for("go"));
  REQUIRE(cluster.reaches(first, "running"));
  std::string expected;
  std::string last;
  for (int i = 0; i < 8; ++i) {
    last = cluster.submit_shell({"-o", "/dev/null"}, "echo " + std::to_string(i) + " >>order");
    expected += std::to_string(i) + "\n";
  }
  cluster.write("go", "");
  CHECK(cluster.troupe({"wait", first + "-" + last}).exit == 0);
  CHECK(cluster.file("order") == expected);
}

TEST_CASE("a short job with a time limit passes a big one that waits; a long one does not") {
  test_cluster cluster{{1, 4, {}, {}}};
  auto blocker = cluster.submit_shell({"-n", "2", "-t", "60s"}, waits_for("go"));
  REQUIRE(cluster.reaches(blocker, "running"));
  auto big = cluster.submit_shell({"-n", "4", "-t", "60s"}, "exit 0");
  auto no_limit = cluster.submit_shell({}, "exit 0");
  auto too_long = cluster.submit_shell({"-t", "10m"}, "exit 0");
  auto brief = cluster.submit_shell({"-t", "20s"}, "exit 0");
  CHECK(cluster.wait(brief).exit == 0);
  CHECK(cluster.state_of(blocker) == "running");
  CHECK(cluster.state_of(big) == "pending");
  CHECK(cluster.state_of(no_limit) == "pending");
  CHECK(cluster.state_of(too_long) == "pending");
  cluster.write("go", "");
  CHECK(cluster.troupe({"wait", blocker + "-" + brief}).exit == 0);
  CHECK(cluster.row_of(big)["started_utc_ns"].get<std::int64_t>() <=
        cluster.row_of(no_limit)["started_utc_ns"].get<std::int64_t>());
}

TEST_CASE("cores are never promised twice, and each rank is bound to its own") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto both = cluster.run_shell({"-n", "2"}, "grep Cpus_allowed_list /proc/self/status");
  auto lines = lines_of(both.out);
  REQUIRE(lines.size() == 2);
  if (::sysconf(_SC_NPROCESSORS_ONLN) >= 2)
    CHECK(lines[0] != lines[1]);
  auto unbound = cluster.run_shell({"--bind", "none"}, "grep Cpus_allowed_list /proc/self/status");
  CHECK(unbound.exit == 0);
  auto shown = cluster.troupe({"run", "--show-binding", "true"});
  CHECK(shown.err.find("bound to") != std::string::npos);
}

TEST_CASE("a drained node keeps what runs and gets nothing new, over a restart too") {
  test_cluster cluster;
  auto running = cluster.submit_shell({"-w", "node1"}, waits_for("go"));
  REQUIRE(cluster.reaches(running, "running"));
  CHECK(cluster.troupe({"drain", "node1", "--reason", "new memory"}).exit == 0);
  auto node = cluster.ask({"nodes"})["nodes"][0];
  CHECK(node["state"] == "draining");
  CHECK(node["reason"] == "new memory");
  auto here = cluster.submit_shell({"-w", "node1"}, "exit 0");
  for (int i = 0; i < 4; ++i)
    CHECK(cluster.run_shell({}, "echo $TROUPE_NODE").out == "node2\n");
  CHECK(cluster.state_of(here) == "pending");
  CHECK(cluster.state_of(running) == "running");
  cluster.kill_trouped();
  cluster.up();
  CHECK(eventually([&] { return cluster.ask({"nodes"})["nodes"][0]["state"] == "draining"; }));
  CHECK(cluster.run_shell({}, "echo $TROUPE_NODE").out == "node2\n");
  CHECK(cluster.state_of(here) == "pending");
  CHECK(cluster.state_of(running) == "running");
  cluster.write("go", "");
  CHECK(cluster.wait(running).exit == 0);
  CHECK(eventually([&] { return cluster.ask({"nodes"})["nodes"][0]["state"] == "drained"; }));
  CHECK(cluster.state_of(here) == "pending");
  CHECK(cluster.troupe({"resume", "node1"}).exit == 0);
  CHECK(cluster.wait(here).exit == 0);
}

TEST_CASE("a job with --begin waits for its time") {
  test_cluster cluster;
  auto later = cluster.submit({"--begin", "now+1h", "true"});
  auto soon = cluster.submit({"--begin", "now+2s", "true"});
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(cluster.state_of(later) == "pending");
  CHECK(cluster.wait(soon).exit == 0);
  auto row = cluster.row_of(soon);
  CHECK(row["started_utc_ns"].get<double>() - row["submitted_utc_ns"].get<double>() > 0.9e9);
  CHECK(cluster.state_of(later) == "pending");
}

TEST_CASE("an exclusive job shares its node with nobody") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto alone = cluster.submit_shell({"--exclusive"}, waits_for("go"));
  REQUIRE(cluster.reaches(alone, "running"));
  auto other = cluster.submit({"true"});
  CHECK(cluster.ask({"nodes"})["nodes"][0]["elements_running"] == 1);
  CHECK(cluster.state_of(other) == "pending");
  cluster.write("go", "");
  CHECK(cluster.wait(other).exit == 0);
  CHECK(cluster.row_of(other)["started_utc_ns"].get<std::int64_t>() >=
        cluster.row_of(alone)["ended_utc_ns"].get<std::int64_t>() - 20'000'000);
}
