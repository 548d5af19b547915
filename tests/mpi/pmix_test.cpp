// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "tests/mpi/mpi_world.hpp"

#include <algorithm>

using namespace troupe;
using namespace troupe::testing;

namespace {

step_wish wish(const std::string& program, std::vector<std::uint32_t> ranks,
               std::vector<std::string> arguments = {}) {
  step_wish w;
  w.argv = {mpi_program(program)};
  w.argv.insert(w.argv.end(), arguments.begin(), arguments.end());
  w.ranks_per_node = std::move(ranks);
  return w;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++found;
  return found;
}

void check_good(mpi_world& world, const step_record& step) {
  const auto ranks = step.ranks.size();
  const auto text = world.all_output(step.about.step);
  INFO(text);
  CHECK(count(text, " of " + std::to_string(ranks) + ": good") == ranks);
  for (const auto& [rank, record] : step.ranks) {
    CHECK(record.exit_code == 0);
    CHECK(record.signal == 0);
  }
  CHECK(world.failures.empty());
}

} // namespace

TEST_CASE("a bare PMIx client on one node sees its job, and leaves nothing behind") {
  mpi_world world{1};
  const auto& step = world.run(wish("pmix_hello", {2}));
  check_good(world, step);
  CHECK(world.wait_for([&] { return step.counts.at(0).finalised == 2; }, 5s));
  CHECK(step.counts.at(0).ranks == 2);
  CHECK(world.stop());
  CHECK(world.leftovers().empty());
}

TEST_CASE("fences carry what ranks put to all nodes, for every number of nodes") {
  for (std::uint32_t nodes : {2U, 3U, 5U}) {
    mpi_world world{nodes};
    check_good(world, world.run(wish("pmix_hello", std::vector<std::uint32_t>(nodes, 2))));
    CHECK(world.stop());
    CHECK(world.leftovers().empty());
  }
}

TEST_CASE("without collected data a rank's values are fetched from its node when asked for") {
  mpi_world world{2};
  check_good(world, world.run(wish("pmix_hello", {2, 1}, {"100000"})));
}

TEST_CASE("values larger than one frame cross the nodes whole") {
  mpi_world world{2};
  check_good(world, world.run(wish("pmix_loop", {1, 1}, {"2", "3000000"})));
}

TEST_CASE("ranks dealt out node by node know their places") {
  mpi_world world{2};
  auto w = wish("pmix_places", {2, 2});
  w.by_node = true;
  w.cpusets = {"0", "1"};
  check_good(world, world.run(w));
  CHECK(world.output(0, 2).find("rank 2 local 1 node node1 nodes 2 peers 0,2 cpus hwloc:1 "
                                "locality yes") == 0);
  CHECK(world.output(0, 1).find("rank 1 local 0 node node2 nodes 2 peers 1,3 cpus hwloc:0 "
                                "locality yes") == 0);
}

TEST_CASE("publish, lookup, unpublish, connect and disconnect work between nodes") {
  mpi_world world{3};
  check_good(world, world.run(wish("pmix_names", {1, 1, 1})));
}

TEST_CASE("who waits for a value of a shepherd that ends is told that there is none") {
  mpi_world world{2};
  auto& step = world.step(world.start(wish("pmix_names", {1, 1}, {"alone"})));
  REQUIRE(world.wait_for([&] {
    return step.ranks.at(0).ended && world.output(0, 1) == "rank 1 asks\n" &&
           step.counts[0].finalised == 1;
  }));
  CHECK(!step.ranks.at(1).ended);
  REQUIRE(world.end_shepherd(0));
  REQUIRE(world.wait_for([&] { return world.all_ended(); }, 10s));
  check_good(world, step);
  CHECK(world.stop());
}

TEST_CASE("groups of ranks on several nodes get context numbers that differ") {
  mpi_world world{2};
  check_good(world, world.run(wish("pmix_group", {2, 2})));
}

TEST_CASE("an event reaches the ranks of all nodes") {
  mpi_world world{2};
  check_good(world, world.run(wish("pmix_events", {2, 2})));
}

TEST_CASE("where asked, a rank that dies becomes an event and the others go on") {
  mpi_world world{2};
  auto w = wish("pmix_events", {2, 2}, {"failure"});
  w.notify_failures = true;
  const auto& step = world.run(w);
  CHECK(step.ranks.at(3).exit_code == 9);
  CHECK(count(world.all_output(0), ": good") == 3);
  for (std::uint32_t rank : {0U, 1U, 2U})
    CHECK(step.ranks.at(rank).exit_code == 0);
}

