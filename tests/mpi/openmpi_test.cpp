// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "tests/mpi/mpi_world.hpp"

#include <csignal>

using namespace troupe;
using namespace troupe::testing;

// Open MPI programs, with no setting of Open MPI's.

namespace {

step_wish wish(const std::string& program, std::vector<std::uint32_t> ranks,
               std::vector<std::string> arguments = {}) {
  step_wish w;
  w.argv = {mpi_program(program + ".openmpi")};
  w.argv.insert(w.argv.end(), arguments.begin(), arguments.end());
  w.ranks_per_node = std::move(ranks);
  return w;
}

/// Open MPI 5.0's hierarchical collectives hang where spawned ranks are among those that meet,
/// under its own mpirun as well.
step_wish spawning(std::vector<std::uint32_t> ranks) {
  auto w = wish("spawn", std::move(ranks));
  w.env = {"OMPI_MCA_coll=^han"};
  return w;
}

void check_clean_end(mpi_world& world) {
  CHECK(world.stop());
  CHECK(world.leftovers().empty());
}

void check_codes(const step_record& step) {
  for (const auto& [rank, record] : step.ranks) {
    CHECK(record.exit_code == 0);
    CHECK(record.signal == 0);
  }
}

} // namespace

TEST_CASE("Open MPI's world has all ranks, and those of one node share it") {
  for (const auto& ranks : std::vector<std::vector<std::uint32_t>>{{2}, {2, 2}, {3, 1}}) {
    mpi_world world{static_cast<std::uint32_t>(ranks.size())};
    const auto& step = world.run(wish("hello", ranks));
    check_codes(step);
    for (const auto& [rank, record] : step.ranks)
      CHECK(world.output(0, rank) == "rank " + std::to_string(rank) + " of " +
                                         std::to_string(step.ranks.size()) + ", " +
                                         std::to_string(ranks[record.node]) + " on its node\n");
    check_clean_end(world);
  }
}

TEST_CASE("Open MPI's messages go round a ring over nodes") {
  mpi_world world{2};
  const auto& step = world.run(wish("ring", {2, 2}));
  check_codes(step);
  for (std::uint32_t rank = 0; rank < 4; ++rank)
    CHECK(world.output(0, rank) == "rank " + std::to_string(rank) + ": good\n");
  check_clean_end(world);
}

TEST_CASE("MPI_Comm_spawn starts a further step, which merges with its parent") {
  mpi_world world{2};
  check_codes(world.run(spawning({2, 2})));
  REQUIRE(world.all_ended());
  for (std::uint32_t rank = 0; rank < 4; ++rank)
    CHECK(world.output(0, rank) == "parent " + std::to_string(rank) + ": sum 15 of 6\n");
  for (std::uint32_t rank = 0; rank < 2; ++rank)
    CHECK(world.output(1, rank) == "child " + std::to_string(rank) + ": sum 15 of 6\n");
  check_codes(world.step(1));
  check_clean_end(world);
}

TEST_CASE("a spawned step may start on a node that the job had no rank on before") {
  mpi_world world{2};
  check_codes(world.run(spawning({2, 0})));
  CHECK(world.output(1, 1) == "child 1: sum 6 of 4\n");
  check_codes(world.step(1));
  check_clean_end(world);
}

TEST_CASE("a spawn that is refused is an MPI error, not a wait for ever") {
  mpi_world world{1};
  world.refuse_spawns = "the allocation has no free cores";
  const auto& step = world.run(wish("spawn", {1}));
  CHECK((step.ranks.at(0).exit_code != 0 || step.ranks.at(0).signal != 0));
  CHECK(world.shepherd_log(0).find("no free cores") != std::string::npos);
  check_clean_end(world);
}

TEST_CASE("MPI's published names lead one rank to another") {
  mpi_world world{2};
  const auto& step = world.run(wish("names", {2, 2}));
  check_codes(step);
  CHECK(world.output(0, 0) == "got 17\n");
  CHECK(world.output(0, 3) == "sent\n");
  check_clean_end(world);
}

TEST_CASE("MPI_Abort gives its code, and the others are ended") {
  mpi_world world{2};
  const auto& step = world.run(wish("ends_badly", {1, 1}, {"abort", "1"}));
  REQUIRE(step.aborts.size() >= 1);
  CHECK(step.aborts[0].rank == 1);
  CHECK(step.aborts[0].status == 42);
  INFO("signal " << step.ranks.at(1).signal << ", aborts " << step.aborts.size());
  CHECK(step.ranks.at(1).exit_code == 42);
  check_clean_end(world);
}

TEST_CASE("nothing is left of a job whose rank exits early, dies, or is killed") {
  for (const std::string how : {"exit", "die"}) {
    mpi_world world{2};
    const auto& step = world.run(wish("ends_badly", {2, 1}, {how, "1"}));
    const auto& record = step.ranks.at(1);
    CHECK(record.exit_code == (how == "exit" ? 5 : 0));
    CHECK(record.signal == (how == "exit" ? 0 : SIGSEGV));
    check_clean_end(world);
  }
  mpi_world world{2};
  world.start(wish("ends_badly", {1, 1}, {"ignore", "0"}));
  REQUIRE(world.wait_for([&] {
    return world.output(0, 0).find("is in") != std::string::npos &&
           world.output(0, 1).find("is in") != std::string::npos;
  }));
  world.kill_rank(0, 1, SIGTERM); // deaf to it
  world.kill_rank(0, 1);
  CHECK(world.wait_for([&] { return world.all_ended(); }));
  CHECK(world.step(0).ranks.at(1).signal == SIGKILL);
  check_clean_end(world);
}
