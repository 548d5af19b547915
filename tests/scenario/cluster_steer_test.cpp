// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <csignal>

using namespace troupe::test;

TEST_CASE("a job that is over its time limit gets SIGTERM, and after its grace time SIGKILL") {
  test_cluster cluster;
  auto polite = cluster.submit_shell({"-t", "1s", "-e", "/dev/null"},
                                     "trap 'echo asked; exit 0' TERM; echo up; "
                                     "while :; do sleep 0.02; done");
  auto deaf = cluster.submit_shell({"-t", "1s", "--grace", "1s", "-e", "/dev/null"},
                                   "trap 'echo asked' TERM; echo up; while :; do sleep 0.02; done");
  auto early = cluster.submit_shell({"-t", "60s"}, "exit 0");
  CHECK(cluster.wait(polite).exit == 1);
  CHECK(cluster.state_of(polite) == "timed_out");
  CHECK(cluster.file("troupe-" + polite + ".out") == "up\nasked\n");
  auto waited = cluster.wait(deaf);
  CHECK(waited.out.find("time") != std::string::npos);
  CHECK(cluster.state_of(deaf) == "timed_out");
  CHECK(cluster.file("troupe-" + deaf + ".out") == "up\nasked\n");
  auto row = cluster.row_of(deaf);
  auto ran_s = (row["ended_utc_ns"].get<double>() - row["started_utc_ns"].get<double>()) / 1e9;
  CHECK(ran_s >= 1.9);
  CHECK(row["signal"] == SIGKILL);
  CHECK(cluster.wait(early).exit == 0);
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
}

TEST_CASE("a cancelled job that waits never runs; one that runs is ended, with its reason kept") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto running = cluster.submit_shell({}, "echo up; exec sleep 1000");
  REQUIRE(cluster.reaches(running, "running"));
  auto waiting = cluster.submit_shell({}, "echo ran >ran");
  CHECK(cluster.state_of(waiting) == "pending");
  CHECK(cluster.troupe({"cancel", waiting}).exit == 0);
  CHECK(cluster.state_of(waiting) == "cancelled");
  CHECK(cluster.troupe({"cancel", "--reason", "not wanted", running}).exit == 0);
  auto waited = cluster.wait(running);
  CHECK(waited.exit == 1);
  CHECK(waited.out.find("not wanted") != std::string::npos);
  CHECK(cluster.state_of(running) == "cancelled");
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(cluster.file("ran").empty());
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));

  auto again = cluster.troupe({"cancel", running});
  CHECK(again.exit == 1);
  CHECK(lines_of(again.err).size() == 1);
}

TEST_CASE("a job that ignores SIGTERM is ended by cancel after its grace time") {
  test_cluster cluster;
  auto id = cluster.submit_shell({"--grace", "1s"},
                                 "trap '' TERM; echo up; while :; do sleep 0.02; done");
  REQUIRE(eventually([&] { return cluster.file("troupe-" + id + ".out") == "up\n"; }));
  CHECK(cluster.troupe({"cancel", id}).exit == 0);
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.state_of(id) == "cancelled");
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
}

TEST_CASE("an interrupted run cancels a job that waits and signals one that runs") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto running = cluster.start({"run", "sh", "-c", "echo up; exec sleep 1000"});
  REQUIRE(eventually([&] { return running.out() == "up\n"; }));
  auto waiting = cluster.start({"run", "sh", "-c", "echo ran >ran"});
  REQUIRE(eventually([&] { return cluster.state_of("2") == "pending"; }));
  waiting.signal(SIGINT);
  auto gave_up = waiting.wait();
  CHECK(gave_up.exit != 0);
  CHECK(cluster.state_of("2") == "cancelled");
  running.signal(SIGINT);
  CHECK(running.wait().exit == 128 + SIGINT);
  CHECK(cluster.file("ran").empty());
}

