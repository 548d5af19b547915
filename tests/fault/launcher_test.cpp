// SPDX-License-Identifier: Apache-2.0
#include "fault/launcher_world.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <iostream>
#include <poll.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::testing;
using launch::record_kind;

TEST_CASE("a command that succeeds is reported with exit code 0 and its times") {
  launcher_world world;
  auto end = world.run(world.job({"true"}));
  CHECK(end.what == record_kind::exited);
  CHECK(end.exit_code == 0);
  CHECK(end.signal == 0);
  CHECK(end.leftovers == 0);
  CHECK(end.node_id == 2);
  CHECK(end.start_utc_ns > 0);
  CHECK(end.end_utc_ns >= end.start_utc_ns);
  CHECK(end.max_rss_bytes > 0);
}

TEST_CASE("exit codes and signals are reported exactly") {
  launcher_world world;
  for (int code : {1, 2, 42, 126, 127, 128, 255}) {
    auto end = world.run(world.shell("exit " + std::to_string(code)));
    CHECK(end.what == record_kind::exited);
    CHECK(end.exit_code == code);
    CHECK(end.signal == 0);
  }
  for (int signo : {SIGHUP, SIGKILL, SIGTERM, SIGSEGV, SIGUSR1}) {
    auto end = world.run(world.shell("kill -" + std::to_string(signo) + " $$"));
    CHECK(end.exit_code == 0);
    CHECK(end.signal == static_cast<std::uint32_t>(signo));
  }
}

TEST_CASE("a chunk of 100 elements with a window of 4 runs each exactly once, 4 at a time") {
  launcher_world world;
  auto w = world.shell("echo $TROUPE_ELEMENT >> ran; exit 0");
  launcher_world::make_array(w, 5, 100, 4);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 100; }));
  std::set<std::uint32_t> elements;
  for (const auto& [seq, record] : world.records)
    if (record.what == record_kind::exited)
      elements.insert(record.element);
  CHECK(elements.size() == 100);
  CHECK(*elements.begin() == 5);
  CHECK(*elements.rbegin() == 104);
  std::istringstream ran{read_file(world.folder() + "/ran")};
  std::multiset<std::string> lines;
  for (std::string line; std::getline(ran, line);)
    lines.insert(line);
  CHECK(lines.size() == 100);
  CHECK(std::set<std::string>(lines.begin(), lines.end()).size() == 100);
}

TEST_CASE("never more elements of a group run than its window") {
  launcher_world world;
  auto w = world.shell("mkdir slot-$$; ls -d slot-* | wc -l >> counts; rmdir slot-$$");
  launcher_world::make_array(w, 0, 40, 3);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 40; }));
  std::istringstream counts{read_file(world.folder() + "/counts")};
  for (int n = 0; counts >> n;)
    CHECK(n <= 3);
}

TEST_CASE("unstarted elements are revoked from one on, and those before it still run") {
  launcher_world world;
  auto w = world.shell("while [ ! -e go ]; do read -t 0.01 x < /dev/zero || :; sleep 0.01; done");
  launcher_world::make_array(w, 0, 50, 2);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::started, w.order.job) == 2; }));
  REQUIRE(world.client().revoke(launcher_world::key(w), 10));
  REQUIRE(world.wait_for([&] { return world.count(record_kind::revoked, w.order.job) == 1; }));
  std::ofstream{world.folder() + "/go"}.close();
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 10; }));
  for (const auto& [seq, record] : world.records)
    if (record.what == record_kind::revoked) {
      CHECK(record.element == 10);
      CHECK(record.element_count == 40);
    }
}

