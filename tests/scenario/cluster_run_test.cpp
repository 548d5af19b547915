// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <numeric>
#include <sys/stat.h>

using namespace troupe::test;

TEST_CASE("run hands through output byte for byte, each stream to its own") {
  test_cluster cluster;
  auto plain = cluster.troupe({"run", "printf", "a\\nb\\0c no newline at the end"});
  CHECK(plain.exit == 0);
  CHECK(plain.out == std::string("a\nb\0c no newline at the end", 27));
  CHECK(plain.err.empty());

  auto both = cluster.run_shell({}, "echo to out; echo to err >&2");
  CHECK(both.out == "to out\n");
  CHECK(both.err == "to err\n");

  // Far more than a pipe or one message holds.
  auto large = cluster.run_shell({}, "seq 1 300000");
  std::string expected;
  for (int i = 1; i <= 300000; ++i)
    expected += std::to_string(i) + "\n";
  CHECK(large.exit == 0);
  CHECK(large.out.size() == expected.size());
  CHECK((large.out == expected));
}

TEST_CASE("run shows output while the job still runs") {
  test_cluster cluster;
  auto run = cluster.start(
      {"run", "sh", "-c", "echo first; while ! [ -e go ]; do sleep 0.02; done; echo last"});
  REQUIRE(eventually([&] { return run.out() == "first\n"; }));
  CHECK(!run.ended());
  cluster.write("go", "");
  auto done = run.wait();
  CHECK(done.out == "first\nlast\n");
  CHECK(done.exit == 0);
}

TEST_CASE("run exits as its job did: with its code, or 128 + its signal") {
  test_cluster cluster;
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(cluster.run_shell({}, "exit 7").exit == 7);
  CHECK(cluster.run_shell({}, "exit 255").exit == 255);
  CHECK(cluster.run_shell({}, "kill -TERM $$").exit == 128 + SIGTERM);
  CHECK(cluster.run_shell({}, "kill -KILL $$").exit == 128 + SIGKILL);
  auto missing = cluster.troupe({"run", "no-such-program-anywhere"});
  CHECK(missing.exit == 127);
  CHECK(missing.err.find("no-such-program-anywhere") != std::string::npos);
  cluster.write("not-a-program", "text");
  auto neither = cluster.troupe({"run", "./not-a-program"});
  CHECK(neither.exit == 1);
  CHECK(neither.err.find("begin a script with #!") != std::string::npos);
}

TEST_CASE("a signal to run reaches its job, which decides") {
  test_cluster cluster;
  auto run =
      cluster.start({"run", "sh", "-c",
                     "trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.02; done"});
  REQUIRE(eventually([&] { return run.out() == "ready\n"; }));
  run.signal(SIGUSR1);
  auto done = run.wait();
  CHECK(done.exit == 9);
  CHECK(done.out == "ready\ngot it\n");
}

TEST_CASE("submit prints the id and nothing else; output goes to files named by patterns") {
  test_cluster cluster;
  auto plain = cluster.submit_shell({}, "echo out; echo err >&2");
  cluster.wait(plain);
  CHECK(cluster.file("troupe-" + plain + ".out") == "out\nerr\n");

  auto named = cluster.submit_shell({"-n", "2", "-o", "out-%j-%t-%N-%%", "-e", "err-%j-%t"},
                                    "echo $TROUPE_RANK on $TROUPE_NODE; echo bad >&2");
  CHECK(cluster.wait(named).exit == 0);
  for (const std::string rank : {"0", "1"}) {
    auto found = false;
    for (const std::string node : {"node1", "node2"}) {
      auto text = cluster.file("out-" + named + "-" + rank + "-" + node + "-%");
      found = found || text == rank + " on " + node + "\n";
    }
    CHECK(found);
    CHECK(cluster.file("err-" + named + "-" + rank) == "bad\n");
  }

  auto array = cluster.submit_shell({"-a", "3-5", "-o", "a-%j-%a"}, "echo $TROUPE_ELEMENT");
  CHECK(cluster.wait(array).exit == 0);
  for (const std::string element : {"3", "4", "5"})
    CHECK(cluster.file("a-" + array + "-" + element) == element + "\n");
}