TEST_CASE("a held job waits until it is released, over a restart too") {
  test_cluster cluster;
  auto id = cluster.submit_shell({"--hold"}, "echo ran");
  auto other = cluster.submit({"true"});
  CHECK(cluster.wait(other).exit == 0);
  CHECK(cluster.state_of(id) == "pending");
  CHECK(cluster.row_of(id)["held"] == true);
  cluster.kill_trouped();
  cluster.up();
  CHECK(cluster.row_of(id)["held"] == true);
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(cluster.state_of(id) == "pending");
  CHECK(cluster.troupe({"release", id}).exit == 0);
  CHECK(cluster.wait(id).exit == 0);

  auto late = cluster.submit_shell({"-n", "4"}, "while ! [ -e go ]; do sleep 0.02; done");
  REQUIRE(cluster.reaches(late, "running"));
  auto next = cluster.submit({"true"});
  CHECK(cluster.troupe({"hold", next}).exit == 0);
  CHECK(cluster.troupe({"hold", late}).exit == 1);
  CHECK(cluster.troupe({"hold", "--all"}).exit == 0); // what runs was not named
  cluster.write("go", "");
  CHECK(cluster.wait(late).exit == 0);
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(cluster.state_of(next) == "pending");
  CHECK(cluster.troupe({"release", "--all"}).exit == 0);
  CHECK(cluster.wait(next).exit == 0);
  CHECK(cluster.troupe({"hold", next}).exit == 1);
}

TEST_CASE("a signal reaches every task of a running job, and no job that waits") {
  test_cluster cluster;
  auto id =
      cluster.submit_shell({"-n", "2", "-o", "out-%t", "-e", "/dev/null"},
                           "trap 'echo got; exit 0' USR1; echo up; while :; do sleep 0.02; done");
  REQUIRE(eventually(
      [&] { return cluster.file("out-0") == "up\n" && cluster.file("out-1") == "up\n"; }));
  CHECK(cluster.troupe({"signal", "USR1", id}).exit == 0);
  CHECK(cluster.wait(id).exit == 0);
  CHECK(cluster.file("out-0") == "up\ngot\n");
  CHECK(cluster.file("out-1") == "up\ngot\n");

  auto held = cluster.submit({"--hold", "true"});
  auto refused = cluster.troupe({"signal", "USR1", held});
  CHECK(refused.exit == 1);
  CHECK(refused.err.find("not running") != std::string::npos);
  CHECK(cluster.troupe({"signal", "NOSUCH", held}).exit == 2);
}

TEST_CASE("wait tells how each job ended, and its exit code says whether all completed") {
  test_cluster cluster;
  auto good = cluster.submit({"true"});
  auto bad = cluster.submit_shell({}, "exit 4");
  auto killed = cluster.submit_shell({}, "kill -SEGV $$");
  auto one = cluster.troupe({"wait", good});
  CHECK(one.exit == 0);
  CHECK(one.out == good + " completed\n");
  auto all = cluster.troupe({"wait", good + "-" + killed});
  CHECK(all.exit == 1);
  auto lines = lines_of(all.out);
  REQUIRE(lines.size() == 3);
  CHECK(lines[1] == bad + " failed, exit code 4");
  CHECK(lines[2].find(killed + " failed, ") == 0);
  CHECK(lines[2].find("SEGV") != std::string::npos);
  CHECK(cluster.troupe({"wait", "9999"}).exit == 1);
  CHECK(cluster.troupe({"wait", "nonsense"}).exit == 2);
}

TEST_CASE("a run whose client is gone ends after the grace time; one that comes back does not") {
  test_cluster cluster{{2, 2, {"--attached-grace", "1"}, {}}};
  auto stays = cluster.start(
      {"run", "sh", "-c", "echo up; while ! [ -e go ]; do sleep 0.02; done; echo end"});
  auto goes = cluster.start({"run", "sh", "-c", "echo up; exec sleep 1000"});
  REQUIRE(eventually([&] { return stays.out() == "up\n" && goes.out() == "up\n"; }));
  std::string id;
  const auto queue = cluster.ask({"queue"});
  for (const auto& row : queue["rows"])
    if (cluster.ask({"show", std::to_string(row["job"].get<int>())})["job"]["spec"]["argv"][2] ==
        "echo up; exec sleep 1000")
      id = std::to_string(row["job"].get<int>());
  REQUIRE(!id.empty());
  kill_and_wait(goes.pid());
  CHECK(cluster.reaches(id, "cancelled"));
  auto row = cluster.row_of(id);
  CHECK(row["reason"].get<std::string>().find("client went away") != std::string::npos);
  cluster.write("go", "");
  auto done = stays.wait();
  CHECK(done.exit == 0);
  CHECK(done.out == "up\nend\n");
}
