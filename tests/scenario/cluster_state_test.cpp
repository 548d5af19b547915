// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"
#include "runtime/state/files.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <unistd.h>

// Which cluster is meant, and whether it lives: the state directory says so, nobody's environment.

using namespace troupe::test;
namespace fs = std::filesystem;

namespace {

/// A directory of its own for a cluster whose place follows from HOME or XDG_STATE_HOME.
class home {
public:
  home() {
    char name[] = "/tmp/troupe-home-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~home() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  home(const home&) = delete;
  home& operator=(const home&) = delete;
  const std::string& path() const { return path_; }
  std::string state() const { return path_ + "/.local/state/troupe"; }

private:
  std::string path_;
};

/// `troupe` with nothing of the caller's environment but these, as cron starts it.
outcome troupe_as(const test_cluster& cluster, std::vector<std::string> environment,
                  const words& arguments) {
  words command{TROUPE_PROGRAMS "/troupe"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return running_program{command, cluster.work(), environment}.wait(60s);
}

std::string configuration_of(test_cluster& cluster) {
  return cluster.ask({"config", "show"})["path"].get<std::string>();
}

bool has_shape(test_cluster& cluster, std::size_t nodes, int cores) {
  const auto rows = cluster.ask({"nodes"})["nodes"];
  return rows.size() == nodes && rows[0]["cores"] == cores;
}

/// How many rounds: more where time is given for them.
int rounds(int short_run, int long_run) {
  return std::getenv("TROUPE_TEST_LONG") != nullptr ? long_run : short_run;
}

} // namespace

TEST_CASE("ups at once make one cluster, of the shape and configuration that were remembered") {
  test_cluster cluster;
  cluster.write("queues.toml", "[queues.main]\ndefault = true\n");
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  REQUIRE(cluster.troupe({"up", "--nodes", "3", "--cores", "2", "--config", "queues.toml"}).exit ==
          0);
  for (int round = 0; round < rounds(5, 35); ++round) {
    REQUIRE(cluster.troupe({"down"}).exit == 0);
    std::vector<running_program> ups;
    for (int i = 0; i < 4; ++i)
      ups.push_back(cluster.start({"up"}));
    for (auto& each : ups) {
      const auto done = each.wait(60s);
      INFO(done.out << done.err);
      CHECK(done.exit == 0);
    }
    CHECK(has_shape(cluster, 3, 2));
    CHECK(configuration_of(cluster) == cluster.path("queues.toml"));
  }
}

TEST_CASE("an up that is killed at any moment leaves a cluster that the next one finds or makes") {
  test_cluster cluster;
  cluster.write("queues.toml", "[queues.main]\ndefault = true\n");
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  REQUIRE(cluster.troupe({"up", "--nodes", "3", "--cores", "2", "--config", "queues.toml"}).exit ==
          0);
  const auto count = rounds(8, 60);
  for (int round = 0; round < count; ++round) {
    REQUIRE(cluster.troupe({"down"}).exit == 0);
    auto up = cluster.start({"up"});
    // The moment is what is varied.
    eventually([] { return false; }, std::chrono::milliseconds{round * 120 / count});
    up.signal(SIGKILL);
    const auto again = cluster.troupe({"up"}, 60s);
    INFO("round " << round << ": " << again.err);
    REQUIRE(again.exit == 0);
    CHECK(has_shape(cluster, 3, 2));
    CHECK(configuration_of(cluster) == cluster.path("queues.toml"));
    CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
  }
}

TEST_CASE("a purge that is killed at any moment is told as one, and is done by the next") {
  test_cluster cluster;
  const auto count = rounds(12, 100);
  for (int round = 0; round < count; ++round) {
    REQUIRE(cluster.troupe({"down"}).exit == 0);
    auto purge = cluster.start({"down", "--purge"});
    // The moment is what is varied.
    eventually([] { return false; }, std::chrono::milliseconds{round * 12 / count});
    purge.signal(SIGKILL);
    purge.wait();
    const auto up = cluster.troupe({"up", "--nodes", "2", "--cores", "2"}, 60s);
    INFO("round " << round << ": " << up.err);
    if (up.exit == 0)
      continue;
    CHECK(up.err.find("interrupted; run 'troupe down --purge' again") != std::string::npos);
    CHECK(lines_of(up.err).size() == 1);
    CHECK(cluster.troupe({"down"}).err.find("interrupted") != std::string::npos);
    CHECK(cluster.troupe({"down", "--purge"}).exit == 0);
    CHECK_FALSE(fs::exists(cluster.state()));
    cluster.up();
  }
}

TEST_CASE("an up that fails is not remembered; a damaged shape is told and not passed over") {
  test_cluster cluster;
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  cluster.write("bad.toml", "[queues.main\n");
  CHECK(cluster.troupe({"up", "--nodes", "5", "--config", "bad.toml"}).exit == 1);
  CHECK(cluster.troupe({"up", "--nodes", "65"}).exit == 2);
  REQUIRE(cluster.troupe({"up"}).exit == 0);
  CHECK(has_shape(cluster, 2, 2));
  CHECK(cluster.troupe({"up", "--config", "bad.toml"}).exit == 1); // it is up without one
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  cluster.write("../state/shape", "nodes 2 co");
  auto refused = cluster.troupe({"up"});
  CHECK(refused.exit == 1);
  CHECK(lines_of(refused.err).size() == 1);
  CHECK(refused.err.find("shape") != std::string::npos);
  REQUIRE(::unlink((cluster.state() + "/shape").c_str()) == 0);
  cluster.up();
}

TEST_CASE("every command means the cluster of the state directory, whatever the environment is") {
  home at;
  cluster_shape how;
  how.state = at.state();
  fs::create_directories(at.path() + "/.local/state");
  test_cluster cluster{how};
  const auto path = "PATH=" TROUPE_PROGRAMS ":/usr/bin:/bin";
  const std::vector<std::string> cron{"HOME=" + at.path(), path};
  auto with = [&](const std::string& entry) {
    auto all = cron;
    all.push_back(entry);
    return all;
  };
  const std::vector<std::vector<std::string>> environments{
      cron,
      with("XDG_RUNTIME_DIR=/nonexistent"),
      with("XDG_RUNTIME_DIR=" + at.path()),
      {path, "HOME=/nonexistent", "XDG_STATE_HOME=" + at.path() + "/.local/state"}};
  for (const auto& environment : environments) {
    CHECK(troupe_as(cluster, environment, {"run", "echo", "works"}).out == "works\n");
    CHECK(troupe_as(cluster, environment, {"up"}).out.find("already up") == 0);
  }
  // A socket that is named is where the other commands go; what to do about it is said.
  const auto lost = troupe_as(cluster, with("TROUPE_SOCKET=/nonexistent/socket"), {"queue"});
  CHECK(lost.exit == 75);
  CHECK(lines_of(lost.err).size() == 1);
  CHECK(lost.err.find("TROUPE_SOCKET") != std::string::npos);
  for (const auto& environment :
       {cron, with("XDG_RUNTIME_DIR=/nonexistent"), with("TROUPE_SOCKET=/nonexistent/socket")}) {
    const auto job = cluster.submit({"sleep", "1000"});
    REQUIRE(cluster.reaches(job, "running"));
    const auto down = troupe_as(cluster, environment, {"down"});
    INFO(down.err);
    CHECK(down.exit == 0);
    CHECK(down.out.find("was still running: " + job) != std::string::npos);
    CHECK(cluster.processes().empty());
    const auto again = troupe_as(cluster, environment, {"down"});
    CHECK(again.exit == 0);
    CHECK(again.out == "no cluster is up in " + at.state() + "\n");
    cluster.up();
  }
}

TEST_CASE("a state directory whose path is too long for a socket is refused with what to do") {
  test_cluster cluster;
  const auto place = "TROUPE_STATE_DIR=" + cluster.work() + "/" + std::string(100, 'x');
  const auto refused = troupe_as(cluster, {place}, {"up"});
  CHECK(refused.exit == 1);
  CHECK(lines_of(refused.err).size() == 1);
  CHECK(refused.err.find("; choose a shorter one by TROUPE_STATE_DIR\n") != std::string::npos);
  CHECK(refused.err.find("TROUPE_SOCKET") == std::string::npos);
}

TEST_CASE("a directory of somebody else's is neither served nor touched") {
  if (::geteuid() != 0)
    return;
  test_cluster cluster;
  REQUIRE(::chown(cluster.state().c_str(), 65534, 65534) == 0);
  for (const auto* command : {"up", "down"}) {
    const auto refused = cluster.troupe({command});
    CHECK(refused.exit == 1);
    CHECK(refused.err.find("65534") != std::string::npos);
  }
  REQUIRE(::chown(cluster.state().c_str(), 0, 0) == 0);
  CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
}

TEST_CASE("every file that a cluster makes is one that a purge knows") {
  test_cluster cluster;
  CHECK(cluster.troupe({"run", "sh", "-c", "echo out; echo err >&2"}).exit == 0);
  CHECK(cluster.wait(cluster.submit({"-a", "1-20", "-o", "/dev/null", "true"})).exit == 0);
  CHECK(cluster.troupe({"audit", "verify"}).exit == 0);
  CHECK(cluster.troupe({"cap", "revoke", "--job", "1"}).exit == 0);
  cluster.kill_trouped();
  cluster.up();
  const auto names_of = [&] {
    std::vector<std::string> names;
    for (const auto& one : fs::recursive_directory_iterator{cluster.state()})
      names.push_back(fs::relative(one.path(), cluster.state()).string());
    return names;
  };
  for (const auto& name : names_of())
    if (troupe::state::owner_of(name) == troupe::state::ownership::foreign)
      FAIL_CHECK("nobody knows whose " << name << " is");
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  for (const auto& name : names_of())
    if (troupe::state::owner_of(name) == troupe::state::ownership::foreign)
      FAIL_CHECK("nobody knows whose " << name << " is");
  const auto purged = cluster.troupe({"down", "--purge"});
  INFO(purged.err);
  CHECK(purged.exit == 0);
  CHECK_FALSE(fs::exists(cluster.state()));
}

TEST_CASE("a purge of a directory with anything of somebody's leaves all of it") {
  test_cluster cluster;
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  cluster.write("../state/ledger-2025.csv", "a,b\n");
  cluster.write("../state/keys/id_ed25519", "mine", 0600);
  const auto refused = cluster.troupe({"down", "--purge"});
  CHECK(refused.exit == 1);
  CHECK(lines_of(refused.err).size() == 1);
  CHECK(cluster.file("../state/ledger-2025.csv") == "a,b\n");
  CHECK(cluster.file("../state/keys/id_ed25519") == "mine");
  cluster.up(); // nothing of the cluster's was removed either
  CHECK(cluster.state_of("1") == "completed");
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  REQUIRE(::unlink(cluster.path("../state/ledger-2025.csv").c_str()) == 0);
  REQUIRE(::unlink(cluster.path("../state/keys/id_ed25519").c_str()) == 0);
  CHECK(cluster.troupe({"down", "--purge"}).exit == 0);
}

TEST_CASE("a purge of what was never a cluster's removes nothing") {
  home at;
  fs::create_directories(at.state() + "/keys");
  fs::permissions(at.state(), fs::perms::owner_all);
  {
    running_program made{{"touch", at.state() + "/ledger.db"}, at.path(), {"PATH=/usr/bin:/bin"}};
    REQUIRE(made.wait().exit == 0);
  }
  const auto refused = running_program{
      {TROUPE_PROGRAMS "/troupe", "down", "--purge"},
      at.path(),
      {"HOME=" +
       at.path()}}.wait();
  CHECK(refused.exit == 1);
  CHECK(refused.err.find("mark") != std::string::npos);
  CHECK(fs::exists(at.state() + "/ledger.db"));
}
