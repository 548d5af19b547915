// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>

using namespace troupe::test;

// The faults themselves: they reach the programs they are meant for, and nothing else.

namespace {

std::string program_of(pid_t pid) {
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe");
}

} // namespace

TEST_CASE("a fault that nobody asked for changes nothing, and reaches no job's process") {
  faults off;
  off.shift_wall(-48h);
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &off}};
  CHECK(program_of(cluster.trouped()) == faults::programs() + "/trouped");
  CHECK(program_of(cluster.launcher()) == faults::programs() + "/troupe-launcher");
  off.fail({.calls = troupe_fault_write, .path = "*/mark", .error = EIO});
  const auto done = cluster.run_shell({}, "date +%s >mark; cat mark");
  INFO(done.err);
  CHECK(done.exit == 0);
  CHECK(std::abs(std::stoll(done.out) - std::time(nullptr)) < 60);
}

TEST_CASE("a rule fails the calls it names, as many as it says, and is counted") {
  faults off;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &off}};
  REQUIRE(cluster.troupe({"cap", "attenuate", "--verb", "queue_read", "mine"}).exit == 0);
  const auto rule = off.fail({.calls = troupe_fault_open,
                              .path = "*/mine",
                              .error = EACCES,
                              .count = 1,
                              .skip = 1,
                              .programs = troupe_fault_client});
  const words look{"queue", "--capability", "mine"};
  CHECK(cluster.troupe(look).exit == 0);
  CHECK(off.failed(rule) == 0);
  const auto refused = cluster.troupe(look);
  CHECK(refused.exit != 0);
  CHECK(refused.err.find("Permission denied") != std::string::npos);
  CHECK(off.failed(rule) == 1);
  CHECK(cluster.troupe(look).exit == 0);
  CHECK(off.failed(rule) == 1);
  CHECK(off.seen(rule) == 3);
}

TEST_CASE("the launcher's calls can fail, too, and its clock can be shifted") {
  faults off;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &off}};
  const auto rule = off.fail({.calls = troupe_fault_write | troupe_fault_sync,
                              .path = "*",
                              .error = EIO,
                              .count = 0,
                              .programs = troupe_fault_launcher});
  CHECK(cluster.run_shell({}, "true").exit == 0);
  CHECK(off.seen(rule) > 0);
  CHECK(off.failed(rule) == 0);
}
