// SPDX-License-Identifier: Apache-2.0
#include "fault/launcher_world.hpp"

#include <csignal>
#include <cstring>
#include <iostream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::testing;
using launch::reason;

namespace {

constexpr uid_t user = 4711;
constexpr gid_t own_group = 4712;

bool is_root() {
  if (::geteuid() == 0)
    return true;
  std::cout << "skipped: a launcher of a cluster needs root\n";
  return false;
}

wish user_job(launcher_world& world, const std::string& command) {
  auto w = world.shell(command);
  w.order.uid = user;
  w.order.gid = own_group;
  w.order.groups = {100, 5000};
  w.order.user = "ada";
  return w;
}

/// A folder where the user may write, in one that it may enter.
std::string user_folder(const launcher_world& world) {
  REQUIRE(::chmod(world.folder().c_str(), 0755) == 0);
  auto path = world.folder() + "/home";
  REQUIRE(::mkdir(path.c_str(), 0700) == 0);
  REQUIRE(::chown(path.c_str(), user, own_group) == 0);
  return path;
}

} // namespace

TEST_CASE("in a cluster a job is its user with its groups, and cannot become root again") {
  if (!is_root())
    return;
  launcher_world world{false};
  auto home = user_folder(world);
  auto w = user_job(world, "id -u; id -g; id -G; grep -E '^(Uid|Gid|CapPrm|CapEff|CapBnd)' "
                           "/proc/self/status; touch /root-was-here 2>&1 | wc -l");
  w.spec.cwd = home;
  w.spec.stdout_path = "out";
  auto end = world.run(w);
  INFO(world.details[end.seq]);
  CHECK(end.exit_code == 0);
  auto text = read_file(home + "/out");
  INFO(text);
  CHECK(text.rfind("4711\n4712\n4712 100 5000\n", 0) == 0);
  CHECK(text.find("Uid:\t4711\t4711\t4711\t4711\n") != std::string::npos);
  CHECK(text.find("Gid:\t4712\t4712\t4712\t4712\n") != std::string::npos);
  CHECK(text.find("CapPrm:\t0000000000000000\n") != std::string::npos);
  CHECK(text.find("CapEff:\t0000000000000000\n") != std::string::npos);
  struct stat info {};
  REQUIRE(::stat((home + "/out").c_str(), &info) == 0);
  CHECK(info.st_uid == user);
  CHECK(info.st_gid == own_group);
  CHECK(::stat("/root-was-here", &info) != 0);
}

TEST_CASE("in a cluster directories and files are opened as the user, never as root") {
  if (!is_root())
    return;
  launcher_world world{false};
  auto home = user_folder(world);
  auto secret = world.folder() + "/secret";
  REQUIRE(::mkdir(secret.c_str(), 0700) == 0);
  auto w = user_job(world, "true");
  w.spec.cwd = secret;
  auto end = world.run(w);
  CHECK(end.stage == launch::start_stage::directory);
  CHECK(end.error == EACCES);
  w = user_job(world, "true");
  w.spec.cwd = home;
  w.spec.stdout_path = secret + "/out";
  end = world.run(w);
  CHECK(end.stage == launch::start_stage::output);
  CHECK(end.error == EACCES);
  w = user_job(world, "cat");
  w.spec.cwd = home;
  w.spec.stdin_path = "/etc/shadow";
  end = world.run(w);
  CHECK(end.stage == launch::start_stage::input);
  CHECK(end.error == EACCES);
}

