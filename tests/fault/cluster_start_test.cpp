// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <filesystem>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

// A start that fails says why in one line, leaves no process, and what was there as it was.

using namespace troupe::test;
namespace fs = std::filesystem;

namespace {

const std::string programs = TROUPE_PROGRAMS;
const std::string troupe_program = programs + "/troupe";

/// `troupe up` under a limit that its shell sets.
outcome up_under(const test_cluster& cluster, const std::string& limit) {
  return running_program{{"sh", "-c", limit + "; exec \"$@\"", "sh", troupe_program, "up"},
                         cluster.work(),
                         cluster.environment()}
      .wait(60s);
}

std::string contents(const std::string& directory) {
  std::string all;
  for (const auto* name : {"root.key", "root.pub", "signing-1.key", "keyring"})
    all += read_file(directory + "/" + name) + "|";
  return all;
}

} // namespace

TEST_CASE("a start without descriptors enough fails in one line and leaves nothing, or works") {
  test_cluster cluster{{1, 2, {}, {}}};
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  for (const int limit : {4, 8, 12, 16, 24, 32, 48, 63, 64, 80}) {
    const auto done = up_under(cluster, "ulimit -n " + std::to_string(limit));
    INFO("ulimit -n " << limit << ": " << done.out << done.err);
    if (done.exit != 0) {
      CHECK(limit < 64);
      CHECK(lines_of(done.err).size() == 1);
      CHECK(done.err.find("file") != std::string::npos);
      CHECK(eventually([&] { return cluster.processes().empty(); }));
    } else {
      CHECK(limit >= 64);
      CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
      CHECK(cluster.troupe({"down"}).exit == 0);
    }
  }
  cluster.up();
  CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
}

TEST_CASE("a first start that may write nothing, not even its log, says why") {
  test_cluster cluster{{1, 1, {}, {}}};
  REQUIRE(cluster.troupe({"down", "--purge"}).exit == 0);
  // Its words come by a pipe: the limit is on files.
  const auto done = running_program{{"sh", "-c", "(ulimit -f 0; exec \"$@\" 2>&1) | cat", "sh",
                                     troupe_program, "up"},
                                    cluster.work(),
                                    cluster.environment()}
                        .wait(60s);
  INFO(done.out);
  CHECK(lines_of(done.out).size() == 1);
  CHECK(done.out.find("File too large") != std::string::npos);
  CHECK(cluster.processes().empty());
  cluster.up();
}

TEST_CASE("a configuration that is no regular file is refused, and holds nobody") {
  test_cluster cluster{{1, 1, {}, {}}};
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  const auto pipe = cluster.path("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  for (const auto& file : {pipe, cluster.work()}) {
    const auto refused = cluster.troupe({"up", "--config", file});
    INFO(refused.err);
    CHECK(refused.exit == 1);
    CHECK(lines_of(refused.err).size() == 1);
    CHECK(refused.err.find("no regular file") != std::string::npos);
  }
  cluster.up();
}

TEST_CASE("a user who may have few processes is told so, and no launcher is left") {
  if (::geteuid() != 0)
    return;
  // A user of nobody else's: the limit counts all of a user's processes.
  const auto uid = std::to_string(300'000 + ::getpid() % 100'000);
  char name[] = "/tmp/troupe-user-XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  const std::string folder{name};
  REQUIRE(::chown(name, static_cast<uid_t>(std::stoul(uid)), 0) == 0);
  const std::vector<std::string> environment{"PATH=/usr/bin:/bin", "HOME=" + folder,
                                             "TROUPE_STATE_DIR=" + folder + "/state"};
  for (const auto* limit : {"4", "8", "12", "20"}) {
    const auto done =
        running_program{{"setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "prlimit",
                         std::string{"--nproc="} + limit, troupe_program, "up"},
                        folder,
                        environment}
            .wait(60s);
    INFO("nproc " << limit << ": " << done.out << done.err);
    CHECK(done.exit == 1);
    CHECK(lines_of(done.err).size() == 1);
    CHECK(done.err.find("process") != std::string::npos);
    const auto left = running_program{{"pgrep", "-u", uid}, folder, {"PATH=/usr/bin:/bin"}}.wait();
    CHECK(left.out.empty());
  }
  fs::remove_all(folder);
}

