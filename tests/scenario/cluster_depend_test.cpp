// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

using namespace troupe::test;

namespace {

std::string waits_for(const std::string& until) {
  return "while ! [ -e " + until + " ]; do sleep 0.02; done";
}

} // namespace

TEST_CASE("a job waits for the end of another, and starts when that is as it must be") {
  test_cluster cluster;
  auto first = cluster.submit_shell({}, waits_for("go") + "; echo 1 >>order");
  auto ok = cluster.submit_shell({"-d", "afterok:" + first}, "echo 2 >>order");
  auto any = cluster.submit_shell({"-d", "afterany:" + first + ",afterok:" + ok}, "echo 3 >>order");
  auto not_ok = cluster.submit({"-d", "afternotok:" + first, "true"});
  REQUIRE(cluster.reaches(first, "running"));
  auto row = cluster.row_of(ok);
  CHECK(row["state"] == "pending");
  auto queue = cluster.troupe({"queue"}).out;
  CHECK(queue.find("after job " + first) != std::string::npos);
  auto why = cluster.ask({"why", any})["why"];
  CHECK(why["sentence"].get<std::string>().find("job " + ok + " (afterok, pending)") !=
        std::string::npos);
  SECTION("without a restart") {}
  SECTION("over a kill of trouped") {
    cluster.kill_trouped();
    cluster.up();
  }
  cluster.write("go", "");
  CHECK(cluster.wait(any).exit == 0);
  CHECK(cluster.file("order") == "1\n2\n3\n");
  cluster.wait(not_ok);
  auto ended = cluster.row_of(not_ok);
  CHECK(ended["state"] == "cancelled");
  CHECK(ended["reason"].get<std::string>().find("can never hold: job " + first +
                                                " has ended completed") != std::string::npos);
}

TEST_CASE("a job after another's start starts while that runs") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto held = cluster.submit_shell({"--hold"}, waits_for("go"));
  auto after = cluster.submit({"-d", "after:" + held, "true"});
  CHECK(cluster.state_of(after) == "pending");
  cluster.troupe({"release", held});
  CHECK(cluster.wait(after).exit == 0);
  CHECK(cluster.state_of(held) == "running");
  cluster.write("go", "");
  CHECK(cluster.wait(held).exit == 0);
}

TEST_CASE("cancelling a job that others wait for ends those that needed its success") {
  test_cluster cluster;
  auto first = cluster.submit({"--hold", "true"});
  auto second = cluster.submit({"-d", "afterok:" + first, "true"});
  auto third = cluster.submit({"-d", "afterok:" + second, "true"});
  auto fallback = cluster.submit({"-d", "afternotok:" + second, "true"});
  CHECK(cluster.troupe({"cancel", first}).exit == 0);
  cluster.wait(third);
  CHECK(cluster.state_of(second) == "cancelled");
  CHECK(cluster.state_of(third) == "cancelled");
  CHECK(cluster.wait(fallback).exit == 0);
}

TEST_CASE("a dependency that cannot hold is refused at submission, with the reason") {
  test_cluster cluster;
  auto failed = cluster.submit_shell({}, "exit 3");
  cluster.wait(failed);
  auto refused = cluster.troupe({"submit", "-d", "afterok:" + failed, "true"});
  CHECK(refused.exit == 1);
  CHECK(refused.err.find("job " + failed + " has ended failed with exit code 3") !=
        std::string::npos);
  CHECK(cluster.wait(cluster.submit({"-d", "afternotok:" + failed, "true"})).exit == 0);
  CHECK(cluster.wait(cluster.submit({"-d", "afterany:" + failed, "true"})).exit == 0);
  auto unknown = cluster.troupe({"submit", "-d", "afterok:4242", "true"});
  CHECK(unknown.exit == 1);
  CHECK(unknown.err.find("there is no job 4242") != std::string::npos);
  for (const std::string bad :
       {"afterok", "afterok:", "afterok:x", "before:1", "afterok:1_2", "afterok:0", "afterok:1,"}) {
    auto wrong = cluster.troupe({"submit", "-d", bad, "true"});
    INFO(bad << ": " << wrong.err);
    CHECK(wrong.exit == 2);
    CHECK(lines_of(wrong.err).size() == 1);
  }
}