TEST_CASE("queries, words for the output, words for the log and job control arrive") {
  mpi_world world{2};
  const auto& step = world.run(wish("pmix_asks", {1, 1}));
  check_good(world, step);
  const auto text = world.output(0, 0);
  CHECK(text.find("namespaces: " + step.about.nspace + "\n") != std::string::npos);
  CHECK(text.find("processes: 2\n") != std::string::npos);
  REQUIRE(world.signals.size() == 1);
  CHECK(world.signals[0].signal == 12);
  CHECK(world.signals[0].step == 0);
  // In the rank's own output, in order; all other channels are the job's log.
  for (std::uint32_t rank : {0U, 1U}) {
    const auto name = "rank " + std::to_string(rank);
    CHECK(world.output(0, rank).find("before\n" + name + " says\n" + name + " complains\nafter") !=
          std::string::npos);
  }
  REQUIRE(world.logs.size() == 2);
  CHECK(world.logs[0].text.find(" logs") != std::string::npos);
}

TEST_CASE("PMIx_Abort is reported with its code and its words") {
  mpi_world world{2};
  const auto& step = world.run(wish("pmix_ends", {1, 1}, {"abort"}));
  REQUIRE(step.aborts.size() == 1);
  CHECK(step.aborts[0].rank == 1);
  CHECK(step.aborts[0].status == 33);
  CHECK(step.aborts[0].message == "enough of it");
}

TEST_CASE("a fence ends with an error when a rank of another node ended before it") {
  mpi_world world{3};
  world.ends_on_failure = false;
  const auto& step = world.run(wish("pmix_ends", {1, 1, 1}, {"leave"}));
  CHECK(count(world.all_output(0), "fence: ") == 2);
  CHECK(count(world.all_output(0), "fence: PROC-ABORTED") == 2);
  CHECK(step.ranks.at(0).exit_code == 0);
}

TEST_CASE("a fence and a connection with a timeout end when it has passed") {
  mpi_world world{2};
  const auto number = world.start(wish("pmix_ends", {1, 1}, {"late"}));
  REQUIRE(world.wait_for([&] { return world.step(number).ranks.at(0).ended; }, 10s));
  CHECK(world.output(0, 0) == "rank 0 is in\nfence: TIMEOUT\n");
  world.kill_rank(number, 1);
  CHECK(world.wait_for([&] { return world.all_ended(); }));
  CHECK(world.stop());
}

TEST_CASE("programs that never call PMIx_Init run, and are counted as not connected") {
  mpi_world world{2};
  step_wish w;
  w.argv = {"true"};
  w.ranks_per_node = {2, 1};
  const auto& step = world.run(w);
  for (const auto& [rank, record] : step.ranks)
    CHECK(record.exit_code == 0);
  CHECK(step.counts.empty());
  CHECK(world.stop());
  CHECK(world.leftovers().empty());
}

TEST_CASE("a program that is not there, or not executable, is reported as the launcher would") {
  mpi_world world{1};
  step_wish w;
  w.ranks_per_node = {1};
  w.argv = {"no-such-program-anywhere"};
  const auto& missing = world.run(w);
  CHECK(missing.ranks.at(0).start_failed);
  CHECK(missing.ranks.at(0).start_error == ENOENT);
  CHECK(missing.ranks.at(0).exit_code == 127);
  w.argv = {"/etc/passwd"};
  const auto& not_executable = world.run(w);
  CHECK(not_executable.ranks.at(0).start_failed);
  CHECK(not_executable.ranks.at(0).start_error == EACCES);
}

TEST_CASE("variables of another launcher's job are removed, settings of the user's stay") {
  mpi_world world{1};
  step_wish w;
  w.ranks_per_node = {1};
  w.argv = {"/usr/bin/env"};
  w.env = {"PMIX_RANK=77",           "PMIX_SERVER_URI2=far",  "PMI_FD=9",       "OMPI_MCA_orte_x=1",
           "OMPI_COMM_WORLD_RANK=5", "OMPI_MCA_btl=tcp,self", "PMIX_MCA_x=kept"};
  (void)world.run(w);
  const auto env = "\n" + world.output(0, 0);
  INFO(env);
  CHECK(env.find("\nPMIX_RANK=0\n") != std::string::npos);
  CHECK(count(env, "\nPMIX_RANK=") == 1);
  CHECK(env.find("=far") == std::string::npos);
  CHECK(env.find("\nPMI_FD=") == std::string::npos);
  CHECK(env.find("OMPI_MCA_orte_x") == std::string::npos);
  CHECK(env.find("\nOMPI_COMM_WORLD_RANK=0\n") != std::string::npos);
  CHECK(env.find("\nOMPI_MCA_btl=tcp,self\n") != std::string::npos);
  CHECK(env.find("\nPMIX_MCA_x=kept\n") != std::string::npos);
}

TEST_CASE("several steps of a job run in one shepherd, one after another and at once") {
  mpi_world world{2};
  for (int i = 0; i < 3; ++i)
    check_good(world, world.run(wish("pmix_hello", {1, 2})));
  const auto first = world.start(wish("pmix_hello", {2, 2}));
  const auto second = world.start(wish("pmix_hello", {1, 1}));
  REQUIRE(world.wait_for([&] { return world.all_ended(); }));
  check_good(world, world.step(first));
  check_good(world, world.step(second));
}
