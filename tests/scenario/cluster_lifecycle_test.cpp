// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <csignal>
#include <sys/stat.h>

using namespace troupe::test;

TEST_CASE("up twice is safe; another shape is refused while the cluster is up") {
  test_cluster cluster;
  const auto pid = cluster.trouped();
  auto again = cluster.troupe({"up"});
  CHECK(again.exit == 0);
  CHECK(again.out.find("already up") == 0);
  CHECK(cluster.troupe({"up", "--nodes", "2", "--cores", "2"}).exit == 0);
  auto other = cluster.troupe({"up", "--nodes", "3", "--cores", "2"});
  CHECK(other.exit == 1);
  CHECK(lines_of(other.err).size() == 1);
  CHECK(other.err.find("troupe down") != std::string::npos);
  CHECK(cluster.trouped() == pid);
  CHECK(cluster.ask({"nodes"})["nodes"].size() == 2);
}

TEST_CASE("two ups at once make one cluster, and nothing outlives it") {
  test_cluster cluster;
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  auto one = cluster.start({"up"});
  auto two = cluster.start({"up"});
  for (auto* each : {&one, &two}) {
    const auto done = each->wait();
    INFO(done.out << done.err);
    CHECK(done.exit == 0);
  }
  CHECK(cluster.troupe({"run", "echo", "hi"}).out == "hi\n");
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  CHECK(eventually([&] { return cluster.processes().empty(); }));
}

TEST_CASE("down says what was still running; what waited is there after the next up") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto running = cluster.submit_shell({"-J", "long-one"}, "exec sleep 1000");
  REQUIRE(cluster.reaches(running, "running"));
  auto waiting = cluster.submit_shell({}, "echo ran");
  auto array = cluster.submit_shell({"-a", "1-3", "-o", "/dev/null"}, "echo $TROUPE_ELEMENT >>all");
  auto down = cluster.troupe({"down"}, 60s);
  CHECK(down.exit == 0);
  CHECK(down.out.find("was still running: " + running + " long-one") != std::string::npos);
  CHECK(down.out.find("2 jobs were still pending") != std::string::npos);
  CHECK(eventually([&] { return cluster.processes().empty(); }));
  auto unreachable = cluster.troupe({"queue"});
  CHECK(unreachable.exit != 0);
  CHECK(lines_of(unreachable.err).size() == 1);
  CHECK(cluster.troupe({"down"}).exit == 0);
  cluster.up();
  CHECK(cluster.state_of(running) == "cancelled");
  CHECK(cluster.wait(waiting).exit == 0);
  CHECK(cluster.wait(array).exit == 0);
  CHECK(cluster.file("troupe-" + waiting + ".out") == "ran\n");
  CHECK(cluster.file("all") == "1\n2\n3\n");
  CHECK(cluster.troupe({"audit", "verify"}).exit == 0);
}

TEST_CASE("another shape after down is a cluster of that shape, with the old history") {
  test_cluster cluster;
  auto id = cluster.submit({"true"});
  cluster.wait(id);
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  REQUIRE(cluster.troupe({"up", "--nodes", "1", "--cores", "3"}).exit == 0);
  auto nodes = cluster.ask({"nodes"})["nodes"];
  REQUIRE(nodes.size() == 1);
  CHECK(nodes[0]["cores"] == 3);
  CHECK(cluster.state_of(id) == "completed");
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  REQUIRE(cluster.troupe({"up"}).exit == 0);
  CHECK(cluster.ask({"nodes"})["nodes"][0]["cores"] == 3);
}

TEST_CASE("a job that waits for more than a smaller cluster has says so and does no harm") {
  test_cluster cluster;
  auto large = cluster.submit({"--hold", "-N", "2", "-n", "2", "true"});
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  REQUIRE(cluster.troupe({"up", "--nodes", "1", "--cores", "1"}).exit == 0);
  CHECK(cluster.troupe({"release", large}).exit == 0);
  CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
  CHECK(cluster.state_of(large) == "pending");
  CHECK(cluster.troupe({"why", large}).exit == 0);
  CHECK(cluster.troupe({"cancel", large}).exit == 0);
}

TEST_CASE("down --purge leaves nothing, and refuses to remove what is not Troupe's") {
  test_cluster cluster;
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(cluster.troupe({"down", "--purge"}).exit == 0);
  struct stat known {};
  CHECK(::stat(cluster.state().c_str(), &known) != 0);
  CHECK(eventually([&] { return cluster.processes().empty(); }));
  cluster.up();
  cluster.write("../state/mine", "text");
  auto kept = cluster.troupe({"down", "--purge"});
  CHECK(kept.exit == 1);
  CHECK(kept.err.find("mine") != std::string::npos);
  CHECK(cluster.file("../state/mine") == "text");
}
