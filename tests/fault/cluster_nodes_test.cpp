// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <unistd.h>

// kill -9 of trouped, and a cluster of another shape afterwards: what runs goes on, whatever it
// runs on.

using namespace troupe::test;

namespace {

/// Up again with so many nodes and cores.
void up_with(test_cluster& cluster, const std::string& nodes, const std::string& cores) {
  cluster.kill_trouped();
  const auto done = cluster.troupe({"up", "--nodes", nodes, "--cores", cores});
  INFO(done.out << done.err);
  REQUIRE(done.exit == 0);
}

json node_of(test_cluster& cluster, const std::string& name) {
  const auto listed = cluster.ask({"nodes"});
  for (const auto& row : listed["nodes"])
    if (row["name"] == name)
      return row;
  return {};
}

} // namespace

TEST_CASE("a script with a step that has ended outlives kill -9 of trouped") {
  test_cluster cluster{{1, 2, {}, {}}};
  cluster.write("script.sh",
                "#!/bin/sh\ntroupe run true\ntouch stepped\n"
                "while [ ! -e go ]; do sleep 0.05; done\n"
                "troupe run sh -c 'echo second'\n",
                0755);
  const auto id = cluster.submit({"-o", "out", "./script.sh"});
  REQUIRE(eventually([&] { return ::access(cluster.path("stepped").c_str(), F_OK) == 0; }));
  for (int times = 0; times < 2; ++times) {
    cluster.kill_trouped();
    cluster.up();
    REQUIRE(cluster.reaches(id, "running"));
    const auto steps = cluster.ask({"show", id})["job"]["steps"];
    REQUIRE(steps.size() == 1);
    CHECK(steps[0]["state"] == "completed");
  }
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 0);
  CHECK(cluster.file("out") == "second\n");
}

TEST_CASE(
    "jobs on nodes that the next cluster does not have go on, can be looked at and be ended") {
  test_cluster cluster{{3, 2, {}, {}}};
  const auto ends = cluster.submit_shell(
      {"-w", "node3", "-o", "|"}, "echo begun; while [ ! -e go ]; do sleep 0.05; done; echo over");
  const auto endless = cluster.submit({"-w", "node2", "sleep", "600"});
  const auto mpi =
      cluster.submit({"-N", "2", "-n", "2", "-w", "node1,node2", "--mpi", "pmix", "sleep", "600"});
  const auto held = cluster.submit({"--hold", "-w", "node3", "true"});
  for (const auto& id : {ends, endless, mpi})
    REQUIRE(cluster.reaches(id, "running"));
  for (int times = 0; times < 2; ++times) {
    up_with(cluster, "1", "2");
    for (const auto& id : {ends, endless, mpi})
      CHECK(cluster.reaches(id, "running"));
  }
  CHECK(node_of(cluster, "node3")["state"] == "leaving");
  CHECK(cluster.troupe({"release", held}).exit == 0);
  CHECK(cluster.troupe({"why", held}).out.find("asks for node3, which is not in the cluster") !=
        std::string::npos);
  const auto refused = cluster.troupe({"submit", "-w", "node3", "true"});
  CHECK(refused.exit == 1);
  cluster.write("go", "");
  CHECK(cluster.wait(ends).exit == 0);
  CHECK(cluster.troupe({"logs", ends}).out == "begun\nover\n");
  CHECK(eventually([&] { return node_of(cluster, "node3").is_null(); }));
  CHECK(cluster.troupe({"cancel", endless}).exit == 0);
  CHECK(cluster.reaches(endless, "cancelled"));
  SECTION("cancelled") {
    CHECK(cluster.troupe({"cancel", mpi}).exit == 0);
    CHECK(cluster.reaches(mpi, "cancelled"));
    CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  }
  SECTION("ended with the cluster") {
    const auto down = cluster.troupe({"down"}, 60s);
    INFO(down.out << down.err);
    CHECK(down.exit == 0);
    CHECK(eventually([&] { return cluster.processes().empty(); }));
  }
}

TEST_CASE(
    "with fewer cores what runs on those that are gone goes on, and nothing has a core twice") {
  test_cluster cluster{{1, 4, {}, {}}};
  const auto wide = cluster.submit({"-n", "3", "sleep", "600"});
  REQUIRE(cluster.reaches(wide, "running"));
  up_with(cluster, "1", "2");
  REQUIRE(cluster.reaches(wide, "running"));
  const auto next = cluster.submit({"true"});
  CHECK(cluster.state_of(next) == "pending");
  CHECK(cluster.troupe({"cancel", wide}).exit == 0);
  CHECK(cluster.wait(next).exit == 0);
}