TEST_CASE("the time limit ends an element with SIGTERM, and SIGKILL when it does not listen") {
  launcher_world world;
  auto polite = world.job({"sleep", "100"});
  polite.order.time_limit_s = 1;
  auto end = world.run(polite);
  CHECK((end.flags & launch::record_timed_out) != 0);
  CHECK(end.signal == SIGTERM);
  auto deaf = world.shell("trap '' TERM; while :; do sleep 1; done");
  deaf.order.time_limit_s = 1;
  deaf.order.grace_s = 1;
  end = world.run(deaf);
  CHECK((end.flags & launch::record_timed_out) != 0);
  CHECK(end.signal == SIGKILL);
  CHECK(end.end_utc_ns - end.start_utc_ns >= 1'900'000'000);
}

TEST_CASE("a rank that fails ends its siblings, and is the one that is reported") {
  launcher_world world;
  auto w = world.shell("if [ $TROUPE_RANK = 6 ]; then exit 9; fi; sleep 100");
  w.order.rank_first = 4;
  w.order.ranks_here = 4;
  w.order.ranks_total = 8;
  auto end = world.run(w);
  CHECK(end.exit_code == 9);
  CHECK(end.rank == 6);
}

TEST_CASE("ending a group stops what runs and gives back what waits") {
  launcher_world world;
  auto w = world.job({"sleep", "100"});
  launcher_world::make_array(w, 0, 10, 2);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::started, w.order.job) == 2; }));
  REQUIRE(world.client().end(launcher_world::key(w), 0, 0xffffffff, 5));
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 2; }));
  CHECK(world.count(record_kind::revoked, w.order.job) == 1);
  for (const auto& [seq, record] : world.records)
    if (record.what == record_kind::exited) {
      CHECK((record.flags & launch::record_ended) != 0);
      CHECK(record.signal == SIGTERM);
    }
}

TEST_CASE("ending a range gives back exactly those of it that wait") {
  launcher_world world;
  auto w = world.shell("while [ ! -e go ]; do sleep 0.01; done");
  launcher_world::make_array(w, 0, 30, 2);
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::started, w.order.job) == 2; }));
  REQUIRE(world.client().end(launcher_world::key(w), 1, 1, 5));
  REQUIRE(world.client().end(launcher_world::key(w), 10, 19, 5));
  REQUIRE(world.wait_for([&] { return world.count(record_kind::revoked, w.order.job) == 1; }));
  std::ofstream{world.folder() + "/go"}.close();
  REQUIRE(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 20; }));
  for (const auto& [seq, record] : world.records) {
    if (record.what == record_kind::revoked) {
      CHECK(record.element == 10);
      CHECK(record.element_count == 10);
    } else if (record.what == record_kind::exited) {
      CHECK((record.element < 10 || record.element > 19));
      CHECK(((record.flags & launch::record_ended) != 0) == (record.element == 1));
    }
  }
}

TEST_CASE("a stopped job is ended too") {
  launcher_world world;
  auto w = world.shell("kill -STOP $$");
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.count(record_kind::started, w.order.job) == 1; }));
  REQUIRE(world.client().end(launcher_world::key(w), auth::no_element, auth::no_element, 5));
  CHECK(world.end_of(w).signal == SIGTERM);
}

TEST_CASE("a signal reaches every process of the element") {
  launcher_world world;
  auto w = world.shell("trap 'echo parent >> got; exit 3' USR1;"
                       "sh -c 'trap \"echo child >> got; exit 0\" USR1; echo 1 > ready;"
                       "while :; do sleep 0.01; done' & while :; do sleep 0.01; done");
  world.send(w);
  REQUIRE(eventually([&] { return !read_file(world.folder() + "/ready").empty(); }));
  REQUIRE(
      world.client().signal(launcher_world::key(w), auth::no_element, auth::no_element, SIGUSR1));
  CHECK(world.end_of(w).exit_code == 3);
  CHECK(read_file(world.folder() + "/got").find("parent") != std::string::npos);
}

TEST_CASE("processes left behind are found and ended: in the session, in another, forked twice") {
  launcher_world world;
  for (const char* leave : {
           "sleep 1000 & echo $! > pid",
           "setsid sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do sleep 0.01; "
           "done",
           "(setsid sh -c '(setsid sh -c \"echo \\$\\$ > pid; exec sleep 1000\" &)' &);"
           "while [ ! -s pid ]; do sleep 0.01; done",
       }) {
    ::unlink((world.folder() + "/pid").c_str());
    auto end = world.run(world.shell(leave));
    auto pid = std::atoi(read_file(world.folder() + "/pid").c_str());
    REQUIRE(pid > 1);
    CHECK_FALSE(is_alive(pid));
    CHECK(end.leftovers >= 1);
    CHECK(end.exit_code == 0);
  }
}

