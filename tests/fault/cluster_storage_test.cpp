// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace troupe::test;

namespace {

/// A file system of a few megabytes, gone with the test.
class small_disk {
public:
  small_disk() {
    char name[] = "/tmp/troupe-disk-XXXXXX";
    if (::mkdtemp(name) == nullptr)
      return;
    path_ = name;
    mounted_ = ::mount("troupe-test", name, "tmpfs", 0, "size=24m,mode=0700") == 0;
  }
  ~small_disk() {
    if (mounted_)
      ::umount2(path_.c_str(), MNT_DETACH);
    ::rmdir(path_.c_str());
  }
  small_disk(const small_disk&) = delete;
  small_disk& operator=(const small_disk&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }
  void fill() const {
    const auto file = ::open((path_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    REQUIRE(file >= 0);
    std::string block(65536, 'x');
    while (!block.empty())
      if (::write(file, block.data(), block.size()) <= 0)
        block.resize(block.size() / 2);
    ::close(file);
  }
  void empty() const { ::unlink((path_ + "/filler").c_str()); }

private:
  std::string path_;
  bool mounted_ = false;
};

void corrupt(const std::string& path, off_t at, const std::string& with) {
  const auto file = ::open(path.c_str(), O_WRONLY);
  REQUIRE(file >= 0);
  REQUIRE(::pwrite(file, with.data(), with.size(), at) == static_cast<ssize_t>(with.size()));
  ::close(file);
}

} // namespace

TEST_CASE("with a full disk submissions are refused, what runs ends normally, nothing is broken") {
  small_disk disk;
  if (!disk.mounted()) {
    WARN("not tested: a small file system cannot be mounted here (" << std::strerror(errno) << ")");
    return;
  }
  cluster_shape how;
  how.state = disk.path() + "/state";
  test_cluster cluster{how};
  auto before = cluster.submit({"true"});
  cluster.wait(before);
  auto running =
      cluster.submit_shell({}, "echo up; while ! [ -e go ]; do sleep 0.02; done; exit 21");
  REQUIRE(cluster.reaches(running, "running"));
  disk.fill();
  // The ledger keeps a reserve for ends, so the first few may still fit.
  outcome refused;
  REQUIRE(eventually([&] {
    refused = cluster.troupe({"submit", "--hold", "true"});
    disk.fill();
    return refused.exit != 0;
  }));
  CHECK(refused.exit == 1);
  CHECK(refused.out.empty());
  CHECK(lines_of(refused.err).size() == 1);
  INFO(refused.err);
  CHECK(refused.err.find("full") != std::string::npos);
  cluster.write("go", "");
  auto waited = cluster.wait(running);
  CHECK(waited.out.find("exit code 21") != std::string::npos);
  CHECK(cluster.state_of(running) == "failed");
  CHECK(cluster.state_of(before) == "completed");
  disk.empty();
  CHECK(eventually([&] { return cluster.troupe({"submit", "--hold", "true"}).exit == 0; }));
  CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
  cluster.kill_trouped();
  cluster.up();
  CHECK(cluster.row_of(running)["exit_code"] == 21);
  CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
  auto verified = cluster.troupe({"audit", "verify"});
  INFO(verified.out << verified.err);
  CHECK(verified.exit == 0);
}

TEST_CASE("a kill while the disk is full loses no acknowledged job") {
  small_disk disk;
  if (!disk.mounted()) {
    WARN("not tested: a small file system cannot be mounted here (" << std::strerror(errno) << ")");
    return;
  }
  cluster_shape how;
  how.state = disk.path() + "/state";
  test_cluster cluster{how};
  auto held = cluster.submit({"--hold", "true"});
  auto running = cluster.submit_shell({}, "while ! [ -e go ]; do sleep 0.02; done; exit 22");
  REQUIRE(cluster.reaches(running, "running"));
  disk.fill();
  REQUIRE(eventually([&] {
    const auto full = cluster.troupe({"submit", "--hold", "true"}).exit != 0;
    disk.fill();
    return full;
  }));
  cluster.kill_trouped();
  cluster.write("go", "");
  disk.empty();
  cluster.up();
  CHECK(cluster.state_of(held) == "pending");
  CHECK(cluster.wait(running).out.find("exit code 22") != std::string::npos);
  CHECK(cluster.troupe({"release", held}).exit == 0);
  CHECK(cluster.wait(held).exit == 0);
}

TEST_CASE("a broken ledger or key file stops up with a clear sentence, and is left as it is") {
  for (const std::string name :
       {"ledger.db", "keys/root.pub", "keys/keyring", "keys/signing-1.key"}) {
    INFO(name);
    test_cluster cluster;
    CHECK(cluster.troupe({"run", "true"}).exit == 0);
    const auto path = cluster.state() + "/" + name;
    // What is in the log only would be read from there.
    const auto log = cluster.state() + "/ledger.db-wal";
    REQUIRE(eventually([&] { return read_file(cluster.state() + "/ledger.db").size() > 8192; }));
    REQUIRE(cluster.troupe({"down"}).exit == 0);
    if (name == "ledger.db")
      REQUIRE(::truncate(log.c_str(), 0) == 0);
    corrupt(path, 0, "this is not what it was, and it is long enough to be seen");
    const auto broken = read_file(path);
    auto refused = cluster.try_up();
    INFO(refused.err);
    CHECK(refused.exit == 1);
    CHECK(refused.err.find(name.substr(name.rfind('/') + 1)) != std::string::npos);
    CHECK(read_file(path) == broken);
    CHECK(cluster.processes().empty());
  }
}

TEST_CASE("an altered audit log is found by verify") {
  test_cluster cluster;
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(cluster.troupe({"audit", "verify"}).exit == 0);
  const auto path = cluster.state() + "/audit.log";
  auto text = read_file(path);
  const auto at = text.size() / 2;
  corrupt(path, static_cast<off_t>(at), std::string(1, static_cast<char>(text[at] ^ 1)));
  auto found = cluster.troupe({"audit", "verify"});
  CHECK(found.exit == 1);
  CHECK(lines_of(found.err).size() == 1);
}

TEST_CASE("a daemon that cannot start takes the launcher that it started with it") {
  test_cluster cluster;
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  const auto path = cluster.state() + "/audit.log";
  REQUIRE(::rename(path.c_str(), (path + ".kept").c_str()) == 0);
  REQUIRE(::mkdir(path.c_str(), 0700) == 0);
  auto refused = cluster.troupe({"up"});
  CHECK(refused.exit == 1);
  CHECK(refused.err.find("audit.log") != std::string::npos);
  CHECK(eventually([&] { return cluster.processes().empty(); }));
  REQUIRE(::rmdir(path.c_str()) == 0);
  REQUIRE(::rename((path + ".kept").c_str(), path.c_str()) == 0);
  CHECK(cluster.troupe({"up"}).exit == 0);
  CHECK(cluster.run_shell({}, "exit 3").exit == 3);
}

TEST_CASE("a state directory that cannot be written stops up with a clear sentence") {
  test_cluster cluster;
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  auto environment = cluster.environment();
  environment.push_back("TROUPE_STATE_DIR=/proc/nowhere");
  std::erase_if(environment, [&](const std::string& each) {
    return each == "TROUPE_STATE_DIR=" + cluster.state();
  });
  auto refused =
      running_program{{TROUPE_PROGRAMS "/troupe", "up"}, cluster.work(), environment}.wait();
  CHECK(refused.exit == 1);
  CHECK(lines_of(refused.err).size() == 1);
  CHECK(refused.err.find("/proc/nowhere") != std::string::npos);
}
