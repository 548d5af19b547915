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

/// What the libraries of MPI, and shepherds, make outside of a job's own folders.
std::size_t traces() {
  const auto own = "/troupe-" + std::to_string(::getuid());
  std::size_t count = entries_of("/tmp" + own) + entries_of("/dev/shm" + own);
  std::error_code none;
  for (const auto* folder : {"/dev/shm", "/tmp"})
    for (const auto& entry : fs::directory_iterator{folder, none})
      for (const auto* part : {"ompi", "pmix", "prte", "vader", "psm", "ucx", "hwloc"})
        count += entry.path().filename().string().find(part) == std::string::npos ? 0 : 1;
  return count;
}

/// What must not grow: descriptors and memory of the daemons, files that jobs may leave.
struct footprint {
  std::size_t trouped_files = 0, launcher_files = 0, left = 0, processes = 0;
  std::size_t trouped_kib = 0, launcher_kib = 0;
};

std::size_t resident_kib(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/status");
  const auto at = text.find("RssAnon:");
  return at == std::string::npos ? 0 : std::strtoul(text.c_str() + at + 8, nullptr, 10);
}

footprint footprint_of(const test_cluster& cluster) {
  const auto trouped = cluster.trouped();
  const auto launcher = cluster.launcher();
  return {entries_of("/proc/" + std::to_string(trouped) + "/fd"),
          entries_of("/proc/" + std::to_string(launcher) + "/fd"),
          traces(),
          cluster.processes().size(),
          resident_kib(trouped),
          resident_kib(launcher)};
}

/// TROUPE_GROWTH_JOBS=N: so many instead.
int jobs_wanted(int usual) {
  const char* text = std::getenv("TROUPE_GROWTH_JOBS");
  return text == nullptr ? usual : std::atoi(text);
}

/// One after another, two at a time.
void run_many(test_cluster& cluster, const words& command, int count) {
  for (int i = 0; i < count; i += 2) {
    auto one = cluster.start(command);
    auto other = cluster.start(command);
    for (auto* each : {&one, &other}) {
      const auto ran = each->wait(120s);
      INFO("job " << i << ": " << ran.out << ran.err);
      REQUIRE(ran.exit == 0);
      REQUIRE(ran.err.empty()); // such as a word about ranks that did not connect
    }
  }
}

/// What trouped still has when it has given back what the jobs' writing needed: its last 1,024
/// specs and 1,024 verified capabilities, and holes. What leaks goes on growing.
constexpr std::size_t kept_kib = 6 * 1024;
/// The launcher's tables are of a fixed size and touched as they are gone through: 65,536 records
/// once round.
constexpr std::size_t launcher_kib_max = 16 * 1024;

void check_growth(const words& command, int count) {
  test_cluster cluster{{2, 4, {}, {}}};
  run_many(cluster, command, 20); // what is made once is there
  const auto before = footprint_of(cluster);
  run_many(cluster, command, count);
  footprint after;
  const auto steady = eventually([&] {
    after = footprint_of(cluster);
    return after.trouped_files <= before.trouped_files &&
           after.launcher_files <= before.launcher_files && after.left <= before.left &&
           after.processes <= before.processes && after.trouped_kib < before.trouped_kib + kept_kib;
  });
  CAPTURE(before.trouped_files, after.trouped_files, before.launcher_files, after.launcher_files,
          before.left, after.left, before.processes, after.processes, before.trouped_kib,
          after.trouped_kib);
  CHECK(steady);
  CHECK(after.launcher_kib < launcher_kib_max);
  WARN(count << " jobs: trouped " << before.trouped_kib << " -> " << after.trouped_kib
             << " KiB, launcher " << before.launcher_kib << " -> " << after.launcher_kib << " KiB");
}

} // namespace

TEST_CASE("1,000 PMIx jobs one after another leave no descriptor, file, process or memory behind") {
  check_growth({"run", "--clean-env", "-N", "2", "-n", "2", program("pmix_init")},
               jobs_wanted(1000));
}

TEST_CASE("200 Open MPI jobs one after another leave nothing behind either") {
  check_growth({"run", "--clean-env", "-N", "2", "-n", "2", program("hello.openmpi")},
               jobs_wanted(200));
}