TEST_CASE("a daemon without a trace of its job is ended with the last job that may have made it") {
  launcher_world world;
  auto end = world.run(world.shell("(env -i setsid /bin/sh -c 'echo $$ > pid; exec sleep 1000' &);"
                                   "while [ ! -s pid ]; do sleep 0.01; done"));
  auto pid = std::atoi(read_file(world.folder() + "/pid").c_str());
  REQUIRE(pid > 1);
  CHECK(eventually([&] { return !is_alive(pid); }));
  CHECK(end.exit_code == 0);
}

TEST_CASE("a daemon of a running element is left alone until that element ends") {
  launcher_world world;
  auto w = world.shell("(setsid sh -c 'echo $$ > pid; exec sleep 1000' &);"
                       "while [ ! -e go ]; do sleep 0.01; done");
  world.send(w);
  REQUIRE(eventually([&] { return !read_file(world.folder() + "/pid").empty(); }));
  auto pid = std::atoi(read_file(world.folder() + "/pid").c_str());
  for (int i = 0; i < 20; ++i)
    world.run(world.job({"true"}));
  CHECK(is_alive(pid));
  std::ofstream{world.folder() + "/go"}.close();
  CHECK(world.end_of(w).leftovers == 1);
  CHECK_FALSE(is_alive(pid));
}

TEST_CASE("in a cgroup a leftover without any trace of its job is found at once") {
  std::string parent = "/sys/fs/cgroup/unified";
  if (::access((parent + "/cgroup.procs").c_str(), W_OK) != 0)
    parent = "/sys/fs/cgroup";
  auto folder = parent + "/troupe-test-" + std::to_string(::getpid());
  if (::access((parent + "/cgroup.procs").c_str(), W_OK) != 0 ||
      ::mkdir(folder.c_str(), 0755) != 0) {
    std::cout << "skipped: no writable cgroup v2 hierarchy\n";
    return;
  }
  {
    launcher_world world{true, {"--cgroup", folder}};
    INFO(world.log());
    auto hidden = "(env -i setsid /bin/sh -c 'echo $$ > pid; exec sleep 1000' &);"
                  "while [ ! -s pid ]; do sleep 0.01; done; cat /proc/self/cgroup > group";
    auto w = world.shell(hidden);
    auto end = world.run(w);
    CHECK(end.leftovers >= 1);
    CHECK_FALSE(is_alive(std::atoi(read_file(world.folder() + "/pid").c_str())));
    CHECK(read_file(world.folder() + "/group").find("/troupe-elements/e0") != std::string::npos);
    auto array = world.job({"true"});
    launcher_world::make_array(array, 0, 100, 8);
    world.send(array);
    CHECK(world.wait_for([&] { return world.count(record_kind::exited, array.order.job) == 100; }));
  }
  REQUIRE(eventually([&] {
    (void)!std::system(
        ("rmdir " + folder + "/troupe-elements/e* " + folder + "/troupe-elements 2>/dev/null")
            .c_str());
    return ::rmdir(folder.c_str()) == 0;
  }));
}

TEST_CASE("output goes to files named by pattern, the environment comes from the order alone") {
  ::setenv("LEAKED", "from-the-launcher", 1);
  launcher_world world;
  auto w = world.shell("env; echo oops >&2");
  launcher_world::make_array(w, 7, 1, 1);
  w.spec.stdout_path = "o-%j-%a-%t-%N-%%";
  w.spec.stderr_path = world.folder() + "/e-%a";
  w.spec.env = {"MINE=1", "PATH=/usr/bin:/bin", "TROUPE_JOB_ID=999", "TROUPE_TASKS_PER_NODE=999",
                "TROUPE_CORES_PER_TASK=999"};
  CHECK(world.run(w).exit_code == 0);
  auto job = std::to_string(w.order.job);
  auto text = read_file(world.folder() + "/o-" + job + "-7-0-n2-%");
  for (const std::string& line :
       {std::string{"MINE=1"}, "TROUPE_JOB_ID=" + job, std::string{"TROUPE_ELEMENT=7"},
        std::string{"TROUPE_STEP=0"}, std::string{"TROUPE_NTASKS=1"}, std::string{"TROUPE_RANK=0"},
        std::string{"TROUPE_LOCAL_RANK=0"}, std::string{"TROUPE_NODE=n2"},
        std::string{"TROUPE_NODELIST=n2"}, std::string{"TROUPE_SUBMIT_DIR=/somewhere"},
        std::string{"HOME=/"}, std::string{"USER=someone"}, std::string{"LOGNAME=someone"},
        std::string{"SHELL=/bin/sh"}}) {
    INFO(text);
    CHECK(("\n" + text).find("\n" + line + "\n") != std::string::npos);
  }
  CHECK(text.find("LEAKED") == std::string::npos);
  CHECK(text.find("999") == std::string::npos);
  CHECK(read_file(world.folder() + "/e-7") == "oops\n");
}

