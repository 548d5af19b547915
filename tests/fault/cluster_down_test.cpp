// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

// `down` says "down" when nothing is left, and not before.

using namespace troupe::test;

namespace {

/// Ends `seconds` after it was told to, well.
std::string slow_to_end(int seconds, const std::string& mark) {
  return "trap 'sleep " + std::to_string(seconds) + "; echo done >>" + mark +
         "; exit 0' TERM; echo up >>" + mark + "; while :; do sleep 0.05; done";
}

bool is_marked(const test_cluster& cluster, const std::string& mark) {
  return cluster.file(mark).find("up") != std::string::npos;
}

/// 0 where there is no such process.
pid_t parent_of(pid_t pid) {
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end == std::string::npos ? 0 : std::atoi(stat.c_str() + name_end + 4);
}

} // namespace

TEST_CASE("down waits as long as grace times need, says so, and leaves nothing") {
  test_cluster cluster{{1, 4, {}, {}}};
  auto slow = cluster.submit_shell({"--grace", "60s"}, slow_to_end(7, "slow"));
  auto quick = cluster.submit_shell({}, slow_to_end(0, "quick"));
  auto waits = cluster.submit({"-n", "4", "true"});
  REQUIRE(eventually([&] { return is_marked(cluster, "slow") && is_marked(cluster, "quick"); }));
  REQUIRE(cluster.reaches(slow, "running"));
  auto down = cluster.start({"down"});
  REQUIRE(eventually([&] { return cluster.file("quick").find("done") != std::string::npos; }));
  CHECK_FALSE(down.ended());
  CHECK(cluster.troupe({"queue"}).exit == 0); // it is stopping, not gone
  auto second = cluster.start({"down"});
  const auto first = down.wait(60s);
  INFO(first.err);
  CHECK(first.exit == 0);
  CHECK(first.err.find("waiting for 1 job") != std::string::npos);
  CHECK(first.out.find("was still running: " + slow) != std::string::npos);
  CHECK(cluster.file("slow") == "up\ndone\n");
  const auto then = second.wait();
  CHECK(cluster.processes().empty());
  CHECK(then.exit == 0);
  CHECK(then.out.find("no cluster is up") == 0);
  cluster.up();
  CHECK(cluster.state_of(slow) == "cancelled");
  CHECK(cluster.state_of(quick) == "cancelled");
  CHECK(cluster.wait(waits).exit == 0);
}

TEST_CASE("down ends all of many, keeps what has not started, and loses nothing") {
  test_cluster cluster{{4, 400, {}, {}}};
  auto many = cluster.submit({"-a", "1-2000", "-o", "/dev/null", "sleep", "1000"});
  REQUIRE(
      eventually([&] { return cluster.row_of(many)["elements_running"].get<int>() >= 1500; }, 60s));
  std::vector<std::string> others;
  for (int i = 0; i < 20; ++i)
    others.push_back(cluster.submit({"-o", "/dev/null", "true"}));
  const auto down = cluster.troupe({"down"}, 60s);
  INFO(down.err);
  CHECK(down.exit == 0);
  CHECK(cluster.processes().empty());
  cluster.up();
  const auto row = cluster.row_of(many);
  CHECK(row["elements_failed"] == 0);
  CHECK(row["ended_utc_ns"] == 0); // what had not started is there, and starts now
  CHECK(cluster.troupe({"cancel", many}).exit == 0);
  for (const auto& each : others)
    CHECK(cluster.wait(each).exit == 0);
}

TEST_CASE("a down of a cluster in which nothing runs says what waits") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto job = cluster.submit({"--hold", "true"});
  for (int round = 0; round < 6; ++round) {
    const auto down = cluster.troupe({"down"});
    INFO(down.err);
    CHECK(down.out.find("1 job was still pending") == 0);
    CHECK(lines_of(down.out).back() == "down");
    cluster.up();
  }
}

