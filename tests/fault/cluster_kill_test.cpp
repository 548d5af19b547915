// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <unistd.h>

using namespace troupe::test;

// kill -9 of trouped at moments that nobody chose. A failing seed is run again by TROUPE_TEST_SEED.

namespace {

constexpr int rounds = 4;

unsigned seed_of_the_day() {
  if (const char* given = std::getenv("TROUPE_TEST_SEED"))
    return static_cast<unsigned>(std::strtoul(given, nullptr, 10));
  return std::random_device{}();
}

/// Lets something between 0 and `most` happen first: the moment is what is tested.
void reach_a_random_moment(std::mt19937& random, std::chrono::milliseconds most) {
  const auto chosen = std::chrono::microseconds{
      std::uniform_int_distribution<long>{0, most.count() * 1000}(random)};
  const auto end = std::chrono::steady_clock::now() + chosen;
  (void)eventually([&] { return std::chrono::steady_clock::now() >= end; }, most + 1s);
}

} // namespace

TEST_CASE("what was acknowledged before a kill is there after it, and runs once") {
  const auto seed = seed_of_the_day();
  INFO("TROUPE_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  test_cluster cluster{{2, 4, {}, {}}};
  std::set<std::string> acknowledged;
  for (int round = 0; round < rounds; ++round) {
    std::mutex guard;
    std::atomic<bool> stop{false};
    auto submit_until_stopped = [&] {
      while (!stop) {
        auto done =
            cluster.troupe({"submit", "-o", "/dev/null", "sh", "-c", "echo $TROUPE_JOB_ID >>ran"});
        if (done.exit != 0)
          continue;
        std::lock_guard<std::mutex> lock{guard};
        acknowledged.insert(lines_of(done.out).front());
      }
    };
    std::thread one{submit_until_stopped}, two{submit_until_stopped};
    reach_a_random_moment(random, 400ms);
    kill_and_wait(cluster.trouped());
    stop = true;
    one.join();
    two.join();
    cluster.up();
  }
  REQUIRE(!acknowledged.empty());
  for (const auto& id : acknowledged) {
    const auto waited = cluster.wait(id);
    INFO("job " << id << ": " << waited.out << waited.err);
    CHECK(waited.exit == 0);
  }
  // A job whose answer the kill took away may be there too; nothing may have run twice.
  std::multiset<std::string> ran;
  for (const auto& line : lines_of(cluster.file("ran")))
    ran.insert(line);
  for (const auto& id : acknowledged)
    CHECK(ran.count(id) == 1);
  for (const auto& id : ran)
    CHECK(ran.count(id) == 1);
  CHECK(eventually([&] { return cluster.ask({"queue"})["rows"].empty(); }));
  CHECK(cluster.troupe({"audit", "verify"}).exit == 0);
}

TEST_CASE("an array goes on over kills: each element once, each end known") {
  const auto seed = seed_of_the_day();
  INFO("TROUPE_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  test_cluster cluster{{2, 4, {}, {}}};
  cluster.write(
      "element.sh",
      "#!/bin/sh\necho $TROUPE_ELEMENT >>all\n[ $((TROUPE_ELEMENT % 50)) = 0 ] && exit 3\n"
      "exit 0\n",
      0755);
  for (int round = 0; round < rounds; ++round) {
    cluster.write("all", "");
    auto id = cluster.submit({"-a", "1-200", "-o", "/dev/null", "./element.sh"});
    reach_a_random_moment(random, 250ms);
    cluster.kill_trouped();
    reach_a_random_moment(random, 100ms);
    cluster.up();
    const auto waited = cluster.wait(id);
    INFO("job " << id << ": " << waited.out << waited.err);
    CHECK(waited.exit == 1);
    check_each_once(cluster.file("all"), 1, 200);
    const auto row = cluster.row_of(id);
    CHECK(row["state"] == "failed");
    CHECK(row["elements_failed"] == 4);
    CHECK(row["exit_code"] == 3);
    CHECK(cluster.state_of(id + "_150") == "failed");
    CHECK(cluster.state_of(id + "_151") == "completed");
  }
}

TEST_CASE("an array over two nodes with several ranks each survives kills too") {
  const auto seed = seed_of_the_day();
  INFO("TROUPE_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  test_cluster cluster{{2, 2, {}, {}}};
  auto id = cluster.submit_shell({"-a", "1-30", "-N", "2", "-n", "2", "-o", "/dev/null"},
                                 "echo $TROUPE_ELEMENT >>all-$TROUPE_RANK; sleep 0.02");
  for (int round = 0; round < 3; ++round) {
    reach_a_random_moment(random, 200ms);
    cluster.kill_trouped();
    cluster.up();
  }
  const auto waited = cluster.wait(id);
  INFO(waited.out << waited.err);
  CHECK(waited.exit == 0);
  check_each_once(cluster.file("all-0"), 1, 30);
  check_each_once(cluster.file("all-1"), 1, 30);
}

TEST_CASE("run comes back after a kill with its output exact and its exit code") {
  const auto seed = seed_of_the_day();
  INFO("TROUPE_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  test_cluster cluster;
  std::string expected;
  for (int i = 1; i <= 3000; ++i)
    expected += std::to_string(i) + "\n";
  for (int round = 0; round < rounds; ++round) {
    auto run = cluster.start({"run", "sh", "-c",
                              "i=1; while [ $i -le 3000 ]; do echo $i; [ $((i % 100)) = 0 ] && "
                              "sleep 0.02; i=$((i+1)); done; exit 6"});
    REQUIRE(eventually([&] { return !run.out().empty(); }));
    reach_a_random_moment(random, 400ms);
    cluster.kill_trouped();
    cluster.up();
    auto done = run.wait();
    INFO(done.err);
    CHECK(done.exit == 6);
    CHECK(done.out.size() == expected.size());
    CHECK((done.out == expected));
  }
}

TEST_CASE("a job that ends while trouped is away is told with its code and output") {
  test_cluster cluster;
  auto run = cluster.start({"run", "sh", "-c",
                            "echo before; while ! [ -e go ]; do sleep 0.02; done; echo after; "
                            "echo done >done; exit 11"});
  REQUIRE(eventually([&] { return run.out() == "before\n"; }));
  auto id = cluster.submit_shell({}, "while ! [ -e go ]; do sleep 0.02; done; kill -USR2 $$");
  REQUIRE(cluster.reaches(id, "running"));
  cluster.kill_trouped();
  cluster.write("go", "");
  REQUIRE(eventually([&] { return cluster.file("done") == "done\n"; }));
  REQUIRE(eventually([&] { return cluster.job_processes().empty(); }));
  cluster.up();
  auto done = run.wait();
  CHECK(done.exit == 11);
  CHECK(done.out == "before\nafter\n");
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.row_of(id)["signal"] == SIGUSR2);
}

TEST_CASE("time limits and cancels hold over a restart") {
  test_cluster cluster;
  auto limited = cluster.submit_shell({"-t", "2s", "--grace", "1s"}, "exec sleep 1000");
  auto other = cluster.submit_shell({}, "exec sleep 1000");
  REQUIRE(cluster.reaches(limited, "running"));
  REQUIRE(cluster.reaches(other, "running"));
  cluster.kill_trouped();
  cluster.up();
  CHECK(cluster.troupe({"cancel", other}).exit == 0);
  CHECK(cluster.wait(other).exit == 1);
  CHECK(cluster.state_of(other) == "cancelled");
  CHECK(cluster.wait(limited).exit == 1);
  CHECK(cluster.state_of(limited) == "timed_out");
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
}

TEST_CASE("after SIGTERM to trouped jobs go on, and the next up adopts them") {
  test_cluster cluster;
  auto id = cluster.submit_shell({}, "echo up; while ! [ -e go ]; do sleep 0.02; done; echo end");
  REQUIRE(eventually([&] { return cluster.file("troupe-" + id + ".out") == "up\n"; }));
  const auto launcher = cluster.launcher();
  cluster.end_trouped(SIGTERM);
  CHECK(cluster.job_processes().size() >= 1);
  cluster.up();
  CHECK(cluster.launcher() == launcher);
  CHECK(cluster.reaches(id, "running"));
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 0);
  CHECK(cluster.file("troupe-" + id + ".out") == "up\nend\n");
}

TEST_CASE("a trouped that meets a defect starts itself over, but not for ever") {
  test_cluster cluster;
  const auto id = cluster.submit_shell({}, "until [ -e go ]; do sleep 0.02; done; exit 3");
  REQUIRE(cluster.reaches(id, "running"));
  const auto trouped = cluster.trouped();
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    REQUIRE(::kill(trouped, signal) == 0);
    const auto said = "(signal " + std::string{signal < 10 ? "0" : ""} + std::to_string(signal);
    REQUIRE(eventually([&] {
      return read_file(cluster.state() + "/trouped.log").find(said) != std::string::npos;
    }));
    REQUIRE(eventually([&] { return cluster.troupe({"queue"}).exit == 0; }));
    CHECK(cluster.trouped() == trouped);
    CHECK(cluster.state_of(id) == "running");
  }
  REQUIRE(::kill(trouped, SIGABRT) == 0);
  REQUIRE(eventually([&] { return !is_alive(trouped); }));
  CHECK(read_file(cluster.state() + "/trouped.log").find("failed too often") != std::string::npos);
  cluster.up();
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.row_of(id)["exit_code"] == 3);
}