TEST_CASE("standard error may share the file or the stream of standard output") {
  launcher_world world;
  auto w = world.shell("echo one; echo two >&2; echo three");
  w.spec.stdout_path = w.spec.stderr_path = "both";
  CHECK(world.run(w).exit_code == 0);
  CHECK(read_file(world.folder() + "/both") == "one\ntwo\nthree\n");
  w = world.shell("echo one; echo two >&2; echo three");
  w.spec.stdout_path = "merged";
  w.spec.merge_stderr = true;
  CHECK(world.run(w).exit_code == 0);
  CHECK(read_file(world.folder() + "/merged") == "one\ntwo\nthree\n");
}

TEST_CASE("a job has no descriptor beyond its three, a clean signal mask and its own session") {
  launcher_world world;
  auto w = world.shell("ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' /proc/self/status;"
                       "ps -o sid= -p $$ | tr -d ' '; echo $$; ulimit -c");
  w.spec.stdout_path = "out";
  CHECK(world.run(w).exit_code == 0);
  auto text = read_file(world.folder() + "/out");
  INFO(text);
  CHECK(text.rfind("0 1 2 3 SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", 0) == 0);
  std::istringstream lines{text};
  std::string line;
  for (int i = 0; i < 2; ++i)
    std::getline(lines, line);
  std::string session;
  std::string pid;
  std::string core;
  lines >> session >> pid >> core;
  CHECK(session == pid);
  CHECK(core == "0");
}

TEST_CASE("scripts run by their interpreter with their arguments, or by the shell without one") {
  launcher_world world;
  auto w = world.job({"my.sh", "a b", "c"});
  w.spec.script = "#!/bin/sh -e\necho \"$1|$2|$#|$-\"\nfalse\necho never\n";
  w.spec.stdout_path = "out";
  auto end = world.run(w);
  CHECK(end.exit_code == 1);
  CHECK(read_file(world.folder() + "/out").rfind("a b|c|2|", 0) == 0);
  w = world.job({"plain"});
  w.spec.script = "echo plain\n";
  w.spec.stdout_path = "out2";
  CHECK(world.run(w).exit_code == 0);
  CHECK(read_file(world.folder() + "/out2") == "plain\n");
  w = world.job({"x"});
  w.spec.script = "#!/no/such/interpreter\n";
  end = world.run(w);
  CHECK(end.what == record_kind::start_failed);
  CHECK(end.error == ENOENT);
  CHECK(world.details[end.seq].find("/no/such/interpreter") != std::string::npos);
}

TEST_CASE("what cannot be started says at which step and why") {
  launcher_world world;
  auto w = world.job({"no-such-program"});
  auto end = world.run(w);
  CHECK(end.what == record_kind::start_failed);
  CHECK(end.stage == launch::start_stage::exec);
  CHECK(end.error == ENOENT);
  CHECK(world.details[end.seq].find("no-such-program") != std::string::npos);
  w = world.job({"true"});
  w.spec.cwd = "/no/such/directory";
  end = world.run(w);
  CHECK(end.stage == launch::start_stage::directory);
  CHECK(world.details[end.seq] ==
        "entering the working directory failed: /no/such/directory: No such file or directory");
  w = world.job({"true"});
  w.spec.stdout_path = "missing/out-%j";
  end = world.run(w);
  CHECK(end.stage == launch::start_stage::output);
  CHECK(end.error == ENOENT);
  CHECK(world.details[end.seq].find("missing/out-" + std::to_string(w.order.job)) !=
        std::string::npos);
  w = world.job({"/etc/passwd"});
  end = world.run(w);
  CHECK(end.error == EACCES);
}

