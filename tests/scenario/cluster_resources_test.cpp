// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <pwd.h>
#include <unistd.h>

using namespace troupe::test;

namespace {

std::string waits_for(const std::string& until) {
  return "while ! [ -e " + until + " ]; do sleep 0.02; done";
}

cluster_shape two_nodes(const std::string& config) {
  cluster_shape how;
  how.config = config;
  return how;
}

std::string me() {
  return ::getpwuid(::getuid())->pw_name;
}

} // namespace

TEST_CASE("GPUs are counted, given to one rank alone, and told to it") {
  test_cluster cluster{two_nodes("[nodes.node2]\ngpus = 2\n")};
  auto nodes = cluster.ask({"nodes"})["nodes"];
  CHECK(nodes[0]["gpus"] == 0);
  CHECK(nodes[1]["gpus"] == 2);
  auto both = cluster.run_shell({"-n", "2", "-g", "1", "--env", "CUDA_VISIBLE_DEVICES=7"},
                                "echo $TROUPE_NODE $CUDA_VISIBLE_DEVICES $ROCR_VISIBLE_DEVICES "
                                "$TROUPE_GPUS");
  auto lines = lines_of(both.out);
  REQUIRE(lines.size() == 2);
  std::sort(lines.begin(), lines.end());
  CHECK(lines[0] == "node2 0 0 0");
  CHECK(lines[1] == "node2 1 1 1");
  CHECK(cluster.run_shell({"-g", "2"}, "echo $TROUPE_GPUS").out == "0,1\n");
  CHECK(cluster.run_shell({}, "echo ${TROUPE_GPUS-none}").out == "none\n");
  auto one = cluster.submit_shell({"-g", "2"}, waits_for("go"));
  REQUIRE(cluster.reaches(one, "running"));
  CHECK(cluster.ask({"nodes"})["nodes"][1]["gpus_used"] == 2);
  auto other = cluster.submit({"-g", "1", "true"});
  CHECK(cluster.run_shell({"-w", "node2"}, "exit 0").exit == 0);
  CHECK(cluster.state_of(other) == "pending");
  cluster.kill_trouped();
  cluster.up();
  CHECK(eventually([&] { return cluster.ask({"nodes"})["nodes"][1]["gpus_used"] == 2; }));
  CHECK(cluster.state_of(other) == "pending");
  cluster.write("go", "");
  CHECK(cluster.wait(other).exit == 0);
  auto never = cluster.troupe({"submit", "-g", "3", "true"});
  CHECK(never.exit == 1);
  CHECK(never.err.find("GPU") != std::string::npos);
}

TEST_CASE("features choose nodes") {
  test_cluster cluster{two_nodes("[nodes.node1]\nfeatures = [\"old\"]\n"
                                 "[nodes.node2]\nfeatures = [\"ssd\", \"fast\"]\n")};
  CHECK(cluster.ask({"nodes"})["nodes"][1]["features"] == json({"ssd", "fast"}));
  for (int i = 0; i < 3; ++i)
    CHECK(cluster.run_shell({"-C", "ssd,fast"}, "echo $TROUPE_NODE").out == "node2\n");
  CHECK(cluster.run_shell({"-C", "old"}, "echo $TROUPE_NODE").out == "node1\n");
  auto unknown = cluster.troupe({"submit", "-C", "quantum", "true"});
  CHECK(unknown.exit == 1);
  CHECK(unknown.err.find("no node has the feature 'quantum'") != std::string::npos);
  CHECK(cluster.troupe({"submit", "-C", "old,ssd", "true"}).exit == 1);
}

TEST_CASE("reserved nodes are for those they are reserved for, over a restart too") {
  test_cluster cluster{two_nodes("")};
  auto made = cluster.ask({"reserve", "create", "course", "--nodes", "node2", "--duration", "2h",
                           "--users", me(), "--reason", "teaching"});
  REQUIRE(made["reservations"].size() == 1);
  CHECK(made["reservations"][0]["nodes"] == json({"node2"}));
  for (int i = 0; i < 2; ++i)
    CHECK(cluster.run_shell({}, "echo $TROUPE_NODE").out == "node1\n");
  CHECK(cluster.run_shell({"--reservation", "course", "-t", "5"}, "echo $TROUPE_NODE").out ==
        "node2\n");
  cluster.kill_trouped();
  cluster.up();
  CHECK(cluster.ask({"reserve", "list"})["reservations"].size() == 1);
  CHECK(cluster.run_shell({"--reservation", "course", "-t", "5"}, "echo $TROUPE_NODE").out ==
        "node2\n");
  auto endless = cluster.troupe({"submit", "--reservation", "course", "true"});
  CHECK(endless.exit == 1);
  CHECK(endless.err.find("need a time limit that ends within it") != std::string::npos);
  auto outside = cluster.submit({"-w", "node2", "true"});
  CHECK(cluster.run_shell({}, "exit 0").exit == 0);
  CHECK(cluster.state_of(outside) == "pending");
  CHECK(cluster.ask({"reserve", "delete", "course"})["reservations"].empty());
  CHECK(cluster.wait(outside).exit == 0);
  CHECK(cluster.troupe({"submit", "-t", "5", "--reservation", "course", "true"}).exit == 1);
}

TEST_CASE("bad reservations are refused with one line") {
  test_cluster cluster{two_nodes("")};
  CHECK(cluster.troupe({"reserve", "create", "a", "--nodes", "node1", "--duration", "1h"}).exit ==
        0);
  const std::vector<std::pair<words, int>> refused{
      {{"reserve", "create", "a", "--nodes", "node2", "--duration", "1h"}, 1},
      {{"reserve", "create", "b", "--nodes", "node1", "--duration", "1h"}, 1},
      {{"reserve", "create", "b", "--nodes", "node9", "--duration", "1h"}, 1},
      {{"reserve", "create", "b", "--nodes", "node2", "--duration", "ever"}, 2},
      {{"reserve", "create", "b", "--nodes", "node2"}, 2},
      {{"reserve", "create", "b", "--duration", "1h"}, 2},
      {{"reserve", "delete", "b"}, 1},
      {{"reserve"}, 2},
  };
  for (const auto& [command, exit] : refused) {
    const auto done = cluster.troupe(command);
    INFO(command.back() << ": " << done.err);
    CHECK(done.exit == exit);
    CHECK(lines_of(done.err).size() == 1);
  }
  CHECK(cluster.ask({"reserve", "list"})["reservations"].size() == 1);
}
