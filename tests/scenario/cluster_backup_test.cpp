// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <filesystem>
#include <fstream>
#include <sys/stat.h>

// The ledger is checked, copied, made again and put back, as the administrator guide says it.

using namespace troupe::test;
namespace fs = std::filesystem;

namespace {

/// All that belongs to the ledger goes to a directory of the work directory.
void move_ledger_away(const test_cluster& cluster, const std::string& to) {
  fs::create_directory(cluster.path(to));
  for (const auto& one : fs::directory_iterator{cluster.state()})
    if (one.path().filename().string().rfind("ledger.db", 0) == 0)
      fs::rename(one.path(), cluster.path(to) + "/" + one.path().filename().string());
}

std::string bytes_of(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

} // namespace

TEST_CASE("a backup is a whole ledger of its owner's alone, and overwrites nothing") {
  test_cluster cluster{{1, 1, {}, {}}};
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  const auto made = cluster.troupe({"backup", "copy.db"});
  INFO(made.err);
  REQUIRE(made.exit == 0);
  CHECK(made.out.find(cluster.path("copy.db")) != std::string::npos);
  struct stat found {};
  REQUIRE(::stat(cluster.path("copy.db").c_str(), &found) == 0);
  CHECK((found.st_mode & 0777) == 0600);
  const auto before = cluster.file("copy.db");
  const auto again = cluster.troupe({"backup", "copy.db"});
  CHECK(again.exit == 1);
  CHECK(lines_of(again.err).size() == 1);
  CHECK(cluster.file("copy.db") == before);
  CHECK(cluster.troupe({"backup", "no/such/folder"}).exit == 1);
  CHECK(cluster.troupe({"backup"}).exit == 2);
  CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
  // Without a cluster that is up, too.
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  CHECK(cluster.troupe({"backup", "later.db"}).exit == 0);
  CHECK(fs::file_size(cluster.path("later.db")) > 0);
  CHECK(cluster.processes().empty());
}

TEST_CASE("a ledger that is restored from a backup has what was in it, and no number comes twice") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto ended = cluster.submit({"true"});
  CHECK(cluster.wait(ended).exit == 0);
  const auto held = cluster.submit({"--hold", "touch", "ran"});
  REQUIRE(cluster.troupe({"backup", "copy.db"}).exit == 0);
  auto last = held;
  for (int i = 0; i < 3; ++i) {
    last = cluster.submit({"-o", "|", "true"});
    CHECK(cluster.wait(last).exit == 0);
  }
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  move_ledger_away(cluster, "away");
  const auto gone = cluster.troupe({"up"});
  CHECK(gone.exit == 1);
  CHECK(gone.err.find("ledger") != std::string::npos);
  fs::copy_file(cluster.path("copy.db"), cluster.state() + "/ledger.db");
  const auto rebuilt = cluster.troupe({"ledger", "rebuild"});
  INFO(rebuilt.err);
  REQUIRE(rebuilt.exit == 0);
  const auto up = cluster.try_up();
  INFO(up.err);
  REQUIRE(up.exit == 0);
  CHECK(cluster.state_of(ended) == "completed");
  CHECK(cluster.state_of(held) == "pending");
  CHECK(cluster.troupe({"ledger", "check"}).exit == 0);
  CHECK(std::stoull(cluster.submit({"true"})) > std::stoull(last));
  CHECK(cluster.troupe({"release", held}).exit == 0);
  CHECK(cluster.wait(held).exit == 0);
  CHECK(fs::exists(cluster.path("ran")));
}

TEST_CASE(
    "a backup in the ledger's place, or a ledger without its head, stops 'up' until a rebuild") {
  test_cluster cluster{{1, 2, {}, {}}};
  CHECK(cluster.wait(cluster.submit({"true"})).exit == 0);
  REQUIRE(cluster.troupe({"backup", "copy.db"}).exit == 0);
  const auto running = cluster.submit({"-o", "/dev/null", "sleep", "600"});
  REQUIRE(cluster.reaches(running, "running"));
  cluster.kill_trouped();
  move_ledger_away(cluster, "away");
  fs::copy_file(cluster.path("copy.db"), cluster.state() + "/ledger.db");
  const auto is_refused = [&](const std::string& word) {
    const auto up = cluster.try_up();
    INFO(up.err);
    CHECK(up.exit == 1);
    CHECK(up.err.find(word) != std::string::npos);
    CHECK(up.err.find("'troupe ledger rebuild'") != std::string::npos);
    CHECK(cluster.job_processes().size() == 1);
  };
  is_refused("is gone"); // its head, which was moved with it
  fs::copy_file(cluster.path("away/ledger.db.head"), cluster.state() + "/ledger.db.head");
  is_refused("it is an older copy");
  // The right one, put back.
  for (const auto& one : fs::directory_iterator{cluster.path("away")})
    fs::copy_file(one.path(), cluster.state() + "/" + one.path().filename().string(),
                  fs::copy_options::overwrite_existing);
  fs::remove(cluster.state() + "/ledger.db.head");
  is_refused("ledger.db.head is gone");
  fs::copy_file(cluster.path("away/ledger.db.head"), cluster.state() + "/ledger.db.head");
  REQUIRE(cluster.try_up().exit == 0);
  CHECK(cluster.state_of(running) == "running");
  // Nothing but the audit log tells of what came after the backup.
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  move_ledger_away(cluster, "later");
  fs::copy_file(cluster.path("copy.db"), cluster.state() + "/ledger.db");
  REQUIRE(cluster.troupe({"ledger", "rebuild"}).exit == 0);
  REQUIRE(cluster.try_up().exit == 0);
  CHECK(std::stoull(cluster.submit({"true"})) > std::stoull(running));
}

TEST_CASE(
    "a check says that a ledger is whole, or what is wrong, whether the cluster is up or not") {
  test_cluster cluster{{1, 1, {}, {}}};
  CHECK(cluster.wait(cluster.submit({"-a", "1-200", "-o", "/dev/null", "true"})).exit == 0);
  const auto whole = cluster.ask({"ledger", "check"});
  CHECK(whole["good"] == true);
  CHECK(whole["jobs"] == 1);
  const auto refused = cluster.troupe({"ledger", "rebuild"});
  CHECK(refused.exit == 1);
  CHECK(refused.err.find("troupe down") != std::string::npos);
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  CHECK(cluster.troupe({"ledger", "check"}).exit == 0);
  CHECK(cluster.processes().empty());
  // What is damaged has to count: of a page that the log has a newer copy of, it does not.
  REQUIRE(cluster.troupe({"ledger", "rebuild"}).exit == 0);
  CHECK(cluster.troupe({"ledger", "check"}).exit == 0);
  const auto file = cluster.state() + "/ledger.db";
  auto bytes = bytes_of(file);
  const std::string asked_for = "/dev/null"; // as it stands in its event
  REQUIRE(bytes.find(asked_for) != std::string::npos);
  for (auto at = bytes.find(asked_for); at != std::string::npos; at = bytes.find(asked_for))
    bytes[at] = '!';
  std::ofstream{file, std::ios::binary} << bytes;
  const auto damaged = cluster.troupe({"ledger", "check"});
  CHECK(damaged.exit == 1);
  CHECK(damaged.err.find("not as it was written") != std::string::npos);
  CHECK(damaged.err.find("rebuild") != std::string::npos);
}
