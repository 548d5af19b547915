// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

using namespace troupe::test;

namespace {

std::string waits_for(const std::string& until) {
  return "while ! [ -e " + until + " ]; do sleep 0.02; done";
}

constexpr double second_ns = 1e9;

} // namespace

TEST_CASE("a dry run says when and where a job would start, and submits nothing") {
  test_cluster cluster{{2, 2, {}, {}}};
  auto now = cluster.ask({"submit", "--dry-run", "-n", "4", "-t", "10", "true"})["jobs"][0];
  CHECK(now["job"] == 0);
  CHECK(now["forecast"]["sentence"] == "would start at once");
  CHECK(now["forecast"]["nodes"] == json({"node1", "node2"}));
  auto running = cluster.submit_shell({"-n", "4", "-t", "10"}, waits_for("go"));
  REQUIRE(cluster.reaches(running, "running"));
  const auto started = cluster.row_of(running)["started_utc_ns"].get<double>();
  auto later = cluster.ask({"run", "--dry-run", "-n", "2", "true"})["jobs"][0]["forecast"];
  CHECK(later["expected_start_utc_ns"].get<double>() - started > 590 * second_ns);
  CHECK(later["expected_start_utc_ns"].get<double>() - started < 610 * second_ns);
  auto plain = cluster.troupe({"submit", "--dry-run", "true"});
  CHECK(plain.exit == 0);
  CHECK(plain.out.find("nothing was submitted; the job would start at ") == 0);
  CHECK(cluster.ask({"queue"})["rows"].size() == 1);
  auto never = cluster.troupe({"submit", "--dry-run", "-n", "9", "true"});
  CHECK(never.exit == 1);
  CHECK(lines_of(never.err).size() == 1);
  CHECK(cluster.troupe({"submit", "--dry-run", "-d", "afterok:1", "true"}).exit == 1);
  cluster.write("go", "");
  cluster.wait(running);
}

TEST_CASE("every pending job has a reason and an expected start, revised as things change") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto running = cluster.submit_shell({"-n", "2", "-t", "10"}, waits_for("go"));
  REQUIRE(cluster.reaches(running, "running"));
  auto first = cluster.submit_shell({"-n", "2", "-t", "20"}, waits_for("go"));
  auto second = cluster.submit({"-n", "2", "-t", "20", "true"});
  auto expected = [&](const std::string& id) {
    const auto queue = cluster.ask({"queue"});
    for (const auto& row : queue["rows"])
      if (row["job"] == std::stoi(id))
        return row["expected_start_utc_ns"].get<double>();
    return 0.0;
  };
  CHECK(eventually([&] { return expected(first) > 0 && expected(second) > 0; }));
  CHECK(expected(second) - expected(first) > 1190 * second_ns);
  auto table = cluster.troupe({"queue"}).out;
  CHECK(table.find("; starts ") != std::string::npos);
  CHECK(table.find("1 pending") == std::string::npos);
  const auto before = expected(second);
  CHECK(cluster.troupe({"modify", first, "--time", "2m"}).exit == 0);
  CHECK(eventually([&] { return expected(second) > 0 && expected(second) < before; }));
  auto why = cluster.ask({"why", second})["why"];
  CHECK(why["reasons"].size() > 1);
  CHECK(why["expected_start_utc_ns"].get<double>() > 0);
  cluster.write("go", "");
  CHECK(cluster.wait(second).exit == 0);
}

TEST_CASE("what had been promised is compared with what came") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto running = cluster.submit_shell({"-t", "10", "-J", "blocker"}, waits_for("go"));
  REQUIRE(cluster.reaches(running, "running"));
  auto waiting = cluster.submit({"-J", "waited", "-t", "5", "true"});
  CHECK(eventually([&] {
    return cluster.ask({"why", waiting})["why"]["expected_start_utc_ns"].get<double>() > 0 &&
           cluster.ask({"queue"})["rows"][1]["expected_start_utc_ns"].get<double>() > 0;
  }));
  // The promise is made behind the answer that shows it: a later one has it for certain.
  auto later = cluster.submit({"--hold", "true"});
  CHECK(eventually([&] {
    return cluster.troupe({"console", "-c", "show estimator"}).out.find("runs") !=
           std::string::npos;
  }));
  cluster.write("go", "");
  CHECK(cluster.wait(waiting).exit == 0);
  cluster.kill_trouped();
  cluster.up();
  auto found = cluster.ask({"history", "--estimates"});
  REQUIRE(found["rows"].size() == 1);
  const auto& row = found["rows"][0];
  CHECK(row["name"] == "waited");
  CHECK(row["first_promised_utc_ns"].get<double>() > row["started_utc_ns"].get<double>());
  CHECK(found["summary"]["jobs"] == 1);
  CHECK(found["summary"]["late"] == 0);
  CHECK(found["summary"]["first_error_mean_s"].get<double>() < -100);
  CHECK(cluster.troupe({"history", "--estimates"}).out.find("1 jobs, 0 of them later") !=
        std::string::npos);
  cluster.troupe({"cancel", later});
}
