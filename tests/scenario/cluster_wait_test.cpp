// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include "tests/eventually.hpp"

#include <chrono>

using namespace troupe::test;

// `troupe wait`, and other commands that name many jobs, or the same one twice.

namespace {

cluster_shape of_one_node(int cores) {
  cluster_shape how;
  how.nodes = 1;
  how.cores = cores;
  return how;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("an element is waited for however many ended before it, and those that were cancelled") {
  test_cluster cluster{of_one_node(8)};
  const auto job = cluster.submit_shell(
      {"-a", "1-1500", "-o", "/dev/null"},
      "[ $TROUPE_ELEMENT = 1 ] && until [ -e go ]; do sleep 0.05; done; exit 3");
  REQUIRE(eventually([&] { return cluster.row_of(job)["elements_failed"] >= 1499; }, 60s));
  for (const auto* element : {"_5", "_1450"}) {
    const auto done = cluster.troupe({"wait", job + element}, 10s);
    CHECK(done.exit == 1);
    CHECK(done.out == job + element + " failed, exit code 3\n");
  }
  cluster.write("go", "");
  CHECK(cluster.troupe({"wait", job}).exit == 1);
  const auto all = cluster.troupe({"wait", job + "_[1-1500]"});
  CHECK(lines_of(all.out).size() == 1500);
  CHECK(cluster.troupe({"wait", job + "_1501"}, 10s).exit == 1);
}

TEST_CASE("a wait that names more than can be waited for is refused at once, and nobody waits for "
          "it") {
  test_cluster cluster{of_one_node(2)};
  const auto job = cluster.submit({"--hold", "true"});
  const auto begin = std::chrono::steady_clock::now();
  const auto done = cluster.troupe({"wait", "1-100000", "100001-200000", "200001-300000"}, 20s);
  CHECK(done.exit == 1);
  CHECK(has(done.err, "300000 jobs and elements are named; at most 100000"));
  CHECK(cluster.ask({"queue"})["rows"].size() == 1);
  const auto missing = cluster.troupe({"wait", "1-90000"}, 20s);
  CHECK(missing.exit == 1);
  CHECK(has(missing.err, "there is no job 2"));
  CHECK(std::chrono::steady_clock::now() - begin < 15s);
  CHECK(cluster.row_of(job)["state"] == "pending");
}

TEST_CASE("a job that is named twice is changed once") {
  test_cluster cluster{of_one_node(2)};
  const auto job = cluster.submit({"--hold", "true"});
  CHECK(has(cluster.troupe({"release", job, job}).out, "released 1 job"));
  CHECK(cluster.wait(job).exit == 0);
  const auto other = cluster.submit({"--hold", "true"});
  CHECK(has(cluster.troupe({"cancel", other, other}).out, "cancelled 1 job"));
}
