// SPDX-License-Identifier: Apache-2.0
#include "fault/launcher_world.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::testing;
using launch::record_kind;

namespace {

void require_gone(const launcher_world& world, const std::vector<std::string>& files) {
  for (const auto& file : files) {
    auto pid = std::atoi(read_file(world.folder() + "/" + file).c_str());
    INFO(file << ": " << pid << "\n" << world.log());
    REQUIRE(pid > 1);
    CHECK(eventually([&] { return !is_alive(pid); }));
  }
}

} // namespace

TEST_CASE("a peer that comes back gets every exit that it had not acknowledged") {
  launcher_world world;
  auto w = world.shell("while [ ! -e go ]; do sleep 0.01; done; exit 4");
  launcher_world::make_array(w, 0, 20, 20);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::started, w.order.job) == 20; }));
  world.disconnect();
  std::ofstream{world.folder() + "/go"};
  world.connect();
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 20; }));
  world.disconnect();
  world.records.clear();
  world.connect();
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 20; }));
  world.acknowledge_all();
  world.disconnect();
  world.records.clear();
  world.connect();
  auto next = world.job({"true"});
  world.run(next);
  CHECK(world.count(record_kind::exited, w.order.job) == 0);
}

TEST_CASE("a record that nobody acknowledges holds up no other, over a reconnect and a re-exec") {
  launcher_world world;
  REQUIRE((world.client().launcher().features & launch::feature_ranges) != 0);
  auto w = world.job({"true"});
  launcher_world::make_array(w, 1, 600, 4);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 600; }));
  std::vector<launch::seq_range> ranges; // more than one datagram takes
  std::uint64_t kept = 0, kept_too = 0;
  for (const auto& [seq, record] : world.records)
    if (record.what == record_kind::exited && record.element == 2)
      kept = seq;
    else if (record.what == record_kind::exited && record.element == 500)
      kept_too = seq;
    else
      ranges.push_back({seq, seq});
  REQUIRE(ranges.size() > launch::ranges_per_datagram);
  REQUIRE(world.client().acknowledge(ranges));
  for (int round = 0; round < 2; ++round) {
    if (round == 1) {
      const auto welcomes = world.welcomes;
      REQUIRE(::kill(world.pid(), SIGUSR2) == 0);
      REQUIRE(world.wait_for([&] { return world.welcomes > welcomes; }));
    }
    world.disconnect();
    world.records.clear();
    world.connect();
    world.records.clear();
    const auto inventories = world.inventories_ended;
    REQUIRE(world.client().inventory());
    REQUIRE(world.wait_for([&] { return world.inventories_ended > inventories; }));
    REQUIRE(world.records.size() == 2);
    CHECK(world.records.count(kept) == 1);
    CHECK(world.records.count(kept_too) == 1);
  }
  // What they hold is their own room: all else can still be ordered and told.
  CHECK(world.run(world.job({"true"})).exit_code == 0);
}

TEST_CASE("the inventory says what runs and what waits") {
  launcher_world world;
  auto w = world.job({"sleep", "100"});
  launcher_world::make_array(w, 0, 10, 3);
  world.send(w);
  REQUIRE(world.client().inventory());
  REQUIRE(world.wait_for([&] { return world.inventories_ended == 1; }));
  std::size_t running = 0;
  std::size_t queued = 0;
  for (const auto& entry : world.inventory) {
    CHECK(entry.key == launcher_world::key(w));
    (entry.state == launch::inventory_state::queued ? queued : running) += entry.element_count;
  }
  CHECK(running == 3);
  CHECK(queued == 7);
}

TEST_CASE("a re-exec while children run loses nothing") {
  launcher_world world;
  auto limited = world.job({"sleep", "100"});
  limited.order.time_limit_s = 3;
  world.send(limited);
  auto streamed = world.shell("echo before; while [ ! -e go ]; do sleep 0.01; done; echo after");
  streamed.spec.stdout_path = "|";
  world.send(streamed);
  auto array = world.shell("while [ ! -e go ]; do sleep 0.01; done; exit $TROUPE_ELEMENT");
  launcher_world::make_array(array, 0, 60, 5);
  world.send(array);
  auto unacknowledged = world.shell("exit 77");
  world.run(unacknowledged);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::started, array.order.job) == 5; }));
  world.records.clear();
  world.streams.clear();
  for (int round = 1; round <= 3; ++round) {
    if (round == 2)
      ::kill(world.pid(), SIGUSR2);
    else
      REQUIRE(world.client().reexec());
    INFO(world.log());
    REQUIRE(world.wait_for([&] { return world.welcomes == static_cast<std::size_t>(round); }));
  }
  CHECK(world.end_of(unacknowledged).exit_code == 77);
  std::ofstream{world.folder() + "/go"};
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, array.order.job) == 60; }));
  for (const auto& [seq, record] : world.records)
    if (record.what == record_kind::exited && record.key.job == array.order.job)
      CHECK(record.exit_code == static_cast<int>(record.element));
  REQUIRE(world.client().inventory());
  REQUIRE(world.wait_for([&] { return world.streams.size() == 1; }));
  CHECK(read_all(world.streams.begin()->second.fd.get()) == "before\nafter\n");
  CHECK((world.end_of(limited).flags & launch::record_timed_out) != 0);
  CHECK(world.refusal_of(array).what.why == launch::reason::repeated);
  world.run(world.job({"true"})); // the same instance still obeys
}