TEST_CASE("an array whose elements cannot be started comes to its end") {
  launcher_world world;
  auto w = world.job({"no-such-program"});
  launcher_world::make_array(w, 0, 200, 8);
  world.send(w);
  CHECK(world.wait_for([&] { return world.count(record_kind::start_failed, w.order.job) == 200; }));
}

TEST_CASE("of very many that fail at once each is told its own reason, or none") {
  launcher_world world;
  auto w = world.job({"true"});
  w.spec.stdout_path = "missing/out-%a.";
  launcher_world::make_array(w, 0, 1000, 1000);
  world.send(w);
  REQUIRE(
      world.wait_for([&] { return world.count(record_kind::start_failed, w.order.job) == 1000; }));
  std::size_t told = 0;
  for (const auto& [seq, record] : world.records)
    if (const auto detail = world.details.find(seq); detail != world.details.end()) {
      ++told;
      const auto own = "/out-" + std::to_string(record.element) + ".:";
      CHECK(detail->second.find(own) != std::string::npos);
    }
  CHECK(told > 0);
}

TEST_CASE("streamed output arrives whole and ends with the rank") {
  launcher_world world;
  auto w =
      world.shell("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo bad >&2");
  w.spec.stdout_path = "|";
  w.spec.stderr_path = "|";
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.streams.size() == 2; }));
  for (auto& [id, lent] : world.streams) {
    auto text = read_all(lent.fd.get());
    if (lent.what.which == 2) {
      CHECK(text == "bad\n");
    } else {
      CHECK(text.rfind("line 0\n", 0) == 0);
      CHECK(text.find("line 1999\n") != std::string::npos);
      CHECK(std::count(text.begin(), text.end(), '\n') == 2000);
    }
    REQUIRE(world.client().drop_stream(id));
  }
  CHECK(world.end_of(w).exit_code == 0);
}

TEST_CASE("what was written while nobody read is there for the next peer") {
  launcher_world world;
  auto w = world.shell("echo before; while [ ! -e go ]; do sleep 0.01; done; echo after");
  w.spec.stdout_path = "|";
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.streams.size() == 1; }));
  world.streams.clear();
  world.disconnect();
  std::ofstream{world.folder() + "/go"}.close();
  world.connect();
  REQUIRE(world.client().inventory());
  REQUIRE(world.wait_for([&] { return world.streams.size() == 1; }));
  auto& lent = world.streams.begin()->second;
  CHECK(read_all(lent.fd.get()) == "before\nafter\n");
  world.end_of(w);
  REQUIRE(world.client().lend(lent.what.id));
  REQUIRE(world.client().drop_stream(lent.what.id));
  REQUIRE(world.client().lend(lent.what.id));
  CHECK(world.wait_for([&] {
    return !world.refusals.empty() && world.refusals.back().what.why == launch::reason::not_found;
  }));
}

/// Writes `text` as an agent does: into the store, and from there by its position.
void give(const launch::lent_stream& to, const std::string& text) {
  const auto at = ::lseek(to.store.get(), 0, SEEK_CUR);
  REQUIRE(::pwrite(to.store.get(), text.data(), text.size(), at) ==
          static_cast<ssize_t>(text.size()));
  REQUIRE(::splice(to.store.get(), nullptr, to.fd.get(), nullptr, text.size(), 0) ==
          static_cast<ssize_t>(text.size()));
}

TEST_CASE("streamed input goes on over another peer and a re-exec, and ends when it is dropped") {
  launcher_world world;
  auto w = world.shell("cat >got");
  w.spec.stdin_path = "|";
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.streams.size() == 1; }));
  CHECK(world.streams.begin()->second.what.which == 4);
  give(world.streams.begin()->second, "first ");
  world.streams.clear();
  world.disconnect();
  world.connect();
  REQUIRE(world.client().inventory());
  REQUIRE(world.wait_for([&] { return world.streams.size() == 1; }));
  CHECK(::lseek(world.streams.begin()->second.store.get(), 0, SEEK_CUR) == 6);
  give(world.streams.begin()->second, "second ");
  world.streams.clear();
  REQUIRE(world.client().reexec());
  REQUIRE(world.wait_for([&] { return world.welcomes == 1; }));
  REQUIRE(world.client().inventory());
  REQUIRE(world.wait_for([&] { return world.streams.size() == 1; }));
  CHECK(::lseek(world.streams.begin()->second.store.get(), 0, SEEK_CUR) == 13);
  give(world.streams.begin()->second, "third");
  const auto id = world.streams.begin()->first;
  world.streams.clear(); // our own copies of its end
  REQUIRE(world.client().drop_stream(id));
  CHECK(world.end_of(w).exit_code == 0);
  CHECK(read_file(world.folder() + "/got") == "first second third");
}