TEST_CASE("down while trouped is dead ends what its launcher runs, and starts nothing") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto running = cluster.submit_shell({}, slow_to_end(1, "slow"));
  REQUIRE(eventually([&] { return is_marked(cluster, "slow"); }));
  REQUIRE(cluster.reaches(running, "running"));
  auto waiting = cluster.submit({"touch", "started"});
  cluster.kill_trouped();
  const auto lost = cluster.troupe({"queue"});
  CHECK(lost.exit == 75);
  CHECK(lost.err.find("its jobs go on") != std::string::npos);
  const auto down = cluster.troupe({"down"}, 60s);
  INFO(down.err);
  CHECK(down.exit == 0);
  CHECK(down.out.find("was still running: " + running) != std::string::npos);
  CHECK(cluster.processes().empty());
  CHECK(cluster.file("slow") == "up\ndone\n");
  CHECK_FALSE(std::filesystem::exists(cluster.path("started")));
  cluster.up();
  CHECK(cluster.state_of(running) == "cancelled");
  CHECK(cluster.wait(waiting).exit == 0);
}

TEST_CASE("where trouped cannot start any more, down says what is left and purges nothing") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto running = cluster.submit({"sleep", "1000"});
  REQUIRE(cluster.reaches(running, "running"));
  cluster.kill_trouped();
  const auto keys = cluster.state() + "/keys";
  REQUIRE(::rename(keys.c_str(), cluster.path("kept").c_str()) == 0);
  const auto refused = cluster.troupe({"down", "--purge"}, 60s);
  CHECK(refused.exit == 1);
  INFO(refused.err);
  CHECK(refused.err.find("keys") != std::string::npos);
  CHECK(refused.err.find(std::to_string(cluster.launcher())) != std::string::npos);
  CHECK(is_alive(cluster.launcher()));
  CHECK(cluster.job_processes().size() == 1);
  CHECK_FALSE(std::filesystem::exists(keys)); // none were made in their place
  REQUIRE(::rename(cluster.path("kept").c_str(), keys.c_str()) == 0);
  CHECK(cluster.troupe({"down"}, 60s).exit == 0);
  CHECK(cluster.processes().empty());
}

TEST_CASE("a down that is refused changes nothing") {
  test_cluster cluster{{1, 2, {}, {}}};
  for (const words& verbs : std::vector<words>{
           words{"--verb", "cluster_stop"}, words{"--verb", "cluster_stop", "--verb", "queue_read"},
           words{"--verb", "cluster_stop", "--verb", "queue_read", "--verb", "job_cancel_any",
                 "--jobs", "1-5"},
           words{"--verb", "queue_read"}}) {
    ::unlink(cluster.path("narrow").c_str());
    words made{"cap", "attenuate", "narrow"};
    made.insert(made.end(), verbs.begin(), verbs.end());
    REQUIRE(cluster.troupe(made).exit == 0);
    const auto refused = cluster.troupe({"down", "--capability", "narrow"});
    INFO(refused.err);
    CHECK(refused.exit == 1);
    CHECK(lines_of(refused.err).size() == 1);
    CHECK(cluster.troupe({"run", "echo", "works"}).out == "works\n");
  }
}

TEST_CASE("a trouped that dies while the cluster stops is started again to the same end") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto slow = cluster.submit_shell({"--grace", "30s"}, slow_to_end(6, "slow"));
  auto deaf = cluster.submit_shell({"--grace", "7s", "-o", "/dev/null"},
                                   "trap '' TERM; echo up >>deaf; while :; do sleep 0.05; done");
  REQUIRE(eventually([&] { return is_marked(cluster, "slow") && is_marked(cluster, "deaf"); }));
  REQUIRE((cluster.reaches(slow, "running") && cluster.reaches(deaf, "running")));
  auto down = cluster.start({"down"});
  REQUIRE(eventually([&] {
    return cluster.file("../state/trouped.log").find("cluster: stopping") != std::string::npos;
  }));
  cluster.kill_trouped();
  const auto ended = down.wait(60s);
  INFO(ended.out << ended.err);
  CHECK(ended.exit == 0);
  CHECK(ended.err.find("starting trouped to end what runs") != std::string::npos);
  CHECK(lines_of(ended.out).back() == "down");
  CHECK(cluster.processes().empty());
  CHECK(cluster.file("slow") == "up\ndone\n");
  CHECK(cluster.troupe({"down"}).out.find("no cluster is up") == 0);
  cluster.up();
  CHECK(cluster.state_of(slow) == "cancelled");
  CHECK(cluster.state_of(deaf) == "cancelled");
}