TEST_CASE("a re-exec in the middle of a fast array loses no element and runs none twice") {
  launcher_world world;
  auto w = world.shell("echo $TROUPE_ELEMENT >> ran");
  launcher_world::make_array(w, 0, 1000, 4);
  world.send(w);
  for (std::size_t round = 1; round <= 5; ++round) {
    REQUIRE(world.client().reexec());
    REQUIRE(world.wait_for([&] { return world.welcomes == round; }));
  }
  REQUIRE(
      world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 1000; }, 60s));
  auto ran = read_file(world.folder() + "/ran");
  CHECK(std::count(ran.begin(), ran.end(), '\n') == 1000);
}

TEST_CASE("after kill -9 of the launcher nothing of its jobs stays alive") {
  launcher_world world;
  auto w = world.shell("echo $$ > rank; sleep 1000 & echo $! > child;"
                       "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' &);"
                       "(env -i setsid --fork sh -c 'echo $$ > other; exec sleep 1000');"
                       "while [ ! -s daemon ] || [ ! -s other ]; do sleep 0.01; done;"
                       "echo > ready; sleep 1000");
  world.send(w);
  REQUIRE(eventually([&] { return !read_file(world.folder() + "/ready").empty(); }));
  world.kill_launcher();
  // All of it ends before another one is started: also what has neither session nor environment.
  require_gone(world, {"rank", "child", "daemon", "other"});
  world.start();
  world.connect();
  CHECK((world.client().launcher().features & launch::feature_uncertain) == 0);
  CHECK(world.run(world.job({"true"})).exit_code == 0);
}

TEST_CASE(
    "a job that takes a shepherd's name outlives a killed launcher by no more than its time") {
  launcher_world world;
  auto w = world.shell("cp \"$(command -v sleep)\" troupe-shepherd;"
                       "(setsid ./troupe-shepherd 1000 & echo $! > named);"
                       "echo > ready; sleep 1000");
  world.send(w);
  REQUIRE(eventually([&] { return !read_file(world.folder() + "/ready").empty(); }));
  world.kill_launcher();
  require_gone(world, {"named"});
  world.start();
  world.connect();
  CHECK(world.run(world.job({"true"})).exit_code == 0);
}

TEST_CASE("another launcher waits until the keeper of a killed one has ended what it left") {
  launcher_world world;
  // Each process that is killed leaves another one, for a while.
  auto w = world.shell("echo > ready; (setsid sh -c 'for i in 1 2 3 4 5 6 7 8; do"
                       "  (trap \"\" TERM; sleep 1000) & done; sleep 1000' &); sleep 1000");
  world.send(w);
  REQUIRE(eventually([&] { return !read_file(world.folder() + "/ready").empty(); }));
  const auto keeper = world.keeper();
  REQUIRE(::kill(keeper, SIGSTOP) == 0);
  REQUIRE(::kill(world.pid(), SIGKILL) == 0);
  const auto second = launch::spawn_launcher(
      {TROUPE_LAUNCHER, world.folder() + "/state", world.folder() + "/state/socket"});
  REQUIRE(second);
  CHECK_FALSE(eventually([&] { return !is_alive(*second); }, 300ms));
  auto early = launch::launcher_client::connect(world.socket(), world.keyring(), 200ms);
  CHECK_FALSE(early);
  REQUIRE(::kill(keeper, SIGCONT) == 0);
  REQUIRE(::waitpid(keeper, nullptr, 0) == keeper);
  world.connect();
  CHECK(world.run(world.job({"true"})).exit_code == 0);
  world.kill_launcher(*second);
}

TEST_CASE("a launcher killed together with its keeper says that leftovers are uncertain") {
  launcher_world world;
  auto w = world.shell("(env -i setsid --fork sh -c 'echo $$ > other; exec sleep 1000');"
                       "while [ ! -s other ]; do sleep 0.01; done; echo > ready; sleep 1000");
  world.send(w);
  REQUIRE(eventually([&] { return !read_file(world.folder() + "/ready").empty(); }));
  // Another cluster of the same user: its first job has the same number.
  launcher_world neighbour;
  auto theirs = neighbour.job({"sleep", "1000"});
  neighbour.send(theirs);
  REQUIRE(neighbour.wait_for(
      [&] { return neighbour.count(record_kind::started, theirs.order.job) == 1; }));
  REQUIRE(theirs.order.job == w.order.job);
  const auto launcher = world.pid();
  REQUIRE(::kill(world.keeper(), SIGKILL) == 0);
  REQUIRE(eventually([&] { return world.log().find("the keeper is gone") != std::string::npos; }));
  CHECK(world.run(world.job({"true"})).exit_code == 0); // it goes on
  world.kill_launcher();
  REQUIRE(eventually([&] { return !is_alive(launcher); }));
  world.start();
  world.connect();
  CHECK((world.client().launcher().features & launch::feature_uncertain) != 0);
  CHECK_FALSE(neighbour.wait_for(
      [&] { return neighbour.count(record_kind::exited, theirs.order.job) == 1; }, 50ms));
  const auto orphan = std::atoi(read_file(world.folder() + "/other").c_str());
  if (orphan > 1)
    ::kill(orphan, SIGKILL); // without session and environment of its job it cannot be told
}

