// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>

using namespace troupe::test;

namespace {

/// The most that were between "+" and "-" at once.
int most_at_once(const std::string& text) {
  int now = 0, most = 0;
  for (const auto& line : lines_of(text)) {
    now += line.front() == '+' ? 1 : -1;
    most = std::max(most, now);
  }
  return most;
}

} // namespace

TEST_CASE("every element of an array runs exactly once") {
  test_cluster cluster{{2, 4, {}, {}}};
  auto id = cluster.submit_shell({"-a", "1-400", "-o", "/dev/null"}, "echo $TROUPE_ELEMENT >>all");
  CHECK(cluster.wait(id).exit == 0);
  check_each_once(cluster.file("all"), 1, 400);
  auto row = cluster.row_of(id);
  CHECK(row["state"] == "completed");
  CHECK(row["elements_total"] == 400);
}

TEST_CASE("an array with a limit never runs more than that at once") {
  test_cluster cluster{{2, 4, {}, {}}};
  auto id = cluster.submit_shell(
      {"-a", "1-60%3", "-o", "/dev/null"},
      "echo + >>trace; sleep 0.03; echo - >>trace; echo $TROUPE_ELEMENT >>all");
  CHECK(cluster.wait(id).exit == 0);
  check_each_once(cluster.file("all"), 1, 60);
  CHECK(most_at_once(cluster.file("trace")) <= 3);
}

TEST_CASE("an array never runs more at once than there are cores") {
  test_cluster cluster{{2, 2, {}, {}}};
  auto id = cluster.submit_shell({"-a", "1-60", "-o", "/dev/null"},
                                 "echo + >>trace; sleep 0.02; echo - >>trace");
  CHECK(cluster.wait(id).exit == 0);
  const auto trace = cluster.file("trace");
  CHECK(lines_of(trace).size() == 120);
  CHECK(most_at_once(trace) <= 4);
  CHECK(most_at_once(trace) >= 2);
}

TEST_CASE("elements that fail are told one by one, and the array failed") {
  test_cluster cluster;
  auto id = cluster.submit_shell({"-a", "1-9:2", "-o", "/dev/null"},
                                 "[ $TROUPE_ELEMENT = 5 ] && exit 3; exit 0");
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.state_of(id) == "failed");
  CHECK(cluster.state_of(id + "_5") == "failed");
  CHECK(cluster.state_of(id + "_7") == "completed");
  auto row = cluster.row_of(id);
  CHECK(row["elements_total"] == 5);
  CHECK(row["elements_failed"] == 1);
  auto waited = cluster.troupe({"wait", id + "_[1,3]"});
  CHECK(waited.exit == 0);
  CHECK(cluster.troupe({"wait", id + "_5"}).exit == 1);
}

TEST_CASE("elements of an array are cancelled by number: pending ones never run") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto id =
      cluster.submit_shell({"-a", "1-6", "-o", "/dev/null"},
                           "echo $TROUPE_ELEMENT >>all; while ! [ -e go ]; do sleep 0.02; done");
  REQUIRE(eventually([&] { return cluster.file("all") == "1\n"; }));
  auto done = cluster.troupe({"cancel", id + "_[3-4]"});
  CHECK(done.exit == 0);
  CHECK(cluster.troupe({"cancel", id + "_1"}).exit == 0);
  REQUIRE(eventually([&] { return cluster.file("all") == "1\n2\n"; }));
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.file("all") == "1\n2\n5\n6\n");
  CHECK(cluster.state_of(id + "_1") == "cancelled");
  CHECK(cluster.state_of(id) == "cancelled");
}

TEST_CASE("cancelling an array ends what runs and withdraws the rest") {
  test_cluster cluster;
  auto id = cluster.submit_shell({"-a", "1-1000", "-o", "/dev/null"},
                                 "echo $TROUPE_ELEMENT >>all; exec sleep 1000");
  REQUIRE(eventually([&] { return lines_of(cluster.file("all")).size() >= 4; }));
  CHECK(cluster.troupe({"cancel", id}).exit == 0);
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.state_of(id) == "cancelled");
  CHECK(lines_of(cluster.file("all")).size() == 4);
  CHECK(cluster.row_of(id)["elements_failed"] == 0);
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  CHECK(cluster.troupe({"run", "echo", "free"}).out == "free\n");
}

TEST_CASE("elements that share an output file add to it, however late they start; what an earlier "
          "job left in it goes") {
  test_cluster cluster{{2, 1, {}, {}}};
  const words shared{"-a", "1-6%1", "-o", "all.out"};
  for (auto round : {1, 2}) {
    INFO("job " << round << " on the same file");
    auto id = cluster.submit_shell(shared, "echo $TROUPE_ELEMENT; sleep 0.15");
    CHECK(cluster.wait(id).exit == 0);
    check_each_once(cluster.file("all.out"), 1, 6);
  }
  // Neither a restart, nor a wrong clock, nor a requeue makes the file somebody else's.
  auto id = cluster.submit_shell({"-a", "1-3%1", "--requeue", "-o", "all.out"},
                                 "echo $TROUPE_ELEMENT; until [ -e go ]; do sleep 0.02; done");
  REQUIRE(eventually([&] { return cluster.file("all.out") == "1\n"; }));
  const timespec old[2]{{1'000'000'000, 0}, {1'000'000'000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, cluster.path("all.out").c_str(), old, 0) == 0);
  cluster.kill_trouped();
  cluster.kill_launcher();
  cluster.up();
  // What was lost runs again behind those that never ran.
  REQUIRE(eventually([&] { return cluster.file("all.out") == "1\n2\n"; }));
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 0);
  CHECK(cluster.file("all.out") == "1\n2\n3\n1\n");
}

TEST_CASE("an element with a file of its own empties it, each time that it starts") {
  test_cluster cluster{{1, 2, {}, {}}};
  for (auto round : {1, 2}) {
    INFO("job " << round);
    auto id = cluster.submit_shell({"-a", "1-2", "-o", "of-%a"}, "echo $TROUPE_ELEMENT");
    CHECK(cluster.wait(id).exit == 0);
    CHECK(cluster.file("of-1") == "1\n");
    CHECK(cluster.file("of-2") == "2\n");
  }
}