TEST_CASE("output that cannot be written fails the job with the reason, not the cluster") {
  test_cluster cluster;
  auto id = cluster.submit_shell({"-o", "no/such/directory/file"}, "echo x");
  auto waited = cluster.wait(id);
  CHECK(waited.exit == 1);
  CHECK(cluster.state_of(id) == "failed");
  CHECK(waited.out.find("No such file or directory") != std::string::npos);

  // A FIFO that nobody reads must not hold the launcher up.
  REQUIRE(::mkfifo(cluster.path("pipe").c_str(), 0600) == 0);
  auto stuck = cluster.submit_shell({"-o", "pipe"}, "echo x");
  CHECK(cluster.wait(stuck).exit == 1);
  CHECK(cluster.state_of(stuck) == "failed");
  CHECK(cluster.troupe({"run", "echo", "fine"}).out == "fine\n");
}

TEST_CASE("a directory that vanished fails the job with the reason") {
  test_cluster cluster;
  REQUIRE(::mkdir(cluster.path("gone").c_str(), 0700) == 0);
  auto refused = cluster.troupe({"submit", "--cwd", "never-there", "true"});
  CHECK(refused.exit == 1);
  CHECK(lines_of(refused.err).size() == 1);
  CHECK(refused.err.find("never-there") != std::string::npos);
  auto id = cluster.submit({"--hold", "--cwd", "gone", "true"});
  REQUIRE(::rmdir(cluster.path("gone").c_str()) == 0);
  CHECK(cluster.troupe({"release", id}).exit == 0);
  auto waited = cluster.wait(id);
  CHECK(waited.exit == 1);
  CHECK(waited.out.find("No such file or directory") != std::string::npos);
  CHECK(cluster.state_of(id) == "failed");
}

TEST_CASE("a script's #TROUPE lines are its options, and the command line wins") {
  test_cluster cluster;
  cluster.write("job.sh",
                "#!/bin/sh\n#TROUPE --name from-script\n#TROUPE -o script-%j.txt -n 2\n"
                "echo rank $TROUPE_RANK of $TROUPE_NTASKS: $1\n",
                0755);
  auto id = cluster.submit({"-J", "from-line", "job.sh", "word"});
  CHECK(cluster.wait(id).exit == 0);
  auto row = cluster.row_of(id);
  CHECK(row["name"] == "from-line");
  CHECK(row["tasks"] == 2);
  auto text = cluster.file("script-" + id + ".txt");
  CHECK(text.find("of 2: word") != std::string::npos);
}

TEST_CASE("a job has the caller's environment, directory and its own place in the cluster") {
  test_cluster cluster;
  cluster.set_environment("FROM_CALLER=yes");
  REQUIRE(::mkdir(cluster.path("sub").c_str(), 0700) == 0);
  auto done = cluster.run_shell({"--cwd", "sub", "--env", "EXTRA=a b"},
                                "echo $FROM_CALLER; echo $EXTRA; pwd; echo $TROUPE_NTASKS; "
                                "echo $TROUPE_NODE $TROUPE_NODELIST; echo $TROUPE_SUBMIT_DIR");
  auto lines = lines_of(done.out);
  REQUIRE(lines.size() == 6);
  CHECK(lines[0] == "yes");
  CHECK(lines[1] == "a b");
  CHECK(lines[2] == cluster.path("sub"));
  CHECK(lines[3] == "1");
  CHECK(lines[4].rfind("node", 0) == 0);
  auto clean = cluster.run_shell({"--clean-env", "--env", "ONLY=1"},
                                 "echo $FROM_CALLER; echo $ONLY; echo $HOME");
  auto clean_lines = lines_of(clean.out);
  REQUIRE(clean_lines.size() == 3);
  CHECK(clean_lines[0].empty());
  CHECK(clean_lines[1] == "1");
  CHECK(!clean_lines[2].empty());
}