TEST_CASE("orders for the instance before a restart are refused") {
  launcher_world world;
  auto w = world.job({"true"});
  world.kill_launcher();
  world.start();
  world.connect();
  CHECK(world.refusal_of(w).what.why == launch::reason::wrong_instance);
}

TEST_CASE("a shutdown ends the jobs, reports them and then ends the launcher") {
  launcher_world world;
  auto w = world.job({"sleep", "100"});
  launcher_world::make_array(w, 0, 4, 2);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::started, w.order.job) == 2; }));
  REQUIRE(world.client().shutdown(false));
  REQUIRE(world.wait_for([&] {
    return !world.refusals.empty() && world.refusals.back().what.why == launch::reason::busy;
  }));
  REQUIRE(world.client().shutdown(true));
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 2; }));
  CHECK(world.count(record_kind::revoked, w.order.job) == 1);
  world.acknowledge_all();
  CHECK(eventually([&] { return !is_alive(world.pid()); }));
}

TEST_CASE("a second launcher for one state directory does not start") {
  launcher_world world;
  auto second = launch::spawn_launcher(
      {TROUPE_LAUNCHER, world.folder() + "/state", world.folder() + "/state/other"});
  REQUIRE(second);
  int status = 0;
  REQUIRE(::waitpid(*second, &status, 0) == *second);
  CHECK(WEXITSTATUS(status) == 1);
  CHECK(world.log().find("another launcher uses the state directory") != std::string::npos);
}

TEST_CASE("a launcher that runs is found, one that does not is started") {
  launcher_world world;
  launch::launcher_place place{TROUPE_LAUNCHER, world.folder() + "/state", world.socket()};
  world.disconnect();
  auto found = launch::find_or_spawn_launcher(place, world.keyring(), 10s);
  REQUIRE(found);
  CHECK(found->launcher().launcher.pid == static_cast<std::uint32_t>(world.pid()));
  world.kill_launcher();
  auto started = launch::find_or_spawn_launcher(place, world.keyring(), 10s);
  REQUIRE(started);
  auto pid = static_cast<pid_t>(started->launcher().launcher.pid);
  CHECK(pid != static_cast<pid_t>(found->launcher().launcher.pid));
  ::kill(pid, SIGTERM);
  int status = -1;
  CHECK(::waitpid(-1, &status, 0) > 1); // its keeper, which ends as it did
  CHECK(status == 0);
  CHECK_FALSE(is_alive(pid));
}

TEST_CASE("a child stopped before it executes is ended at its deadline and says how far it came") {
  launcher_world world{true, {"--exec-deadline-ms", "300"}};
  REQUIRE(::mkfifo((world.folder() + "/fifo").c_str(), 0600) == 0);
  auto blocked = world.job({"true"});
  blocked.spec.stdout_path = "fifo";
  world.send(blocked);
  // Others go on meanwhile.
  auto start = std::chrono::steady_clock::now();
  CHECK(world.run(world.job({"true"})).exit_code == 0);
  CHECK(std::chrono::steady_clock::now() - start < 250ms);
  auto end = world.end_of(blocked);
  CHECK(end.what == record_kind::start_failed);
  CHECK(end.stage == launch::start_stage::output);
  CHECK(end.error == ETIMEDOUT);
  CHECK(world.details[end.seq].find("opening the standard output failed") == 0);
  auto input = world.job({"cat"});
  input.spec.stdin_path = "fifo";
  end = world.run(input);
  CHECK(end.stage == launch::start_stage::input);

  // Held in open(), then stopped: neither SIGTERM nor the FIFO would move it.
  auto stopped = world.job({"true"});
  stopped.spec.stdout_path = "fifo";
  world.send(stopped);
  std::uint32_t pid = 0;
  REQUIRE(world.wait_for([&] {
    for (const auto& [seq, record] : world.records)
      if (record.key.job == stopped.order.job)
        pid = record.pid;
    return pid != 0;
  }));
  REQUIRE(::kill(static_cast<pid_t>(pid), SIGSTOP) == 0);
  end = world.end_of(stopped);
  CHECK(end.what == record_kind::start_failed);
  CHECK(end.error == ETIMEDOUT);
  CHECK_FALSE(is_alive(static_cast<pid_t>(pid)));
}

TEST_CASE("a job that runs longer than the deadline for its start goes on") {
  launcher_world world{true, {"--exec-deadline-ms", "100"}};
  auto w = world.shell("sleep 0.4; exit 5");
  auto end = world.run(w);
  CHECK(end.what == record_kind::exited);
  CHECK(end.exit_code == 5);
}