TEST_CASE("in a cluster a job's terminal is its user's, and no other user's") {
  if (!is_root())
    return;
  launcher_world world{false};
  auto home = user_folder(world);
  auto w = user_job(world, "test -O \"$(tty)\" && echo mine >\"$(tty)\"; stat -c %a \"$(tty)\"; "
                           "echo over; read line");
  w.spec.cwd = home;
  w.spec.stdin_path = w.spec.stdout_path = "|";
  w.spec.merge_stderr = w.spec.has_terminal = true;
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.streams.size() == 2; }));
  for (auto& [id, lent] : world.streams)
    if (lent.what.which == 4)
      REQUIRE(::write(lent.fd.get(), "\n", 1) == 1);
  CHECK(world.end_of(w).exit_code == 0);
  std::string text;
  for (auto& [id, lent] : world.streams)
    if (lent.what.which == 1)
      text = read_all(lent.fd.get());
  INFO(text);
  CHECK(text.find("mine\r\n") != std::string::npos);
  // Its group may write (a message from another user), nobody else may do anything.
  CHECK((text.find("620\r\n") != std::string::npos || text.find("600\r\n") != std::string::npos));
}

TEST_CASE("in a cluster scripts and leftovers of a user work as everywhere") {
  if (!is_root())
    return;
  launcher_world world{false};
  auto home = user_folder(world);
  auto w = user_job(world, "");
  w.spec.cwd = home;
  w.spec.argv = {"script"};
  w.spec.script = "#!/bin/sh\n(setsid sh -c 'echo $$ > pid; exec sleep 1000' &)\n"
                  "while [ ! -s pid ]; do sleep 0.01; done\nexit 6\n";
  auto end = world.run(w);
  INFO(world.details[end.seq]);
  CHECK(end.exit_code == 6);
  CHECK(end.leftovers == 1);
  CHECK_FALSE(is_alive(std::atoi(read_file(home + "/pid").c_str())));
}

TEST_CASE("in a cluster a user cannot stop the launcher by stopping its child") {
  if (!is_root())
    return;
  launcher_world world{false, {"--exec-deadline-ms", "300"}};
  auto home = user_folder(world);
  REQUIRE(::mkfifo((home + "/fifo").c_str(), 0666) == 0);
  REQUIRE(::chown((home + "/fifo").c_str(), user, own_group) == 0);
  auto blocked = user_job(world, "true");
  blocked.spec.cwd = home;
  blocked.spec.stdout_path = "fifo";
  world.send(blocked);
  auto fine = user_job(world, "exit 5");
  fine.spec.cwd = home;
  CHECK(world.run(fine).exit_code == 5);
  CHECK(world.end_of(blocked).error == ETIMEDOUT);
}

TEST_CASE("in a cluster nothing runs as uid 0, gid 0, group 0 or a uid below 1000") {
  if (!is_root())
    return;
  launcher_world world{false};
  auto with = [&](uid_t uid, gid_t gid, std::vector<std::uint32_t> groups) {
    auto w = world.job({"true"});
    w.order.uid = uid;
    w.order.gid = gid;
    w.order.groups = std::move(groups);
    return world.refusal_of(w).what.why;
  };
  CHECK(with(0, 1000, {}) == reason::identity);
  CHECK(with(1000, 0, {}) == reason::identity);
  CHECK(with(0, 0, {}) == reason::identity);
  CHECK(with(999, 1000, {}) == reason::identity);
  CHECK(with(1000, 1000, {0, 5}) == reason::identity);
  auto nobody = world.job({"true"});
  nobody.spec.cwd = "/";
  nobody.order.uid = nobody.order.gid = 65534;
  CHECK(world.run(nobody).exit_code == 0);
}

TEST_CASE("another user's connection is turned away") {
  if (!is_root())
    return;
  launcher_world world;
  world.disconnect();
  REQUIRE(::chmod(world.folder().c_str(), 0755) == 0);
  REQUIRE(::chmod((world.folder() + "/state").c_str(), 0755) == 0);
  REQUIRE(::chmod(world.socket().c_str(), 0666) == 0);
  auto child = ::fork();
  if (child == 0) {
    if (::setgid(own_group) != 0 || ::setuid(user) != 0)
      ::_exit(9);
    auto client = launch::launcher_client::connect(world.socket(), world.keyring(), 10s);
    bool turned_away = !client && client.error().code == errc::refused &&
                       client.error().text.find("another user") != std::string::npos;
    ::_exit(turned_away ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
}