TEST_CASE("what is missing of a cluster's keys is told, and nothing is made in its place") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto held = cluster.submit({"--hold", "true"});
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  const auto keys = cluster.state() + "/keys";
  const auto before = contents(keys);
  for (const std::string name : {"root.pub", "keyring", "signing-1.key"}) {
    REQUIRE(::rename((keys + "/" + name).c_str(), cluster.path("kept").c_str()) == 0);
    const auto refused = cluster.troupe({"up"});
    INFO(name << ": " << refused.err);
    CHECK(refused.exit == 1);
    CHECK(lines_of(refused.err).size() == 1);
    CHECK(refused.err.find(name) != std::string::npos);
    CHECK(cluster.processes().empty());
    CHECK_FALSE(fs::exists(keys + "/" + name));
    REQUIRE(::rename(cluster.path("kept").c_str(), (keys + "/" + name).c_str()) == 0);
  }
  CHECK(contents(keys) == before);
  // Another cluster's launcher beside these keys.
  const auto trust = cluster.state() + "/launcher/trust";
  const auto bytes = read_file(trust);
  auto other = bytes;
  other[30] = static_cast<char>(other[30] ^ 1);
  cluster.write("../state/launcher/trust", other, 0600);
  CHECK(cluster.troupe({"up"}).err.find("launcher") != std::string::npos);
  cluster.write("../state/launcher/trust", bytes, 0600);
  // The ledger alone is gone.
  REQUIRE(::rename((cluster.state() + "/ledger.db").c_str(), cluster.path("kept").c_str()) == 0);
  const auto refused = cluster.troupe({"up"});
  CHECK(refused.exit == 1);
  CHECK(refused.err.find("ledger") != std::string::npos);
  REQUIRE(::rename(cluster.path("kept").c_str(), (cluster.state() + "/ledger.db").c_str()) == 0);
  cluster.up();
  CHECK(cluster.state_of(held) == "pending");
}

TEST_CASE(
    "a start on a disk that is full at any step fails in one line and leaves nothing, or works") {
  char name[] = "/tmp/troupe-disk-XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  const std::string folder{name};
  char beside[] = "/tmp/troupe-words-XXXXXX";
  REQUIRE(::mkdtemp(beside) != nullptr);
  int refused = 0, worked = 0;
  for (int kilobytes : {4, 16, 24, 32, 40, 64, 128, 512, 2048, 8192, 32768}) {
    if (::mount("troupe-test", name, "tmpfs", 0,
                ("mode=0700,size=" + std::to_string(kilobytes) + "k").c_str()) != 0)
      break; // not allowed here
    INFO(kilobytes << " KiB");
    const std::vector<std::string> environment{"PATH=" + programs + ":/usr/bin:/bin",
                                               "TROUPE_STATE_DIR=" + folder + "/state"};
    const auto troupe = [&](const words& arguments) {
      words command{troupe_program};
      command.insert(command.end(), arguments.begin(), arguments.end());
      return running_program{command, beside, environment}.wait(60s);
    };
    const auto up = troupe({"up", "--nodes", "1", "--cores", "1"});
    INFO(up.out << up.err);
    if (up.exit == 0) {
      ++worked;
      const auto run = troupe({"run", "echo", "works"});
      INFO(run.err);
      CHECK((run.out == "works\n" || lines_of(run.err).size() == 1));
      const auto down = troupe({"down"});
      INFO(down.err);
      CHECK(down.exit == 0);
    } else {
      ++refused;
      CHECK(lines_of(up.err).size() == 1);
      CHECK(up.err.find("with exit code") == std::string::npos); // it says why
    }
    const auto left =
        running_program{{"pgrep", "-f", folder + "/state"}, beside, environment}.wait();
    CHECK(left.out.empty());
    ::umount2(name, MNT_DETACH);
  }
  CHECK((refused == 0 || worked > 0));
  ::rmdir(name);
  fs::remove_all(beside);
}
