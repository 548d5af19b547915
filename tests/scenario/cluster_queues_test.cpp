// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

using namespace troupe::test;

namespace {

std::string waits_for(const std::string& until) {
  return "while ! [ -e " + until + " ]; do sleep 0.02; done";
}

std::string me() {
  return ::getpwuid(::getuid())->pw_name;
}

cluster_shape with(int nodes, int cores, const std::string& config) {
  cluster_shape how;
  how.nodes = nodes;
  how.cores = cores;
  how.config = config;
  return how;
}

std::string refusal(test_cluster& cluster, words command) {
  const auto done = cluster.troupe(command);
  CHECK(done.exit == 1);
  CHECK(lines_of(done.err).size() == 1);
  return done.err;
}

bool has(const std::string& text, const std::string& part) {
  if (text.find(part) == std::string::npos)
    FAIL_CHECK("'" << part << "' is not in: " << text);
  return true;
}

} // namespace

TEST_CASE("a queue that is not there is refused, whatever else is named, and the cluster lives") {
  test_cluster cluster{with(1, 2, "")};
  const auto made = cluster.troupe({"reserve", "create", "r1", "--nodes", "node1", "--start", "now",
                                    "--duration", "1h", "--users", me()});
  REQUIRE(made.exit == 0);
  const auto trouped = cluster.trouped();
  const std::string sentence = "there is no queue 'nosuch'";
  has(refusal(cluster, {"submit", "-q", "nosuch", "--reservation", "r1", "true"}), sentence);
  has(refusal(cluster, {"submit", "--dry-run", "-q", "nosuch", "--reservation", "r1", "true"}),
      sentence);
  const auto job = cluster.submit({"--hold", "--reservation", "r1", "--time", "5m", "true"});
  has(refusal(cluster, {"modify", job, "--queue", "nosuch"}), sentence);
  CHECK(cluster.trouped() == trouped);
  CHECK(cluster.row_of(job)["state"] == "pending");
}

