// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <cstdlib>
#include <unistd.h>

using namespace troupe::test;

// The wall clock of a running cluster is set, by as much as clocks are set by: the programs are the
// real ones, and see a clock that the shim shifts.

namespace {

constexpr auto every_program = troupe_fault_all;

/// What a cluster is for: an array, a stream, an end that is recorded, a time limit that is kept.
void check_works(test_cluster& cluster) {
  const auto array = cluster.submit({"-a", "1-20", "-o", "/dev/null", "true"});
  const auto run = cluster.run_shell({}, "echo words; exit 3");
  INFO(run.err);
  CHECK(run.exit == 3);
  CHECK(run.out == "words\n");
  CHECK(cluster.wait(array).exit == 0);
  const auto limited = cluster.submit({"-t", "1s", "--grace", "1s", "sleep", "1000"});
  CHECK(cluster.wait(limited).exit == 1);
  CHECK(cluster.state_of(limited) == "timed_out");
}

/// A job that runs until `name` is there.
std::string start_job(test_cluster& cluster, const std::string& name) {
  auto id = cluster.submit_shell({}, "until [ -e " + name + " ]; do sleep 0.02; done");
  REQUIRE(cluster.reaches(id, "running"));
  return id;
}

} // namespace

TEST_CASE("a wall clock that is set, forwards or back, stops nothing") {
  faults clocks;
  test_cluster cluster{{.nodes = 1, .cores = 4, .with_faults = &clocks}};
  int round = 0;
  for (const auto by : {-10s, -3600s, 3600s, -86'400s, 0s}) {
    INFO("the clock is off by " << by.count() << " s");
    const auto name = "go" + std::to_string(++round);
    const auto runs = start_job(cluster, name);
    auto follows = cluster.start({"run", "sh", "-c",
                                  "until [ -e " + name +
                                      " ]; do sleep 0.02; "
                                      "done; echo end; exit 4"});
    REQUIRE(eventually([&] { return cluster.ask({"queue"})["rows"].size() == 2; }));
    clocks.shift_wall(by, every_program);
    check_works(cluster);
    cluster.write(name, "");
    CHECK(cluster.wait(runs).exit == 0);
    const auto followed = follows.wait();
    INFO(followed.err);
    CHECK(followed.exit == 4);
    CHECK(followed.out == "end\n");
  }
  CHECK(cluster.troupe({"audit", "verify"}).exit == 0);
}

TEST_CASE("a wall clock that was an hour ahead for a moment leaves nothing behind") {
  faults clocks;
  test_cluster cluster{{.nodes = 1, .cores = 4, .with_faults = &clocks}};
  const auto runs = start_job(cluster, "go");
  clocks.shift_wall(1h, every_program);
  check_works(cluster);
  const auto meanwhile = cluster.submit({"sleep", "0.2"});
  clocks.shift_wall(0s, every_program);
  check_works(cluster);
  CHECK(cluster.wait(meanwhile).exit == 0);
  cluster.write("go", "");
  CHECK(cluster.wait(runs).exit == 0);
  const auto row = cluster.row_of(runs);
  const auto took =
      row["ended_utc_ns"].get<std::int64_t>() - row["started_utc_ns"].get<std::int64_t>();
  CHECK(took > 0);
  CHECK(took < 60'000'000'000);
}

TEST_CASE("a restart with the wall clock an hour back finds what runs, and goes on") {
  faults clocks;
  test_cluster cluster{{.nodes = 1, .cores = 4, .with_faults = &clocks}};
  const auto runs = start_job(cluster, "go");
  // Not for room: nothing may overtake it then, and nothing else would run.
  const auto waits = cluster.submit({"-c", "4", "-d", "afterok:" + runs, "true"});
  cluster.kill_trouped();
  clocks.shift_wall(-1h, every_program);
  cluster.up();
  CHECK(cluster.reaches(runs, "running"));
  check_works(cluster);
  cluster.write("go", "");
  CHECK(cluster.wait(runs).exit == 0);
  CHECK(cluster.wait(waits).exit == 0);
}

TEST_CASE("somebody whose clock differs from the cluster's is served") {
  faults clocks;
  test_cluster cluster{{.nodes = 1, .cores = 4, .with_faults = &clocks}};
  for (const auto by : {-3600s, -10s, 10s, 3600s}) {
    INFO("the client's clock is off by " << by.count() << " s");
    clocks.shift_wall(by, troupe_fault_client);
    check_works(cluster);
  }
}

TEST_CASE("400 days later a cluster that was never restarted works") {
  faults clocks;
  test_cluster cluster{{.nodes = 1, .cores = 4, .with_faults = &clocks}};
  const auto runs = start_job(cluster, "go");
  clocks.shift_boot(24h * 401, every_program);
  clocks.shift_wall(24h * 401, every_program);
  check_works(cluster);
  cluster.write("go", "");
  CHECK(cluster.wait(runs).exit == 0);
}

TEST_CASE("on a machine that has been up for 400 days a cluster works") {
  if (::geteuid() != 0)
    return; // a time namespace is root's
  test_cluster cluster{{.nodes = 1,
                        .cores = 4,
                        .before_up = {"unshare", "--time", "--boottime", "34560000", "--monotonic",
                                      "34560000", "-f"}}};
  check_works(cluster);
  cluster.kill_trouped();
  cluster.up();
  check_works(cluster);
}
