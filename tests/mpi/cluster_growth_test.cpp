// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <unistd.h>

// Many MPI jobs, one after another, through the whole of Troupe: nothing grows and nothing is left.

using namespace troupe::test;

namespace {

namespace fs = std::filesystem;

std::string program(const std::string& name) {
  return std::string{TROUPE_MPI_PROGRAMS} + "/" + name;
}

std::size_t entries_of(const std::string& directory) {
  std::error_code none;
  std::size_t count = 0;
  for (fs::directory_iterator at{directory, none}, end; at != end; at.increment(none))
    ++count;
  return count;
}

/// What must not grow: descriptors and resident memory of the daemons, files that jobs may leave.
struct footprint {
  std::size_t trouped_files = 0, launcher_files = 0, left = 0, processes = 0;
  std::size_t trouped_kib = 0, launcher_kib = 0;
};

std::size_t resident_kib(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/status");
  const auto at = text.find("VmRSS:");
  return at == std::string::npos ? 0 : std::strtoul(text.c_str() + at + 6, nullptr, 10);
}

footprint footprint_of(const test_cluster& cluster) {
  const auto trouped = cluster.trouped();
  const auto launcher = cluster.launcher();
  const auto own = "/troupe-" + std::to_string(::getuid());
  return {entries_of("/proc/" + std::to_string(trouped) + "/fd"),
          entries_of("/proc/" + std::to_string(launcher) + "/fd"),
          entries_of("/tmp" + own) + entries_of("/dev/shm" + own),
          cluster.processes().size(),
          resident_kib(trouped),
          resident_kib(launcher)};
}

/// TROUPE_GROWTH_JOBS=N: so many instead of the few that a test run can wait for.
int jobs_wanted(int few) {
  const char* text = std::getenv("TROUPE_GROWTH_JOBS");
  return text == nullptr ? few : std::atoi(text);
}

void run_many(test_cluster& cluster, const words& command, int count) {
  for (int i = 0; i < count; ++i) {
    const auto ran = cluster.troupe(command, 120s);
    INFO("job " << i << ": " << ran.out << ran.err);
    REQUIRE(ran.exit == 0);
  }
}

void check_growth(const words& command, int count) {
  test_cluster cluster{{2, 2, {}, {}}};
  run_many(cluster, command, 5); // what is made once is there
  const auto before = footprint_of(cluster);
  run_many(cluster, command, count);
  footprint after;
  const auto steady = eventually([&] {
    after = footprint_of(cluster);
    return after.trouped_files <= before.trouped_files &&
           after.launcher_files <= before.launcher_files && after.left <= before.left &&
           after.processes <= before.processes;
  });
  CAPTURE(before.trouped_files, after.trouped_files, before.launcher_files, after.launcher_files,
          before.left, after.left, before.processes, after.processes);
  CHECK(steady);
  WARN("trouped " << before.trouped_kib << " -> " << after.trouped_kib << " KiB, launcher "
                  << before.launcher_kib << " -> " << after.launcher_kib << " KiB");
  // What fills up and stops: the ledger's page cache of 8 MiB (some 3 KiB a job), its last 1,024
  // specs, each with this test's environment, and 4,096 verified capabilities with their warrants.
  // What leaks goes on growing with the jobs.
  const auto remembered =
      static_cast<std::size_t>(std::min(count, 1024) * 4 + std::min(count, 4096) * 2);
  CHECK(after.trouped_kib < before.trouped_kib + 8192 + remembered);
  CHECK(after.launcher_kib < before.launcher_kib + 1024 + static_cast<std::size_t>(count));
}

} // namespace

TEST_CASE("PMIx jobs one after another leave no descriptor, file, process or memory behind") {
  check_growth({"run", "-N", "2", "-n", "2", program("pmix_init")}, jobs_wanted(40));
}

TEST_CASE("Open MPI jobs one after another leave nothing behind either") {
  check_growth({"run", "-N", "2", "-n", "2", program("hello.openmpi")}, jobs_wanted(10));
}
