// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <cerrno>
#include <filesystem>

using namespace troupe::test;
namespace files = std::filesystem;

// Disks that fail for a while under the real programs: what was refused never runs, what was
// answered is kept, and everything goes on when the disk does.

namespace {

bool says(const outcome& what, const std::string& part) {
  INFO(what.out << what.err);
  return what.err.find(part) != std::string::npos;
}

std::string numbers(int last) {
  std::string text;
  for (int i = 1; i <= last; ++i)
    text += std::to_string(i) + "\n";
  return text;
}

} // namespace

TEST_CASE("one failed sync of the ledger's log is not even noticed") {
  faults disk;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &disk}};
  const auto rule = disk.fail({.calls = troupe_fault_sync,
                               .path = "*/ledger.db-wal",
                               .error = EIO,
                               .count = 1,
                               .programs = troupe_fault_trouped});
  const auto job = cluster.submit({"true"});
  CHECK(disk.failed(rule) == 1);
  CHECK(cluster.wait(job).exit == 0);
  CHECK(cluster.run_shell({}, "exit 3").exit == 3);
}

TEST_CASE(
    "while the ledger's disk fails, submissions are refused and never run, looking and down work") {
  faults disk;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &disk}};
  const auto before = cluster.submit({"true"});
  CHECK(cluster.wait(before).exit == 0);
  const auto broken = disk.fail({.calls = troupe_fault_sync,
                                 .path = "*/ledger.db-wal",
                                 .error = EIO,
                                 .programs = troupe_fault_trouped});
  const auto refused = cluster.troupe({"submit", "touch", "it-ran"});
  CHECK(refused.exit == 1);
  CHECK(says(refused, "ledger"));
  CHECK(cluster.troupe({"queue"}).exit == 0);
  CHECK(cluster.state_of(before) == "completed");
  SECTION("killed meanwhile") {
    cluster.kill_trouped();
    disk.pass(broken);
    cluster.up();
  }
  SECTION("it works again") {
    disk.pass(broken);
  }
  // The disk is looked at again after a while.
  CHECK(eventually([&] { return cluster.troupe({"submit", "true"}).exit == 0; }, 20s));
  CHECK(cluster.run_shell({}, "exit 4").exit == 4);
  CHECK_FALSE(files::exists(cluster.work() + "/it-ran"));
}

TEST_CASE("while the audit log's disk is full, grants are refused, looking, cancelling and down "
          "are not") {
  faults disk;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &disk}};
  const auto running = cluster.submit({"sleep", "60"});
  REQUIRE(cluster.reaches(running, "running"));
  const std::uint32_t write = troupe_fault_write, sync = troupe_fault_sync;
  const auto calls = GENERATE_COPY(write, sync);
  const auto full = disk.fail({.calls = calls,
                               .path = "*/audit.log",
                               .error = calls == write ? ENOSPC : EIO,
                               .programs = troupe_fault_trouped});
  // A failed sync shows when the log is next synced.
  CHECK(eventually([&] { return cluster.troupe({"submit", "true"}).exit != 0; }, 20s));
  CHECK(says(cluster.troupe({"submit", "true"}), "audit log"));
  CHECK(cluster.troupe({"queue"}).exit == 0);
  CHECK(cluster.troupe({"cancel", running}).exit == 0);
  CHECK(cluster.reaches(running, "cancelled"));
  if (GENERATE(false, true)) {
    disk.pass(full);
    CHECK(eventually([&] { return cluster.troupe({"submit", "true"}).exit == 0; }, 20s));
    const auto verified = cluster.troupe({"audit", "verify"});
    INFO(verified.out << verified.err);
    CHECK(verified.exit == 0);
  }
  CHECK(cluster.troupe({"down"}).exit == 0);
}

TEST_CASE("streamed output on a full disk waits and loses nothing") {
  faults disk;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &disk}};
  const auto full = disk.fail({.calls = troupe_fault_splice | troupe_fault_write,
                               .path = "*/spool/*",
                               .error = ENOSPC,
                               .skip = 3,
                               .programs = troupe_fault_trouped});
  auto run = cluster.start({"run", "seq", "300000"});
  REQUIRE(eventually([&] { return disk.failed(full) > 2; }));
  CHECK_FALSE(run.ended());
  disk.pass(full);
  const auto done = run.wait();
  CHECK(done.exit == 0);
  CHECK(done.out == numbers(300'000));
}

TEST_CASE("spool directories that cannot be made are made later, and the output is whole") {
  faults disk;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &disk}};
  const auto full = disk.fail({.calls = troupe_fault_mkdir,
                               .path = "*/spool/*",
                               .error = ENOSPC,
                               .programs = troupe_fault_trouped});
  auto run = cluster.start({"run", "seq", "1000"});
  REQUIRE(eventually([&] { return disk.failed(full) > 0; }));
  disk.pass(full);
  const auto done = run.wait();
  CHECK(done.exit == 0);
  CHECK(done.out == numbers(1000));
}

TEST_CASE("a spool that cannot be read is an error, not the end of the output") {
  faults disk;
  test_cluster cluster{{.nodes = 1, .cores = 2, .with_faults = &disk}};
  disk.fail({.calls = troupe_fault_read,
             .path = "*/spool/*",
             .error = EIO,
             .programs = troupe_fault_trouped});
  const auto done = cluster.troupe({"run", "seq", "1000"});
  CHECK(done.exit != 0);
  CHECK(says(done, "cannot be read"));
}

TEST_CASE("a ledger that is gone is refused at the start, and nothing of it is made up") {
  test_cluster cluster{{.nodes = 1, .cores = 2}};
  CHECK(cluster.troupe({"run", "echo", "old"}).out == "old\n");
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  const auto ledger = cluster.state() + "/ledger.db";
  files::remove(ledger + "-wal");
  SECTION("beside its head") {
    files::remove(ledger);
  }
  SECTION("with its head") {
    files::remove(ledger);
    files::remove(ledger + ".head");
  }
  SECTION("emptied") {
    files::resize_file(ledger, 0);
  }
  const auto refused = cluster.try_up();
  CHECK(refused.exit == 1);
  CHECK(says(refused, "gone or empty"));
  CHECK(says(refused, "ledger rebuild"));
  CHECK((!files::exists(ledger) || files::file_size(ledger) == 0));
  CHECK(cluster.processes().empty());
}

TEST_CASE("trouped.pid never names a process of the past, and comes when the disk has room") {
  faults disk;
  test_cluster cluster{{.nodes = 1, .cores = 1, .with_faults = &disk}};
  const auto full = [&](const char* path) {
    return disk.fail({.calls = troupe_fault_write,
                      .path = path,
                      .error = ENOSPC,
                      .programs = troupe_fault_trouped});
  };
  const auto pid_file = cluster.state() + "/trouped.pid";
  auto killed = cluster.trouped();
  // What is written over the old one needs no room.
  const auto beside = full("*/trouped.pid.new.*");
  cluster.kill_trouped();
  cluster.up();
  CHECK(disk.failed(beside) > 0);
  CHECK(cluster.trouped() != killed);
  CHECK(is_alive(cluster.trouped()));
  killed = cluster.trouped();
  const auto anywhere = full("*/trouped.pid");
  cluster.kill_trouped();
  cluster.up();
  CHECK_FALSE(files::exists(pid_file));
  CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
  disk.pass(beside);
  disk.pass(anywhere);
  CHECK(eventually([&] { return is_alive(cluster.trouped()); }, 20s));
  CHECK(cluster.troupe({"down"}).out == "down\n"); // nothing ran, and the answer came
  CHECK_FALSE(files::exists(pid_file));
}
