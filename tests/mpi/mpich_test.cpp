// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "tests/mpi/mpi_world.hpp"

#include <fstream>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::testing;

// PMI-1: by a bare client that says what MPICH's library says, and by MPICH itself where it is
// here. (Debian 12's MPICH uses UCX, which has no dynamic processes: no spawn or name there.)

namespace {

step_wish wish(const std::string& program, std::vector<std::uint32_t> ranks,
               std::vector<std::string> arguments = {}) {
  step_wish w;
  w.argv = {mpi_program(program)};
  w.argv.insert(w.argv.end(), arguments.begin(), arguments.end());
  w.ranks_per_node = std::move(ranks);
  w.mpi = shepherd::mpi_kind::pmi1;
  return w;
}

void check_good(mpi_world& world, const step_record& step) {
  for (const auto& [rank, record] : step.ranks) {
    CHECK(record.exit_code == 0);
    CHECK(record.signal == 0);
    CHECK(world.output(step.about.step, rank).find("good") != std::string::npos);
  }
}

} // namespace

TEST_CASE("a PMI-1 client puts, fences, gets, publishes and finalises, over nodes") {
  for (const auto& ranks : std::vector<std::vector<std::uint32_t>>{{3}, {2, 1}, {1, 1, 1}}) {
    mpi_world world{static_cast<std::uint32_t>(ranks.size())};
    const auto& step = world.run(wish("pmi1_talk", ranks));
    INFO(world.all_output(0));
    check_good(world, step);
    CHECK(world.wait_for([&] { return step.counts.at(0).finalised == ranks[0]; }, 5s));
    CHECK(world.stop());
    CHECK(world.leftovers().empty());
  }
}

TEST_CASE("a PMI-1 client spawns, and the child finds what its parent left for it") {
  mpi_world world{2};
  check_good(world, world.run(wish("pmi1_talk", {1, 1}, {"spawn"})));
  INFO(world.output(1, 0));
  check_good(world, world.step(1));
  CHECK(world.stop());
}

TEST_CASE("what a parent left for its child is found on another node after the parent's end") {
  mpi_world world{2};
  const auto fifo = world.folder() + "/go";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const auto parent = world.start(wish("pmi1_talk", {1, 1}, {"spawn", "late"}));
  REQUIRE(world.wait_for([&] { return world.step(parent).forgotten_on.size() == 2; }));
  std::ofstream{fifo} << "go" << std::flush;
  REQUIRE(world.wait_for([&] { return world.all_ended(); }));
  INFO(world.output(1, 0));
  check_good(world, world.step(parent));
  check_good(world, world.step(1));
  CHECK(world.stop());
}

TEST_CASE("who asks a keeper that is gone, with the last rank of its node, is answered") {
  mpi_world world{2};
  const auto fifo = world.folder() + "/go";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const auto parent = world.start(wish("pmi1_talk", {1, 1}, {"spawn", "alone"}));
  REQUIRE(world.wait_for([&] { return world.step(parent).forgotten_on.size() == 2; }));
  REQUIRE(world.end_shepherd(0));
  std::ofstream{fifo} << "go" << std::flush;
  REQUIRE(world.wait_for([&] { return world.all_ended(); }));
  INFO(world.output(1, 0));
  check_good(world, world.step(1));
}

#ifdef TROUPE_HAS_MPICH
TEST_CASE("MPICH's world has all ranks, and those of one node share it") {
  for (const auto& ranks : std::vector<std::vector<std::uint32_t>>{{2}, {2, 2}, {3, 1}}) {
    mpi_world world{static_cast<std::uint32_t>(ranks.size())};
    const auto& step = world.run(wish("hello.mpich", ranks));
    for (const auto& [rank, record] : step.ranks)
      CHECK(world.output(0, rank) == "rank " + std::to_string(rank) + " of " +
                                         std::to_string(step.ranks.size()) + ", " +
                                         std::to_string(ranks[record.node]) + " on its node\n");
    CHECK(world.stop());
    CHECK(world.leftovers().empty());
  }
}

TEST_CASE("MPICH's messages go round a ring over nodes") {
  mpi_world world{2};
  check_good(world, world.run(wish("ring.mpich", {2, 2})));
}

TEST_CASE("MPICH's MPI_Abort gives its code") {
  mpi_world world{2};
  const auto& step = world.run(wish("ends_badly.mpich", {1, 1}, {"abort", "1"}));
  REQUIRE(step.aborts.size() >= 1);
  CHECK(step.aborts[0].status == 42);
}
#endif
