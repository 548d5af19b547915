// SPDX-License-Identifier: Apache-2.0
// The order among jobs of equal priority: what it learns, what goes before it, and its change.
#include "runtime/plan/estimates.hpp"
#include "runtime/plan/planner.hpp"
#include "tests/catch.hpp"

namespace {

using namespace troupe::plan;

planner_core one_core(planner_config config) {
  planner_core planner(config);
  node_config node;
  node.id = 1;
  node.cores = 1;
  REQUIRE(planner.add_node(node));
  return planner;
}

struct wish {
  job_id id = 0;
  user_id user = 1;
  duration limit = 100;
  queue_index queue = 0;
  std::int32_t nice = 0;
};

void submit(planner_core& planner, const wish& what, instant at = 0) {
  job_request job;
  job.id = job.seq = what.id;
  job.user = what.user;
  job.time_limit = what.limit;
  job.queue = what.queue;
  job.nice = what.nice;
  job.submitted = at;
  REQUIRE(planner.submit(job));
}

/// Runs them one after another, from `now` on.
std::vector<job_id> order_of(planner_core& planner, instant now) {
  std::vector<job_id> out;
  for (;; ++now) {
    auto result = planner.pass(now);
    if (result.decisions.empty())
      return out;
    const auto& first = result.decisions[0];
    out.push_back(first.job);
    REQUIRE(planner.ended(first.job, first.units[0].slot));
  }
}

using ids = std::vector<job_id>;

} // namespace

TEST_CASE("By slowdown the jobs of users whose last ones were short go first") {
  auto planner = one_core({.order = queue_order::slowdown});
  for (int i = 0; i < 2; ++i) {
    planner.learn(1, 100, 90);
    planner.learn(2, 100, 20);
  }
  submit(planner, {.id = 1, .user = 1});
  submit(planner, {.id = 2, .user = 2});
  submit(planner, {.id = 3, .user = 3}); // nothing is known: as long as it asks for
  CHECK(order_of(planner, 50) == ids{2, 1, 3});
}

TEST_CASE("What somebody's jobs of the same limit ran for counts before what others of his did") {
  auto planner = one_core({.order = queue_order::slowdown});
  for (auto limit : {100, 100, 1000, 1000})
    planner.learn(1, limit, limit == 100 ? 80 : 30);
  submit(planner, {.id = 1, .limit = 100});
  submit(planner, {.id = 2, .limit = 1000});
  CHECK(order_of(planner, 50) == ids{2, 1});
}

TEST_CASE("An order decides among jobs of equal priority only") {
  for (auto order : {queue_order::slowdown, queue_order::sjf}) {
    auto planner = one_core({.order = order});
    planner.set_priorities({.queue = 1, .nice = 1});
    REQUIRE(planner.set_queue(1, {.priority = 10}));
    submit(planner, {.id = 1, .limit = 50, .queue = 1});
    submit(planner, {.id = 2, .limit = 20, .queue = 1});
    submit(planner, {.id = 3, .limit = 10});
    submit(planner, {.id = 4, .limit = 5, .nice = 3});
    submit(planner, {.id = 5, .limit = 90});
    CHECK(order_of(planner, 40) == ids{2, 1, 3, 5, 4});
  }
}

TEST_CASE("With age among the priorities the queue goes as submitted whatever the order") {
  auto planner = one_core({.order = queue_order::slowdown});
  planner.set_priorities({.age = 1, .age_period = 10});
  submit(planner, {.id = 1, .limit = 90}, 0);
  submit(planner, {.id = 2, .limit = 10}, 1);
  CHECK(order_of(planner, 1000) == ids{1, 2});
}

TEST_CASE("Who is overdue by the bound of slowdown goes before his equals, not before others") {
  auto planner = one_core({.order = queue_order::slowdown});
  planner.set_priorities({.queue = 1});
  REQUIRE(planner.set_queue(1, {.priority = 10}));
  submit(planner, {.id = 1, .limit = 1000}); // overdue after at most 1000 and what is ahead: none
  for (job_id id = 2; id <= 4; ++id)
    submit(planner, {.id = id, .user = 2, .limit = 10}, 500);
  submit(planner, {.id = 5, .user = 3, .limit = 10, .queue = 1}, 500);
  CHECK(order_of(planner, 1500) == ids{5, 1, 2, 3, 4});
}

TEST_CASE("A change of the order applies to what waits, and estimates follow it") {
  auto planner = one_core({.order = queue_order::fcfs});
  submit(planner, {.id = 1, .limit = 30});
  REQUIRE(planner.pass(0).decisions.size() == 1);
  submit(planner, {.id = 2, .limit = 90});
  submit(planner, {.id = 3, .limit = 10});
  planner.pass(1);
  CHECK(planner.why(2, 1).position == 1);
  CHECK(estimate_starts(*planner.snapshot(1)).find(3)->start == 120);
  planner.set_config({.order = queue_order::sjf});
  planner.pass(2);
  CHECK(planner.why(3, 2).position == 1);
  auto estimates = estimate_starts(*planner.snapshot(2));
  CHECK(estimates.find(3)->start == 30);
  CHECK(estimates.find(2)->start == 40);
  CHECK(planner.why(2, 2).expected_start == std::optional<instant>(40));
  CHECK(planner.audit() == "");
  planner.set_config({.order = queue_order::slowdown});
  planner.pass(3);
  CHECK(planner.audit() == "");
  CHECK(planner.why(3, 20).position == 1);
  job_request another;
  another.id = another.seq = 9;
  another.time_limit = 5;
  another.submitted = 20;
  auto asked = planner.what_if(another, 20);
  CHECK(asked.start == std::optional<instant>(130));
}

TEST_CASE("What runs counts as used as it goes") {
  planner_core planner;
  node_config node;
  node.id = 1;
  node.cores = 8;
  REQUIRE(planner.add_node(node));
  job_request job;
  job.id = job.seq = 1;
  job.account = 7;
  job.shape.tasks = 3;
  REQUIRE(planner.submit(job));
  planner.pass(100);
  job.id = job.seq = 2;
  job.account = 8;
  job.pending = 0;
  job.shape.tasks = 1;
  REQUIRE(planner.restore(job));
  REQUIRE(planner.adopt(2, {{1, 1, 0, {7}, {}}}, never, 40));
  auto used = planner.running_usage(110);
  CHECK(used == std::vector<std::pair<account_id, double>>{{7, 30.0}, {8, 70.0}});
}
