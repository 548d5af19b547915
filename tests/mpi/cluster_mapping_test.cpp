// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <map>
#include <thread>

// Which rank runs where, and on which cores: as asked for, as told, and as hwloc sees it from
// inside the rank.

using namespace troupe::test;

namespace {

std::string program(const std::string& name) {
  return std::string{TROUPE_MPI_PROGRAMS} + "/" + name;
}

struct place {
  std::string node;
  std::string units;
};

/// By rank, from the lines of `bound`.
std::map<int, place> places_of(const std::string& text) {
  std::map<int, place> places;
  for (const auto& line : lines_of(text)) {
    int rank = -1;
    char node[64] = {};
    char units[256] = {};
    if (std::sscanf(line.c_str(), "rank %d on %63[^:]: %255s", &rank, node, units) == 3)
      places[rank] = {node, units};
  }
  return places;
}

std::vector<std::string> nodes_of(const std::map<int, place>& places) {
  std::vector<std::string> nodes;
  for (const auto& [rank, each] : places)
    nodes.push_back(each.node);
  return nodes;
}

using names = std::vector<std::string>;

/// Two processing units at least: else every rank has the same one.
bool can_bind() {
  return std::thread::hardware_concurrency() >= 2;
}

} // namespace

TEST_CASE("--map-by node deals ranks out to the nodes in turn; without it they fill node by node") {
  test_cluster cluster{{2, 2, {}, {}}};
  const auto packed =
      cluster.troupe({"run", "-N", "2", "-n", "4", "--show-binding", program("bound")});
  INFO(packed.out << packed.err);
  CHECK(nodes_of(places_of(packed.out)) == names{"node1", "node1", "node2", "node2"});
  CHECK(packed.err.find("bound to node1:0,1 node2:0,1\n") != std::string::npos);
  const auto dealt = cluster.troupe(
      {"run", "-N", "2", "-n", "4", "--map-by", "node", "--show-binding", program("bound")});
  INFO(dealt.out << dealt.err);
  const auto places = places_of(dealt.out);
  CHECK(nodes_of(places) == names{"node1", "node2", "node1", "node2"});
  CHECK(dealt.err.find("bound to node1:0,1 (tasks 0,2) node2:0,1 (tasks 1,3)\n") !=
        std::string::npos);
  if (can_bind()) {
    CHECK(places.at(0).units != places.at(2).units);
    CHECK(places.at(1).units != places.at(3).units);
  }
  const auto uneven = cluster.troupe({"run", "-N", "2", "-n", "3", "--map-by", "node", "--label",
                                      "sh", "-c", "echo $TROUPE_RANK $TROUPE_NODE"});
  INFO(uneven.out << uneven.err);
  auto lines = lines_of(uneven.out);
  std::sort(lines.begin(), lines.end());
  CHECK(lines == names{"0: 0 node1", "1: 1 node2", "2: 2 node1"});
}

TEST_CASE("--map-by core puts each rank on one core, in order, whatever its task has") {
  test_cluster cluster{{1, 4, {}, {}}};
  const auto slots = cluster.troupe({"run", "-n", "2", "-c", "2", program("bound")});
  const auto ran = cluster.troupe(
      {"run", "-n", "2", "-c", "2", "--map-by", "core", "--show-binding", program("bound")});
  INFO(slots.out << ran.out << ran.err);
  CHECK(ran.err.find("bound to node1:0,1\n") != std::string::npos);
  const auto places = places_of(ran.out);
  REQUIRE(places.size() == 2);
  if (can_bind()) {
    CHECK(places.at(0).units != places.at(1).units);
    CHECK(places.at(0).units != places_of(slots.out).at(0).units);
  }
  CHECK(cluster.troupe({"run", "--map-by", "socket", "true"}).exit == 2);
}

TEST_CASE("MPI ranks are mapped in the same way, as jobs and as steps, with a file for each") {
  test_cluster cluster{{2, 2, {}, {}}};
  const auto job = cluster.troupe(
      {"run", "-N", "2", "-n", "3", "--map-by", "node", "-o", "out.%t", program("hello.openmpi")});
  INFO(job.err);
  CHECK(job.exit == 0);
  CHECK(cluster.file("out.0") == "rank 0 of 3, 2 on its node\n");
  CHECK(cluster.file("out.1") == "rank 1 of 3, 1 on its node\n");
  CHECK(cluster.file("out.2") == "rank 2 of 3, 2 on its node\n");
  cluster.write("script.sh",
                "#!/bin/sh\ntroupe run -n 2 --map-by node " + program("bound") +
                    "\ntroupe run -n 3 --map-by node -o step.%t " + program("hello.mpich") + "\n",
                0755);
  const auto id = cluster.submit({"-N", "2", "-n", "4", "-o", "steps", "./script.sh"});
  CHECK(cluster.wait(id).exit == 0);
  INFO(cluster.file("steps"));
  CHECK(nodes_of(places_of(cluster.file("steps"))) == names{"node1", "node2"});
  CHECK(cluster.file("step.1") == "rank 1 of 3, 1 on its node\n");
  CHECK(cluster.file("step.2") == "rank 2 of 3, 2 on its node\n");
}
