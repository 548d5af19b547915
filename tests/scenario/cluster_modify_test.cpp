// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

using namespace troupe::test;

namespace {

std::string waits_for(const std::string& until) {
  return "while ! [ -e " + until + " ]; do sleep 0.02; done";
}

} // namespace

TEST_CASE("what a pending job asks for can be changed, durably") {
  test_cluster cluster{{2, 2, {}, {}}};
  auto id = cluster.submit({"--hold", "-J", "before", "-n", "1", "-t", "5", "sh", "-c",
                            "echo $TROUPE_NTASKS $TROUPE_NODELIST >>ran"});
  auto changed = cluster.ask({"modify", id, "--time", "2h", "--tasks", "2", "--nodes", "2",
                              "--name", "after", "--nice", "5"});
  CHECK(changed["jobs"] == 1);
  SECTION("at once") {}
  SECTION("over a kill of trouped") {
    cluster.kill_trouped();
    cluster.up();
  }
  auto row = cluster.row_of(id);
  CHECK(row["time_limit_s"] == 7200);
  CHECK(row["tasks"] == 2);
  CHECK(row["nodes"] == 2);
  CHECK(row["name"] == "after");
  CHECK(row["nice"] == 5);
  CHECK(row["held"] == true);
  CHECK(cluster.ask({"show", id})["job"]["spec"]["time_limit_s"] == 7200);
  cluster.troupe({"release", id});
  CHECK(cluster.wait(id).exit == 0);
  CHECK(cluster.file("ran") == "2 node1,node2\n2 node1,node2\n");
  CHECK(cluster.ask({"history", "--name", "after"})["rows"].size() == 1);
}

TEST_CASE("a change of a running job, an ended one, or to what cannot be is refused") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto running = cluster.submit_shell({}, waits_for("go"));
  REQUIRE(cluster.reaches(running, "running"));
  auto started = cluster.troupe({"modify", running, "--time", "1h"});
  CHECK(started.exit == 1);
  CHECK(started.err.find("it has started; only what waits can be changed") != std::string::npos);
  auto held = cluster.submit({"--hold", "-t", "5", "true"});
  const std::vector<std::pair<words, int>> refused{
      {{"modify", held, "--cores", "3"}, 1},
      {{"modify", held, "--nodes", "2"}, 1},
      {{"modify", held, "--queue", "nowhere"}, 1},
      {{"modify", held, "--reservation", "x"}, 1},
      {{"modify", "4242", "--time", "1h"}, 1},
      {{"modify", held, "--time", "soon"}, 2},
      {{"modify", held, "--nice", "100000"}, 2},
      {{"modify", held}, 2},
      {{"modify", "--time", "1h"}, 2},
  };
  for (const auto& [command, exit] : refused) {
    const auto done = cluster.troupe(command);
    INFO(command.back() << ": " << done.err);
    CHECK(done.exit == exit);
    CHECK(lines_of(done.err).size() == 1);
  }
  CHECK(cluster.row_of(held)["time_limit_s"] == 300);
  CHECK(cluster.row_of(held)["state"] == "pending");
  cluster.write("go", "");
  cluster.wait(running);
}

TEST_CASE("a job whose change was refused goes on as it was") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto running = cluster.submit_shell({"-n", "2"}, waits_for("go"));
  REQUIRE(cluster.reaches(running, "running"));
  auto waiting = cluster.submit({"true"});
  CHECK(cluster.troupe({"modify", waiting, "--cores", "5"}).exit == 1);
  CHECK(cluster.troupe({"modify", waiting, "--mem", "1M"}).exit == 0);
  cluster.write("go", "");
  CHECK(cluster.wait(waiting).exit == 0);
}

TEST_CASE("what a script says by #TROUPE lines is as if it had been said on the command line") {
  test_cluster cluster{{2, 2, {}, {}}};
  cluster.write("job.sh",
                "#!/bin/sh\n#TROUPE -H -A physics -q main --requeue --nice 7\n"
                "#TROUPE -w node2 --begin now+1h --exclusive\n"
                "#TROUPE -d afterany:1\ntrue\n",
                0755);
  auto first = cluster.submit({"true"});
  REQUIRE(first == "1");
  auto id = cluster.submit({"./job.sh"});
  auto spec = cluster.ask({"show", id})["job"]["spec"];
  CHECK(spec["account"] == "physics");
  CHECK(spec["queue"] == "main");
  CHECK(spec["requeue"] == true);
  CHECK(spec["nice"] == 7);
  CHECK(spec["exclusive"] == true);
  CHECK(spec["nodes_required"] == json({"node2"}));
  CHECK(spec["begin_utc_ns"].get<std::int64_t>() > 0);
  CHECK(spec["dependencies"][0]["kind"] == "afterany");
  CHECK(spec["dependencies"][0]["job"] == 1);
}

TEST_CASE("jobs run on the nodes that -w names and on none that -x names") {
  test_cluster cluster;
  for (int i = 0; i < 3; ++i) {
    CHECK(cluster.run_shell({"-w", "node2"}, "echo $TROUPE_NODE").out == "node2\n");
    CHECK(cluster.run_shell({"-x", "node1"}, "echo $TROUPE_NODE").out == "node2\n");
  }
}