TEST_CASE("ranks over two nodes each know their place, and all end when one fails") {
  test_cluster cluster;
  auto ranks = cluster.run_shell(
      {"-N", "2", "-n", "4"}, "echo $TROUPE_RANK $TROUPE_LOCAL_RANK $TROUPE_NODE $TROUPE_NTASKS");
  CHECK(ranks.exit == 0);
  auto lines = lines_of(ranks.out);
  std::sort(lines.begin(), lines.end());
  CHECK(lines == words{"0 0 node1 4", "1 1 node1 4", "2 0 node2 4", "3 1 node2 4"});

  auto done = cluster.run_shell({"-N", "2", "-n", "4"},
                                "if [ $TROUPE_RANK = 3 ]; then exit 5; fi; exec sleep 1000");
  CHECK(done.exit == 5);
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
}

TEST_CASE("labels tell which task wrote a line") {
  test_cluster cluster;
  auto done = cluster.run_shell({"--label", "-n", "2"}, "echo rank $TROUPE_RANK");
  auto lines = lines_of(done.out);
  std::sort(lines.begin(), lines.end());
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].find("rank 0") != std::string::npos);
  CHECK(lines[0].front() == '0');
  CHECK(lines[1].front() == '1');
}

TEST_CASE("processes that a job leaves behind are ended with it") {
  test_cluster cluster;
  auto done = cluster.run_shell({}, "sleep 1000 & setsid sleep 1001 & (sleep 1002 &) ; echo left");
  CHECK(done.exit == 0);
  CHECK(done.out == "left\n");
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
}

TEST_CASE("logs tells a job's output, and follows it to the end") {
  test_cluster cluster;
  auto file = cluster.submit_shell({}, "echo from a file");
  cluster.wait(file);
  CHECK(cluster.troupe({"logs", file}).out == "from a file\n");

  auto streamed = cluster.submit_shell(
      {"-o", "|"}, "echo one; while ! [ -e go ]; do sleep 0.02; done; echo two");
  auto follower = cluster.start({"logs", "-f", streamed});
  REQUIRE(eventually([&] { return follower.out() == "one\n"; }));
  CHECK(!follower.ended());
  cluster.write("go", "");
  auto done = follower.wait();
  CHECK(done.exit == 0);
  CHECK(done.out == "one\ntwo\n");
  CHECK(cluster.troupe({"logs", streamed}).out == "one\ntwo\n");

  auto slow = cluster.submit_shell({}, "echo 1; while ! [ -e go2 ]; do sleep 0.02; done; echo 2");
  auto reader = cluster.start({"logs", "-f", slow});
  REQUIRE(eventually([&] { return reader.out() == "1\n"; }));
  cluster.write("go2", "");
  CHECK(reader.wait().out == "1\n2\n");
}

TEST_CASE("ranks that share an output file add to it, after what an earlier job left is gone") {
  test_cluster cluster{{2, 4, {}, {}}};
  cluster.write("shared", "an earlier job's\n");
  // Older than the job by more than a tick of the clock that files are dated by.
  const timespec old[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, cluster.path("shared").c_str(), old, 0) == 0);
  const auto id = cluster.submit_shell({"-N", "2", "-n", "6", "-o", "shared"},
                                       "echo rank $TROUPE_RANK; echo again $TROUPE_RANK");
  CHECK(cluster.wait(id).exit == 0);
  const auto lines = lines_of(cluster.file("shared"));
  CHECK(lines.size() == 12);
  for (int rank = 0; rank < 6; ++rank)
    CHECK(std::count(lines.begin(), lines.end(), "rank " + std::to_string(rank)) == 1);
}