TEST_CASE("a trouped that stands still for a while loses nothing") {
  test_cluster cluster;
  auto run =
      cluster.start({"run", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; exit 5"});
  auto id = cluster.submit_shell({"-a", "1-50", "-o", "/dev/null"}, "echo $TROUPE_ELEMENT >>all");
  const auto pid = cluster.trouped();
  REQUIRE(::kill(pid, SIGSTOP) == 0);
  auto asked = cluster.start({"queue", "--json"});
  const auto from = std::chrono::steady_clock::now();
  CHECK(eventually([&] { return std::chrono::steady_clock::now() - from > 1s; }));
  CHECK(!asked.ended());
  REQUIRE(::kill(pid, SIGCONT) == 0);
  CHECK(asked.wait().exit == 0);
  auto done = run.wait();
  CHECK(done.exit == 5);
  CHECK(done.out == "1\n2\n3\n");
  CHECK(cluster.wait(id).exit == 0);
  check_each_once(cluster.file("all"), 1, 50);
  CHECK(cluster.trouped() == pid);
}

TEST_CASE("who waits for a job or reads its output goes on over a kill of trouped") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto id = cluster.submit_shell(
      {"-o", "|"}, "echo before; until [ -e go ]; do sleep 0.02; done; echo after; exit 3");
  REQUIRE(cluster.reaches(id, "running"));
  auto waits = cluster.start({"wait", id});
  auto reads = cluster.start({"logs", "-f", id});
  REQUIRE(eventually([&] { return reads.out().find("before") != std::string::npos; }));
  cluster.kill_trouped();
  cluster.up();
  cluster.write("go", "");
  const auto waited = waits.wait();
  CHECK(waited.exit == 1);
  CHECK(waited.out.find(id + " failed") != std::string::npos);
  const auto read = reads.wait();
  CHECK(read.exit == 0);
  CHECK(read.out == "before\nafter\n");
}

TEST_CASE("input that streams over kills arrives once, byte for byte") {
  const auto seed = seed_of_the_day();
  INFO("TROUPE_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  test_cluster cluster;
  std::string text;
  for (int i = 0; text.size() < 12'000'000; ++i)
    text += std::to_string(i) + "\n";
  cluster.write("numbers", text);
  const int file = ::open(cluster.path("numbers").c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(file >= 0);
  // It reads in its own time, so that kills meet it in the middle.
  auto run = cluster.start({"run", "sh", "-c",
                            "i=0; while [ $i -lt 100 ]; do head -c 100000; sleep 0.01; "
                            "i=$((i+1)); done; cat"},
                           file);
  ::close(file);
  for (int round = 0; round < rounds; ++round) {
    reach_a_random_moment(random, 300ms);
    kill_and_wait(cluster.trouped());
    cluster.up();
  }
  auto done = run.wait(60s);
  CHECK(done.exit == 0);
  CHECK(done.out.size() == text.size());
  CHECK((done.out == text));
}

TEST_CASE("commands wait for a trouped that starts itself over") {
  test_cluster cluster{{1, 1, {}, {}}};
  for (int round = 0; round < 3; ++round) {
    REQUIRE(::kill(cluster.trouped(), SIGABRT) == 0);
    std::vector<running_program> commands;
    for (int i = 0; i < 8; ++i) {
      commands.push_back(cluster.start({"queue"}));
      // The moment is what is varied.
      eventually([] { return false; }, std::chrono::milliseconds{3});
    }
    for (auto& each : commands) {
      const auto done = each.wait();
      INFO(done.err);
      CHECK(done.exit == 0);
    }
  }
}

TEST_CASE("a trouped that does not answer is told once, by every command, and then waited for") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto trouped = cluster.trouped();
  const auto job = cluster.submit({"--hold", "true"});
  REQUIRE(::kill(trouped, SIGSTOP) == 0);
  std::vector<running_program> commands;
  for (const auto& one : std::vector<words>{{"queue"},
                                            {"submit", "true"},
                                            {"run", "true"},
                                            {"logs", "-f", job},
                                            {"wait", job},
                                            {"up"}})
    commands.push_back(cluster.start(one));
  const auto told = "trouped (process " + std::to_string(trouped) + ") has not answered for 5 s";
  for (auto& each : commands)
    CHECK(eventually([&] { return each.err().find(told) != std::string::npos; }, 20s));
  for (auto& each : commands)
    CHECK_FALSE(each.ended());
  REQUIRE(::kill(trouped, SIGCONT) == 0);
  CHECK(cluster.troupe({"cancel", job}).exit == 0);
  for (auto& each : commands) {
    const auto done = each.wait();
    INFO(done.err);
    CHECK(done.exit >= 0);
    CHECK(done.err.find(told) == done.err.rfind(told));
  }
}