TEST_CASE("a trouped that is killed at any moment of a down leaves nothing behind") {
  test_cluster cluster{{1, 4, {}, {}}};
  for (int round = 0; round < 4; ++round) {
    const auto many = cluster.submit({"-a", "1-500", "-o", "/dev/null", "sleep", "0.3"});
    REQUIRE(cluster.reaches(many + "_1", "running"));
    auto down = cluster.start({"down"});
    // The moment is what is varied.
    eventually([] { return false; }, std::chrono::milliseconds{10 + 20 * round});
    if (const auto daemon = cluster.trouped(); is_alive(daemon))
      kill_and_wait(daemon);
    const auto ended = down.wait(60s);
    INFO("round " << round << ": " << ended.out << ended.err);
    CHECK(ended.exit == 0);
    CHECK(cluster.processes().empty());
    cluster.up();
    CHECK(cluster.troupe({"cancel", many}).exit == 0);
  }
}

TEST_CASE("down ends what a launcher that was killed with its keeper and trouped has left") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto job = cluster.submit_shell(
      {"-o", "/dev/null"},
      "(trap '' TERM; while :; do sleep 0.05; done) & setsid sleep 1000 & echo up >>mark; wait");
  REQUIRE(eventually([&] { return is_marked(cluster, "mark"); }));
  REQUIRE(cluster.reaches(job, "running"));
  const auto launcher = cluster.launcher();
  const auto keeper = parent_of(launcher);
  REQUIRE((launcher > 1 && keeper > 1));
  for (const auto one : {keeper, cluster.trouped(), launcher})
    kill_and_wait(one);
  REQUIRE_FALSE(cluster.job_processes().empty());
  const auto down = cluster.troupe({"down"}, 60s);
  INFO(down.out << down.err);
  CHECK(down.exit == 0);
  CHECK(down.out == "down\n");
  CHECK(down.err.find("was killed") != std::string::npos);
  CHECK(lines_of(down.err).size() == 1);
  CHECK(cluster.processes().empty());
  CHECK(cluster.troupe({"down"}).out.find("no cluster is up") == 0);
  cluster.up();
  CHECK(cluster.state_of(job) == "lost");
}

TEST_CASE("submit whose connection is lost says the id, and each id is one job") {
  test_cluster cluster{{1, 1, {}, {}}};
  std::set<std::string> ids;
  int unknown = 0;
  for (int round = 0; round < 6; ++round) {
    std::vector<running_program> submits;
    for (int i = 0; i < 6; ++i)
      submits.push_back(cluster.start({"submit", "--hold", "true"}));
    // The moment is what is varied.
    eventually([] { return false; }, std::chrono::milliseconds{3 * round});
    cluster.kill_trouped();
    cluster.up();
    for (auto& each : submits) {
      const auto done = each.wait(90s);
      INFO(done.err);
      if (done.exit == 0)
        CHECK(ids.insert(lines_of(done.out).front()).second);
      else
        unknown += done.err.find("unknown") != std::string::npos;
      // One that found no cluster at all had asked for nothing.
      CHECK((done.exit == 0 || done.exit == 75));
    }
  }
  const auto rows = cluster.ask({"queue"})["rows"];
  std::set<std::string> known;
  for (const auto& row : rows)
    known.insert(std::to_string(row["job"].get<std::uint64_t>()));
  CHECK(std::includes(known.begin(), known.end(), ids.begin(), ids.end()));
  CHECK(known.size() <= ids.size() + static_cast<std::size_t>(unknown));
}
