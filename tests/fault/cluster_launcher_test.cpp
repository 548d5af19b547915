// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <csignal>
#include <random>
#include <set>

using namespace troupe::test;

// The launcher goes away, alone or with trouped.

namespace {

void check_at_most_once(const std::string& text) {
  std::multiset<std::string> seen;
  for (const auto& line : lines_of(text))
    seen.insert(line);
  for (const auto& line : seen)
    if (seen.count(line) != 1)
      FAIL_CHECK("element " << line << " ran " << seen.count(line) << " times");
}

/// Of a launcher: its keeper.
pid_t parent_of(pid_t pid) {
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  return static_cast<pid_t>(std::stoi(stat.substr(stat.rfind(')') + 4)));
}

bool works(test_cluster& cluster) {
  return cluster.troupe({"run", "echo", "works"}).out == "works\n";
}

} // namespace

TEST_CASE("when the launcher is killed its jobs are lost, ended, and not run again in silence") {
  test_cluster cluster;
  auto id = cluster.submit_shell({}, "echo $$ >>pids; exec sleep 1000");
  auto run = cluster.start({"run", "sh", "-c", "echo $$ >>pids; exec sleep 1000"});
  REQUIRE(eventually([&] { return lines_of(cluster.file("pids")).size() == 2; }));
  REQUIRE(cluster.reaches(id, "running"));
  cluster.kill_launcher();
  CHECK(cluster.reaches(id, "lost"));
  auto row = cluster.row_of(id);
  CHECK(row["reason"].get<std::string>().find("launcher ended") != std::string::npos);
  auto done = run.wait();
  CHECK(done.exit == 1);
  CHECK(done.err.find("lost") != std::string::npos);
  for (const auto& pid : lines_of(cluster.file("pids")))
    CHECK(eventually([&] { return !is_alive(static_cast<pid_t>(std::stoi(pid))); }));
  CHECK(works(cluster));
  CHECK(lines_of(cluster.file("pids")).size() == 2);
}

TEST_CASE("a job with --requeue runs again when its launcher was killed") {
  test_cluster cluster;
  auto id = cluster.submit_shell({"--requeue", "-o", "out"},
                                 "echo $$ >>pids; while ! [ -e go ]; do sleep 0.02; done");
  auto wide = cluster.submit_shell({"--requeue", "-N", "2", "-n", "2", "-o", "/dev/null"},
                                   "echo $$ >>pids; while ! [ -e go ]; do sleep 0.02; done");
  REQUIRE(eventually([&] { return lines_of(cluster.file("pids")).size() == 3; }));
  REQUIRE(cluster.reaches(id, "running"));
  REQUIRE(cluster.reaches(wide, "running"));
  cluster.kill_launcher();
  REQUIRE(eventually([&] { return lines_of(cluster.file("pids")).size() == 6; }));
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 0);
  CHECK(cluster.wait(wide).exit == 0);
  CHECK(cluster.state_of(id) == "completed");
  CHECK(lines_of(cluster.file("pids")).size() == 6);
}

TEST_CASE("what a job had detached is gone before the job runs again") {
  test_cluster cluster;
  auto id = cluster.submit_shell(
      {"--requeue", "-o", "/dev/null"},
      "[ -s daemons ] && kill -0 $(head -n 1 daemons) 2>/dev/null && echo beside >>both;"
      "env -i PATH=\"$PATH\" setsid --fork sh -c 'echo $$ >>daemons; exec sleep 1000';"
      "echo >>starts; while ! [ -e go ]; do sleep 0.02; done");
  REQUIRE(eventually([&] { return lines_of(cluster.file("daemons")).size() == 1; }));
  REQUIRE(cluster.reaches(id, "running"));
  cluster.kill_launcher();
  REQUIRE(eventually([&] { return lines_of(cluster.file("starts")).size() == 2; }));
  CHECK(cluster.file("both").empty());
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 0);
}

TEST_CASE("what may run on, its launcher and keeper killed, is not run again by itself") {
  test_cluster cluster;
  auto id = cluster.submit_shell({"--requeue"}, "echo $$ >>pids; exec sleep 1000");
  REQUIRE(eventually([&] { return lines_of(cluster.file("pids")).size() == 1; }));
  REQUIRE(cluster.reaches(id, "running"));
  const auto launcher = cluster.launcher();
  kill_and_wait(parent_of(launcher));
  kill_and_wait(launcher);
  CHECK(cluster.reaches(id, "lost"));
  CHECK(cluster.row_of(id)["reason"].get<std::string>().find("keeper") != std::string::npos);
  CHECK(works(cluster));
  CHECK(lines_of(cluster.file("pids")).size() == 1);
}

