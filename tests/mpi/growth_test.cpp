// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "tests/mpi/mpi_world.hpp"

#include <filesystem>
#include <fstream>
#include <set>
#include <unistd.h>

using namespace troupe;
using namespace troupe::testing;
namespace fs = std::filesystem;

// Jobs one after another leave nothing and use no more than the ones before.

namespace {

/// What MPI's libraries and the shepherd make outside of a test's folder, by name.
std::set<std::string> traces() {
  std::set<std::string> found;
  for (const auto* folder : {"/dev/shm", "/tmp"}) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      const auto name = entry.path().filename().string();
      for (const auto* part : {"ompi", "pmix", "vader", "psm", "ucx", "hwloc"})
        if (name.find(part) != std::string::npos)
          found.insert(entry.path().string());
    }
  }
  return found;
}

std::size_t count_entries(const std::string& folder) {
  std::error_code ignored;
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    count += entry.path().empty() ? 0 : 1;
  return count;
}

std::size_t resident_pages(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/statm"};
  std::size_t all = 0;
  std::size_t resident = 0;
  file >> all >> resident;
  return resident;
}

step_wish wish(const std::string& program, std::uint32_t ranks) {
  step_wish w;
  w.argv = {mpi_program(program)};
  w.ranks_per_node = {ranks};
  return w;
}

} // namespace

#ifdef TROUPE_HAS_OPENMPI
TEST_CASE("Open MPI jobs leave no file, no shared memory, no process and no descriptor") {
  const auto before = traces();
  const auto descriptors = count_entries("/proc/self/fd");
  for (int job = 0; job < 20; ++job) {
    mpi_world world{1};
    const auto& step = world.run(wish("hello.openmpi", 2));
    REQUIRE(world.output(0, 0) == "rank 0 of 2, 2 on its node\n");
    REQUIRE(step.ranks.at(1).exit_code == 0);
    REQUIRE(world.stop());
    REQUIRE(world.leftovers().empty());
  }
  CHECK(traces() == before);
  CHECK(count_entries("/proc/self/fd") == descriptors);
}
#endif

TEST_CASE("300 steps in one shepherd do not make it grow") {
  mpi_world world{1};
  std::size_t pages = 0;
  std::size_t descriptors = 0;
  for (int step = 0; step < 300; ++step) {
    REQUIRE(world.run(wish("pmix_hello", 1)).ranks.begin()->second.exit_code == 0);
    if (step == 100) {
      pages = resident_pages(world.shepherd_pid(0));
      descriptors = count_entries("/proc/" + std::to_string(world.shepherd_pid(0)) + "/fd");
    }
  }
  const auto folder = "/proc/" + std::to_string(world.shepherd_pid(0)) + "/fd";
  // A few pages of the library's own per step are accepted: a step is a job's, not a day's.
  CHECK(resident_pages(world.shepherd_pid(0)) < pages + 200 * 4);
  CHECK(world.wait_for([&] { return count_entries(folder) <= descriptors + 2; }, 5s));
  CHECK(world.stop());
  CHECK(world.leftovers().empty());
}
