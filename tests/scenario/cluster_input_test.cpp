// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "cluster_harness.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <numeric>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

// What a command in the foreground reads is its job's to read; terminals; a look from within.

using namespace troupe;
using namespace troupe::test;

namespace {

/// A pipe into a program: what is written, and its end.
struct pipe_into {
  pipe_into() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    from.reset(ends[0]);
    to.reset(ends[1]);
  }
  void write(const std::string& text) const {
    REQUIRE(::write(to.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  unique_fd from, to;
};

/// A terminal of ours, as a person has one.
struct terminal {
  terminal() : keys{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)} {
    REQUIRE(::grantpt(keys.get()) == 0);
    REQUIRE(::unlockpt(keys.get()) == 0);
    program.reset(::open(::ptsname(keys.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(program);
    resize(33, 101);
  }
  void resize(unsigned short rows, unsigned short columns) const {
    winsize size{rows, columns, 0, 0};
    REQUIRE(::ioctl(keys.get(), TIOCSWINSZ, &size) == 0);
  }
  void type(const std::string& text) const {
    REQUIRE(::write(keys.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  unique_fd keys, program;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string numbers_to(int last) {
  std::string text;
  for (int i = 1; i <= last; ++i)
    text += std::to_string(i) + "\n";
  return text;
}

} // namespace

TEST_CASE("run gives its job what it reads, as it comes, and its end") {
  test_cluster cluster;
  pipe_into input;
  auto run = cluster.start({"run", "cat"}, input.from.get());
  input.write("first\n");
  REQUIRE(eventually([&] { return run.out() == "first\n"; }));
  CHECK(!run.ended());
  input.write("last, without an end of line");
  input.to.reset();
  auto done = run.wait();
  CHECK(done.exit == 0);
  CHECK(done.out == "first\nlast, without an end of line");
  CHECK(done.err.empty());
}

TEST_CASE("run gives its job a file byte for byte") {
  test_cluster cluster;
  const auto text = numbers_to(500'000); // far more than pipe, window and call hold
  cluster.write("numbers", text);
  unique_fd file{::open(cluster.path("numbers").c_str(), O_RDONLY | O_CLOEXEC)};
  auto done = cluster.start({"run", "cat"}, file.get()).wait();
  CHECK(done.exit == 0);
  CHECK((done.out == text));
}

TEST_CASE("a slow reader makes the writer wait, and loses nothing") {
  test_cluster cluster;
  const auto text = numbers_to(800'000);
  cluster.write("numbers", text);
  unique_fd file{::open(cluster.path("numbers").c_str(), O_RDONLY | O_CLOEXEC)};
  auto run = cluster.start(
      {"run", "sh", "-c", "echo ready; while ! [ -e go ]; do sleep 0.02; done; cat"}, file.get());
  REQUIRE(eventually([&] { return run.out() == "ready\n"; }));
  // A window's worth is taken, and no more: the file's position tells.
  REQUIRE(eventually([&] { return ::lseek(file.get(), 0, SEEK_CUR) >= 1 << 20; }));
  CHECK(::lseek(file.get(), 0, SEEK_CUR) < static_cast<off_t>(text.size()) / 2);
  cluster.write("go", "");
  auto done = run.wait();
  CHECK(done.exit == 0);
  CHECK((done.out == "ready\n" + text));
}

TEST_CASE("of several tasks the first one reads") {
  test_cluster cluster;
  pipe_into input;
  auto run = cluster.start({"run", "-N", "2", "-n", "4", "--label", "sh", "-c", "cat; echo over"},
                           input.from.get());
  input.write("hello\n");
  input.to.reset();
  auto done = run.wait();
  auto lines = lines_of(done.out);
  std::sort(lines.begin(), lines.end());
  CHECK(lines == words{"0: hello", "0: over", "1: over", "2: over", "3: over"});
}

TEST_CASE("a job that does not read to the end ends all the same") {
  test_cluster cluster;
  pipe_into open_for_ever;
  CHECK(cluster.start({"run", "true"}, open_for_ever.from.get()).wait().exit == 0);
  cluster.write("numbers", numbers_to(500'000));
  unique_fd file{::open(cluster.path("numbers").c_str(), O_RDONLY | O_CLOEXEC)};
  auto some = cluster.start({"run", "head", "-n", "2"}, file.get()).wait();
  CHECK(some.exit == 0);
  CHECK(some.out == "1\n2\n");
}

TEST_CASE("what belongs to no job in the foreground is refused in words") {
  test_cluster cluster;
  for (const words& wrong :
       {words{"submit", "--stdin", "|", "cat"}, words{"run", "--stdin", "|", "cat"},
        words{"submit", "--pty", "cat"}, words{"alloc", "--pty", "true"},
        words{"run", "--pty", "-o", "file", "cat"}, words{"run", "--pty", "--requeue", "cat"}}) {
    auto refused = cluster.troupe(wrong);
    INFO(wrong[0] << " " << wrong[1] << ": " << refused.err);
    CHECK((refused.exit == 1 || refused.exit == 2));
    CHECK(lines_of(refused.err).size() == 1);
  }
  CHECK(lines_of(cluster.troupe({"history"}).out).size() == 1); // its heading
}

TEST_CASE("a step reads what its 'troupe run' reads") {
  test_cluster cluster;
  cluster.write("job.sh", "#!/bin/sh\nprintf 'to the step' | troupe run cat\n", 0755);
  const auto id = cluster.submit({"-o", "out", "./job.sh"});
  cluster.wait(id);
  CHECK(cluster.file("out") == "to the step");
}

TEST_CASE("--pty: a shell has a terminal of this one's size, which it sees change") {
  test_cluster cluster;
  terminal mine;
  auto run = cluster.start({"run", "--pty", "sh"}, mine.program.get());
  mine.type("stty size; test -t 0 && test -t 1 && test -t 2 && echo is-a-$((1))-terminal\r");
  REQUIRE(
      eventually([&] { return has(run.out(), "33 101") && has(run.out(), "is-a-1-terminal"); }));
  mine.resize(44, 55);
  run.signal(SIGWINCH);
  mine.type("until [ \"$(stty size)\" = '44 55' ]; do sleep 0.02; done; echo resized-$((2))\r");
  REQUIRE(eventually([&] { return has(run.out(), "resized-2"); }));
  mine.type("exit 3\r");
  CHECK(run.wait().exit == 3);
}

TEST_CASE("--pty: control-C reaches what runs there, and the terminal here comes back") {
  test_cluster cluster;
  terminal mine;
  termios before{}, after{};
  REQUIRE(::tcgetattr(mine.program.get(), &before) == 0);
  const std::string script =
      "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.02; done";
  auto run = cluster.start({"run", "--pty", "sh", "-c", script}, mine.program.get());
  REQUIRE(eventually([&] { return has(run.out(), "ready"); }));
  mine.type("\x03");
  auto done = run.wait();
  CHECK(done.exit == 9);
  CHECK(has(done.out, "interrupted"));
  REQUIRE(::tcgetattr(mine.program.get(), &after) == 0);
  CHECK(after.c_lflag == before.c_lflag);
  CHECK(after.c_oflag == before.c_oflag);
}

TEST_CASE("--pty without a terminal here types what comes, and control-D at its end") {
  test_cluster cluster;
  pipe_into input;
  auto run = cluster.start({"run", "--pty", "sh"}, input.from.get());
  input.write("echo $((6 * 7))\necho $((7 * 8))"); // its last line has no end
  input.to.reset();
  auto done = run.wait();
  CHECK(done.exit == 0);
  CHECK(has(done.out, "42"));
  CHECK(has(done.out, "56"));
}

TEST_CASE("a closed standard input is none, and no other file takes its place") {
  test_cluster cluster;
  running_program both{{"sh", "-c", "troupe run cat <&-; troupe run --pty echo typed <&-"},
                       cluster.work(),
                       cluster.environment()};
  auto done = both.wait();
  CHECK(done.exit == 0);
  CHECK(done.out == "typed\r\n");
  CHECK(done.err.empty());
}

TEST_CASE("a limit on the size of files ends neither the cluster nor a job's input") {
  test_cluster cluster;
  REQUIRE(cluster.troupe({"down"}).exit == 0);
  running_program up{
      {"sh", "-c", "ulimit -f 8192; troupe up"}, cluster.work(), cluster.environment()};
  REQUIRE(up.wait().exit == 0);
  std::string text;
  text.resize(12'000'000, 'x');
  cluster.write("large", text);
  unique_fd file{::open(cluster.path("large").c_str(), O_RDONLY | O_CLOEXEC)};
  auto run = cluster.start({"run", "wc", "-c"}, file.get()).wait();
  // Told in words, if the store takes no more.
  if (run.exit == 0)
    CHECK(run.out == "12000000\n");
  else
    CHECK(has(run.err, "input cannot be kept"));
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
}

TEST_CASE("--pty: while the cluster is away the terminal is ours again, and an interrupt ends it") {
  test_cluster cluster;
  terminal mine;
  auto run =
      cluster.start({"run", "--pty", "sh", "-c", "echo ready; sleep 100"}, mine.program.get());
  REQUIRE(eventually([&] { return has(run.out(), "ready"); }));
  const auto is_raw = [&] {
    termios now{};
    return ::tcgetattr(mine.program.get(), &now) == 0 && (now.c_lflag & ICANON) == 0;
  };
  CHECK(is_raw());
  cluster.kill_trouped();
  REQUIRE(eventually([&] { return has(run.err(), "went away"); }));
  REQUIRE(eventually([&] { return !is_raw(); }));
  run.signal(SIGINT);
  CHECK(run.wait().exit == 128 + SIGINT);
  cluster.up();
}

TEST_CASE("attach starts a shell or a command inside a running job, on its cores") {
  test_cluster cluster;
  const auto id = cluster.submit_shell({"-n", "2"}, "until [ -e go ]; do sleep 0.02; done");
  REQUIRE(cluster.reaches(id, "running"));
  auto look =
      cluster.troupe({"attach", id, "sh", "-c", "echo $TROUPE_JOB_ID.$TROUPE_STEP; exit 5"});
  CHECK(look.exit == 5);
  CHECK(look.out == id + ".1\n");
  cluster.set_environment("SHELL=/bin/sh");
  terminal mine;
  auto shell = cluster.start({"attach", id}, mine.program.get());
  mine.type("echo at-$TROUPE_JOB_ID.$TROUPE_STEP\r");
  REQUIRE(eventually([&] { return has(shell.out(), "at-" + id + ".2"); }));
  mine.type("exit\r");
  CHECK(shell.wait().exit == 0);
  cluster.write("go", "");
  cluster.wait(id);
  auto late = cluster.troupe({"attach", id, "true"});
  CHECK(late.exit == 1);
  CHECK(has(late.err, "job " + id + " is not running"));
  CHECK(cluster.troupe({"attach"}).exit == 2);
  CHECK(cluster.troupe({"attach", "1-5", "true"}).exit == 2);
}