TEST_CASE("an array whose launcher is killed runs no element twice, and the cluster goes on") {
  test_cluster cluster{{2, 4, {}, {}}};
  auto id = cluster.submit_shell({"-a", "1-300", "-o", "/dev/null"}, "echo $TROUPE_ELEMENT >>all");
  REQUIRE(eventually([&] { return lines_of(cluster.file("all")).size() >= 20; }));
  cluster.kill_launcher();
  const auto waited = cluster.wait(id);
  INFO(waited.out << waited.err);
  check_at_most_once(cluster.file("all"));
  auto row = cluster.row_of(id);
  const auto ran = lines_of(cluster.file("all")).size();
  const auto lost = row["elements_failed"].get<std::size_t>();
  CHECK(ran + lost >= 300);
  CHECK(row["elements_pending"] == 0);
  CHECK(works(cluster));
  CHECK(works(cluster));
  CHECK(cluster.ask({"nodes"})["nodes"][0]["cores_used"] == 0);
}

TEST_CASE("a launcher killed again and again leaves a cluster that works") {
  test_cluster cluster;
  for (int round = 0; round < 4; ++round) {
    cluster.kill_launcher();
    auto done = cluster.troupe({"run", "echo", "works"});
    INFO(done.err);
    // A job that was on its way may be lost with it; the next is not.
    CHECK((done.out == "works\n" || done.err.find("lost") != std::string::npos));
    CHECK(works(cluster));
  }
}

TEST_CASE("a launcher that replaces its program loses nothing") {
  test_cluster cluster{{2, 4, {}, {}}};
  auto run = cluster.start({"run", "sh", "-c",
                            "i=0; while ! [ -e go ]; do echo $i; i=$((i+1)); sleep 0.01; done; "
                            "echo end; exit 8"});
  REQUIRE(eventually([&] { return !run.out().empty(); }));
  const auto launcher = cluster.launcher();
  auto id = cluster.submit_shell({"-a", "1-300", "-o", "/dev/null"}, "echo $TROUPE_ELEMENT >>all");
  std::size_t seen = 0;
  for (int round = 0; round < 5; ++round) {
    REQUIRE(eventually([&] {
      return lines_of(cluster.file("all")).size() >= std::min<std::size_t>(seen + 10, 300);
    }));
    seen = lines_of(cluster.file("all")).size();
    REQUIRE(::kill(launcher, SIGUSR2) == 0);
  }
  const auto waited = cluster.wait(id);
  INFO(waited.out << waited.err);
  CHECK(waited.exit == 0);
  check_at_most_once(cluster.file("all"));
  CHECK(lines_of(cluster.file("all")).size() == 300);
  CHECK(cluster.launcher() == launcher);
  cluster.write("go", "");
  auto done = run.wait();
  CHECK(done.exit == 8);
  auto lines = lines_of(done.out);
  REQUIRE(!lines.empty());
  CHECK(lines.back() == "end");
  for (std::size_t i = 0; i + 1 < lines.size(); ++i)
    if (lines[i] != std::to_string(i))
      FAIL("line " << i << " is " << lines[i]);
}

TEST_CASE(
    "trouped and launcher killed at once: nothing twice, what ran is lost, what waited runs") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto running = cluster.submit_shell({}, "echo $$ >>pids; exec sleep 1000");
  auto array =
      cluster.submit_shell({"-a", "1-100", "-o", "/dev/null"}, "echo $TROUPE_ELEMENT >>all");
  auto waiting = cluster.submit_shell({"-n", "2"}, "echo ran");
  REQUIRE(eventually([&] { return lines_of(cluster.file("all")).size() >= 5; }));
  REQUIRE(cluster.reaches(running, "running"));
  const auto launcher = cluster.launcher();
  ::kill(cluster.trouped(), SIGKILL);
  ::kill(launcher, SIGKILL);
  kill_and_wait(cluster.trouped());
  kill_and_wait(launcher);
  cluster.up();
  CHECK(cluster.wait(running).exit == 1);
  CHECK(cluster.state_of(running) == "lost");
  const auto pid = static_cast<pid_t>(std::stoi(cluster.file("pids")));
  CHECK(eventually([&] { return !is_alive(pid); }));
  cluster.wait(array);
  check_at_most_once(cluster.file("all"));
  CHECK(cluster.wait(waiting).exit == 0);
  CHECK(cluster.file("troupe-" + waiting + ".out") == "ran\nran\n");
  CHECK(works(cluster));
}