TEST_CASE("queues have defaults and limits, and say so") {
  test_cluster cluster{with(1, 2, R"(
[queues.short]
default = true
time_default = "10m"
time_max = "1h"
jobs_max = 2
[queues.closed]
users = ["nobody-at-all"]
[queues.strict]
time_max = "5m"
[queues.few.each_user]
jobs_max = 1
)")};
  auto queues = cluster.ask({"queues"})["queues"];
  REQUIRE(queues.size() == 4);
  CHECK(queues[0]["name"] == "short");
  CHECK(queues[0]["is_default"] == true);
  CHECK(queues[0]["time_max_s"] == 3600);
  CHECK(cluster.troupe({"queues"}).out.find("short*") != std::string::npos);
  auto id = cluster.submit({"--hold", "true"});
  CHECK(cluster.row_of(id)["queue"] == "short");
  CHECK(cluster.row_of(id)["time_limit_s"] == 600);
  has(refusal(cluster, {"submit", "-t", "2h", "true"}),
      "a time limit of 7200 s is asked for; the queue 'short' allows 3600 s");
  has(refusal(cluster, {"submit", "-q", "closed", "true"}), "is not open to user '" + me() + "'");
  has(refusal(cluster, {"submit", "-q", "strict", "true"}), "need a time limit of at most 300 s");
  has(refusal(cluster, {"submit", "-q", "none", "true"}),
      "this cluster has 'short', 'closed', 'strict', 'few'");
  auto second = cluster.submit({"--hold", "true"});
  has(refusal(cluster, {"submit", "true"}), "the queue 'short' has 2 unfinished jobs; 2 are the");
  cluster.submit({"--hold", "-q", "few", "true"});
  has(refusal(cluster, {"submit", "-q", "few", "true"}), "1 are the limit");
  CHECK(cluster.ask({"queues"})["queues"][0]["pending"] == 2);
  cluster.troupe({"cancel", id});
  CHECK(cluster.troupe({"modify", second, "--queue", "strict"}).exit == 1);
  CHECK(cluster.troupe({"modify", second, "--queue", "strict", "--time", "5m"}).exit == 0);
  CHECK(cluster.ask({"queues"})["queues"][2]["pending"] == 1);
}

TEST_CASE("a queue of higher priority goes first, and nice goes behind") {
  test_cluster cluster{with(1, 1, R"(
[queues.normal]
priority = 100
default = true
[queues.high]
priority = 500
)")};
  auto first = cluster.submit_shell({}, waits_for("go"));
  REQUIRE(cluster.reaches(first, "running"));
  auto nice = cluster.submit_shell({"--nice", "50"}, "echo nice >>order");
  auto normal = cluster.submit_shell({}, "echo normal >>order");
  auto high = cluster.submit_shell({"-q", "high"}, "echo high >>order");
  cluster.write("go", "");
  CHECK(cluster.troupe({"wait", nice, normal, high}).exit == 0);
  CHECK(cluster.file("order") == "high\nnormal\nnice\n");
}

TEST_CASE("no more of a user's jobs run at once than the configuration allows") {
  test_cluster cluster{with(1, 4, "[each_user]\nrunning_max = 1\n[queues.main]\n")};
  auto first = cluster.submit_shell({}, waits_for("go"));
  auto second = cluster.submit({"true"});
  REQUIRE(cluster.reaches(first, "running"));
  CHECK(cluster.state_of(second) == "pending");
  has(cluster.troupe({"why", second}).out, "user");
  cluster.write("go", "");
  CHECK(cluster.wait(second).exit == 0);
}

TEST_CASE("a reload is in force at once, and one that is wrong changes nothing") {
  test_cluster cluster{with(1, 2, "[queues.main]\ntime_max = \"1h\"\n")};
  CHECK(cluster.troupe({"submit", "--hold", "-t", "2h", "true"}).exit == 1);
  cluster.configure("[queues.main]\ntime_max = \"3h\"\n[queues.more]\n");
  CHECK(cluster.troupe({"submit", "--hold", "-t", "2h", "true"}).exit == 1);
  CHECK(cluster.troupe({"config", "check"}).exit == 0);
  CHECK(cluster.troupe({"config", "reload"}).exit == 0);
  CHECK(cluster.troupe({"submit", "--hold", "-t", "2h", "true"}).exit == 0);
  auto shown = cluster.troupe({"config", "show"}).out;
  has(shown, "time_max = \"10800s\"");
  has(shown, "[queues.more]");
  cluster.configure("[queues.main]\ntime_max = \"never\"\n");
  has(refusal(cluster, {"config", "reload"}), "troupe.toml:2: queues.main.time_max: 'never' is no");
  auto checked = cluster.troupe({"config", "check"});
  CHECK(checked.exit == 1);
  has(checked.err, "troupe.toml:2: queues.main.time_max");
  cluster.configure("[queues.other]\n");
  has(refusal(cluster, {"config", "reload"}), "'main' is gone, but 1 unfinished jobs are in it");
  cluster.configure("[nodes.node1]\ngpus = 2\n");
  has(refusal(cluster, {"config", "reload"}), "[nodes] cannot change while the cluster is up");
  CHECK(cluster.troupe({"config", "show"}).out == shown);
  CHECK(cluster.troupe({"submit", "--hold", "-q", "more", "true"}).exit == 0);
}

TEST_CASE("a reload changes the order of what waits") {
  test_cluster cluster{with(1, 1, "[scheduling]\norder = \"fcfs\"\n[queues.main]\n")};
  auto first = cluster.submit_shell({"-t", "1h"}, waits_for("go"));
  REQUIRE(cluster.reaches(first, "running"));
  auto longer = cluster.submit_shell({"-t", "2h"}, "echo longer >> order");
  auto shorter = cluster.submit_shell({"-t", "1m"}, "echo shorter >> order");
  has(cluster.troupe({"why", longer}).out, "first in the queue");
  cluster.configure("[scheduling]\norder = \"sjf\"\n[queues.main]\n");
  REQUIRE(cluster.troupe({"config", "reload"}).exit == 0);
  has(cluster.troupe({"why", shorter}).out, "first in the queue");
  cluster.write("go", "");
  CHECK(cluster.wait(longer).exit == 0);
  CHECK(cluster.wait(shorter).exit == 0);
  CHECK(cluster.file("order") == "shorter\nlonger\n");
}

TEST_CASE("a cluster does not start with a configuration that is wrong, and says why") {
  test_cluster cluster{with(1, 1, "[queues.main]\n")};
  cluster.troupe({"down"});
  cluster.configure("[queues.main]\npriority = \"high\"\n");
  auto wrong = cluster.try_up();
  CHECK(wrong.exit == 1);
  has(wrong.err, "troupe.toml:2: queues.main.priority: is a string");
  cluster.configure("[nodes.node9]\ngpus = 1\n");
  has(cluster.try_up().err, "there is no such node; this cluster has node1 to node1");
  cluster.configure("[queues.main]\n");
  cluster.up();
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
}

TEST_CASE("accounts: who may charge them, and which one is taken") {
  test_cluster cluster{with(1, 2,
                            "[accounts.ours]\nusers = [\"" + me() +
                                "\"]\n[accounts.theirs]\nusers = [\"nobody-at-all\"]\n"
                                "[priority]\nfair_share = 1000\n")};
  auto id = cluster.submit({"true"});
  CHECK(cluster.row_of(id)["account"] == "ours");
  has(refusal(cluster, {"submit", "-A", "theirs", "true"}), "may not charge the account 'theirs'");
  has(refusal(cluster, {"submit", "-A", "none", "true"}), "there is no account 'none'");
  CHECK(cluster.wait(id).exit == 0);
}

TEST_CASE("a queue that preempts ends what runs in another, which waits and runs again") {
  test_cluster cluster{with(1, 2, R"(
[queues.spare]
default = true
priority = 1
grace = "20s"
[queues.urgent]
priority = 100
preempts = ["spare"]
)")};
  auto spare = cluster.submit_shell({"-n", "2"}, "echo started >>ran; " + waits_for("go"));
  REQUIRE(cluster.reaches(spare, "running"));
  REQUIRE(eventually([&] { return lines_of(cluster.file("ran")).size() == 2; }));
  auto urgent = cluster.submit_shell({"-q", "urgent", "-n", "2"}, waits_for("done"));
  REQUIRE(cluster.reaches(urgent, "running"));
  CHECK(cluster.state_of(spare) == "pending");
  SECTION("without a restart") {}
  SECTION("over a kill of trouped") {
    cluster.kill_trouped();
    cluster.up();
  }
  cluster.write("done", "");
  cluster.write("go", "");
  CHECK(cluster.wait(urgent).exit == 0);
  CHECK(cluster.wait(spare).exit == 0);
  CHECK(lines_of(cluster.file("ran")).size() == 4);
}

TEST_CASE("a preempted run in front tells what its next run writes; one with input is cancelled") {
  test_cluster cluster{with(1, 2, R"(
[queues.spare]
default = true
priority = 1
[queues.urgent]
priority = 100
preempts = ["spare"]
)")};
  const auto began = [&] { return lines_of(cluster.file("ran")).size() == 2; };
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  auto writes = cluster.start({"run", "sh", "-c",
                               "echo begins; echo 1 >>ran; "
                               "while [ ! -e go ]; do sleep 0.02; done; echo ends"});
  auto reads = cluster.start({"run", "sh", "-c", "echo 1 >>ran; exec cat"}, pipe[0]);
  ::close(pipe[0]);
  REQUIRE(eventually(began));
  auto urgent = cluster.submit_shell({"-q", "urgent", "-n", "2"}, waits_for("done"));
  REQUIRE(cluster.reaches(urgent, "running"));
  cluster.write("go", "");
  cluster.write("done", "");
  const auto written = writes.wait();
  CHECK(written.exit == 0);
  CHECK(written.out == "begins\nbegins\nends\n");
  const auto read = reads.wait();
  CHECK(read.exit != 0);
  CHECK(read.err.find("cannot be given to it again") != std::string::npos);
  ::close(pipe[1]);
}