TEST_CASE("input of a rank that has ended is closed, whoever holds it") {
  launcher_world world;
  auto w = world.job({"true"});
  w.spec.stdin_path = "|";
  CHECK(world.run(w).exit_code == 0);
  REQUIRE(world.streams.size() == 1);
  pollfd watched{world.streams.begin()->second.fd.get(), 0, 0};
  REQUIRE(::poll(&watched, 1, 20'000) == 1);
  CHECK((watched.revents & POLLERR) != 0);
}

TEST_CASE("a terminal is its rank's own, of the size that was asked for, and goes with it") {
  launcher_world world;
  auto w = world.shell("stty size; read line; echo \"got $line\"; tty >/dev/tty");
  w.spec.stdin_path = w.spec.stdout_path = "|";
  w.spec.merge_stderr = w.spec.has_terminal = true;
  w.spec.rows = 31;
  w.spec.columns = 99;
  world.send(w);
  REQUIRE(world.wait_for([&] { return world.streams.size() == 2; }));
  std::string text;
  for (auto& [id, lent] : world.streams)
    if (lent.what.which == 4)
      REQUIRE(::write(lent.fd.get(), "word\n", 5) == 5);
  CHECK(world.end_of(w).exit_code == 0);
  for (auto& [id, lent] : world.streams)
    if (lent.what.which == 1)
      text = read_all(lent.fd.get()); // EIO is its end
  INFO(text);
  CHECK(text.find("31 99\r\n") != std::string::npos);
  CHECK(text.find("got word\r\n") != std::string::npos);
  CHECK(text.find("/dev/pts/") != std::string::npos);
}

TEST_CASE("ranks are bound to the cores of their slot and rank") {
  launcher_world world;
  auto w = world.shell("grep Cpus_allowed_list /proc/self/status");
  w.spec.stdout_path = "cpus-%t";
  w.order.ranks_here = w.order.ranks_total = 2;
  w.order.bind_mode = 1;
  w.order.cpu_words = 1;
  w.order.cpusets = {1, 1};
  CHECK(world.run(w).exit_code == 0);
  CHECK(read_file(world.folder() + "/cpus-1") == "Cpus_allowed_list:\t0\n");
  // Without binding the sets only say which slots there are.
  auto unbound = world.shell("nproc");
  unbound.spec.stdout_path = "unbound";
  unbound.order.cpu_words = 1;
  unbound.order.cpusets = {1};
  CHECK(world.run(unbound).exit_code == 0);
  CHECK(read_file(world.folder() + "/unbound") ==
        std::to_string(::sysconf(_SC_NPROCESSORS_ONLN)) + "\n");
}

TEST_CASE("a batch of many jobs under one signature runs each of them") {
  launcher_world world;
  std::vector<wish> wishes;
  for (int i = 0; i < 200; ++i)
    wishes.push_back(world.shell("exit " + std::to_string(i % 256)));
  auto tag = world.send_all(wishes);
  for (const auto& w : wishes)
    CHECK(world.end_of(w).exit_code == static_cast<int>((w.order.job - 1) % 256));
  CHECK(world.batches[tag].accepted == 200);
}

TEST_CASE("without an array the second chunk of a group uses its own window") {
  launcher_world world;
  auto w = world.shell("exit 0");
  launcher_world::make_array(w, 0, 10, 1);
  world.send(w);
  launcher_world::make_array(w, 10, 100, 100);
  world.send(w);
  CHECK(world.wait_for([&] { return world.count(record_kind::exited, w.order.job) == 110; }));
  world.acknowledge_all();
  REQUIRE(world.client().forget(launcher_world::key(w)));
  // Forgotten: the same elements may be ordered again, as a new group.
  launcher_world::make_array(w, 0, 1, 1);
  auto tag = world.send(w);
  CHECK(world.wait_for([&] { return world.batches.count(tag) != 0; }));
  CHECK(world.batches[tag].accepted == 1);
}
