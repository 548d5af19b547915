// SPDX-License-Identifier: Apache-2.0
// Queues, priorities, GPUs, features, reservations in advance, preemption and forecasts.
#include "runtime/plan/estimates.hpp"
#include "runtime/plan/fair_share.hpp"
#include "runtime/plan/planner.hpp"
#include "tests/catch.hpp"
#include "tests/unit/plan_random.hpp"

#include <iostream>

namespace {

using namespace troupe::plan;
using troupe::plan::random::generator;

node_config node(node_id id, std::uint32_t cores, std::uint32_t gpus = 0) {
  node_config out;
  out.id = id;
  out.cores = cores;
  out.memory_bytes = 1u << 30;
  for (std::uint32_t i = 0; i < cores; ++i)
    out.core_groups.push_back(i * 2 / cores);
  for (std::uint32_t i = 0; i < gpus; ++i)
    out.gpu_groups.push_back(i * 2 / gpus);
  return out;
}

planner_core cluster(std::uint32_t nodes, std::uint32_t cores, planner_config config = {}) {
  planner_core planner(config);
  for (node_id id = 1; id <= nodes; ++id)
    REQUIRE(planner.add_node(node(id, cores)));
  return planner;
}

job_request one(job_id id, std::uint32_t tasks, duration limit) {
  job_request job;
  job.id = job.seq = id;
  job.shape.tasks = tasks;
  job.time_limit = limit;
  return job;
}

std::vector<job_id> started(const pass_result& result) {
  std::vector<job_id> out;
  for (const auto& decision : result.decisions)
    out.push_back(decision.job);
  return out;
}

using ids = std::vector<job_id>;

slot_id slot_of(const pass_result& result, job_id job) {
  for (const auto& decision : result.decisions)
    if (decision.job == job)
      return decision.units.at(0).slot;
  FAIL("job " << job << " did not start");
  return 0;
}

} // namespace

TEST_CASE("GPUs are given once, those near a task's cores first") {
  planner_core planner;
  REQUIRE(planner.add_node(node(1, 8, 4)));
  auto job = one(1, 2, 10);
  job.shape.cores_per_task = 2;
  job.shape.gpus_per_task = 1;
  REQUIRE(planner.submit(job));
  job.id = job.seq = 2;
  REQUIRE(planner.submit(job));
  job.id = job.seq = 3;
  job.shape.tasks = 1;
  REQUIRE(planner.submit(job));
  auto result = planner.pass(0);
  REQUIRE(started(result) == ids{1, 2});
  using numbers = std::vector<std::uint16_t>;
  CHECK(result.decisions[0].units[0].where[0].gpus == numbers{0, 1});
  CHECK(result.decisions[1].units[0].where[0].cores == numbers{4, 5, 6, 7});
  CHECK(result.decisions[1].units[0].where[0].gpus == numbers{2, 3});
  CHECK(planner.nodes().at(0).gpus_free == 0);
  CHECK(planner.audit() == "");
  job.shape.gpus_per_task = 5;
  CHECK(planner.impossible(job.shape).value_or("").find("5 GPUs") != std::string::npos);
}

TEST_CASE("After a restart a unit is adopted with its GPUs") {
  planner_core planner;
  REQUIRE(planner.add_node(node(1, 4, 2)));
  auto job = one(1, 1, 10);
  job.shape.gpus_per_task = 1;
  job.pending = 0;
  REQUIRE(planner.restore(job));
  REQUIRE(planner.adopt(1, {{1, 1, 0, {0}, {1}}}, 40));
  CHECK_FALSE(planner.adopt(1, {{1, 1, 0, {1}, {1}}}, 40));
  CHECK_FALSE(planner.adopt(1, {{1, 1, 0, {1}, {2}}}, 40));
  CHECK(planner.nodes().at(0).gpus_free == 1);
  CHECK(planner.audit() == "");
}

TEST_CASE("A job runs only on nodes with all features it asks for") {
  planner_core planner;
  for (node_id id = 1; id <= 3; ++id) {
    auto config = node(id, 4);
    config.features = id;
    REQUIRE(planner.add_node(config));
  }
  auto job = one(1, 1, 10);
  job.shape.features = 3;
  REQUIRE(planner.submit(job));
  CHECK(planner.pass(0).decisions.at(0).units[0].where[0].node == 3);
  job.id = job.seq = 2;
  job.shape.features = 4;
  CHECK_FALSE(planner.submit(job));
}

TEST_CASE("A queue and a user run no more than their limits, and delay nobody") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.set_queue(1, {.all = {2, 0}}));
  planner.set_user_limits(7, {0, 3});
  for (job_id id = 1; id <= 3; ++id) {
    auto job = one(id, 1, 10);
    job.queue = 1;
    REQUIRE(planner.submit(job));
  }
  for (job_id id = 4; id <= 5; ++id) {
    auto job = one(id, 2, 10);
    job.user = 7;
    REQUIRE(planner.submit(job));
  }
  REQUIRE(planner.submit(one(6, 4, 10)));
  auto result = planner.pass(0);
  CHECK(started(result) == ids{1, 2, 4, 6});
  CHECK(planner.why(3, 0).reason == wait_reason::queue_limit);
  CHECK(planner.why(5, 0).reason == wait_reason::user_limit);
  REQUIRE(planner.ended(1, slot_of(result, 1)));
  CHECK(started(planner.pass(1)) == ids{3});
  REQUIRE(planner.ended(4, slot_of(result, 4)));
  CHECK(started(planner.pass(2)) == ids{5});
  CHECK(planner.audit() == "");
}

TEST_CASE("Priorities weigh age, queue, share and nice, and follow changes of them") {
  auto planner = cluster(1, 1);
  planner.set_priorities({.age = 1, .queue = 10, .share = 100, .nice = 1, .age_period = 10});
  REQUIRE(planner.set_queue(1, {.priority = 1}));
  auto put = [&](job_id id, queue_index queue, account_id account, std::int32_t nice, instant at) {
    auto job = one(id, 1, 10);
    job.queue = queue;
    job.account = account;
    job.nice = nice;
    job.submitted = at;
    REQUIRE(planner.submit(job));
  };
  put(1, 0, 1, 0, 0);
  put(2, 1, 1, 0, 0);  // its queue is worth 10
  put(3, 0, 2, 0, 0);  // its account has used less
  put(4, 1, 1, 15, 0); // nicer than its queue is worth
  put(5, 0, 1, 0, 20); // younger
  planner.set_share(1, 0.5);
  ids order;
  for (instant now = 0; order.size() < 5; ++now) {
    auto result = planner.pass(now);
    REQUIRE(result.decisions.size() == 1);
    order.push_back(result.decisions[0].job);
    if (order.size() == 3)
      planner.set_share(2, 0.1);
    REQUIRE(planner.ended(order.back(), result.decisions[0].units[0].slot));
  }
  CHECK(order == ids{3, 2, 1, 5, 4});
}

TEST_CASE("Jobs keep out of a reservation in advance that is for others") {
  auto planner = cluster(2, 4);
  REQUIRE(planner.reserve({.id = 1, .nodes = {1}, .from = 100, .until = 200, .users = {7}}));
  CHECK_FALSE(planner.reserve({.id = 2, .nodes = {1}, .from = 150, .until = 160}));
  REQUIRE(planner.submit(one(1, 4, 100)));
  REQUIRE(planner.submit(one(2, 4, 101)));
  REQUIRE(planner.submit(one(3, 4, 50)));
  auto result = planner.pass(0);
  CHECK(started(result) == ids{1, 2});
  CHECK(result.decisions[1].units[0].where[0].node == 2);
  auto inside = one(4, 4, 60);
  inside.shape.reservation = 1;
  CHECK_FALSE(planner.submit(inside)); // not for user 0
  inside.user = 7;
  REQUIRE(planner.submit(inside));
  CHECK(planner.why(4, 0).reason == wait_reason::advance);
  CHECK(planner.next_wakeup() == std::optional<instant>(100));
  REQUIRE(planner.ended(1, slot_of(result, 1)));
  auto third = planner.pass(40);
  CHECK(started(third) == ids{3});
  REQUIRE(planner.ended(3, slot_of(third, 3)));
  CHECK(planner.pass(99).decisions.empty());
  result = planner.pass(100);
  CHECK(started(result) == ids{4});
  CHECK(result.decisions[0].units[0].where[0].node == 1);
  REQUIRE(planner.ended(4, slot_of(result, 4)));
  REQUIRE(planner.submit(one(5, 4, 10)));
  CHECK(planner.pass(150).decisions.empty()); // node 2 is busy, node 1 reserved
  CHECK(started(planner.pass(200)) == ids{5});
}

TEST_CASE("A reservation by number takes nodes that nobody is planned to use") {
  auto planner = cluster(3, 4);
  REQUIRE(planner.submit(one(1, 4, 100)));
  planner.pass(0);
  auto made = planner.reserve({.id = 1, .node_count = 1, .from = 50, .until = 60});
  REQUIRE(made);
  CHECK(*made == std::vector<node_id>{2});
  auto cores = planner.reserve({.id = 2, .cores = 5, .from = 100, .until = 160});
  REQUIRE(cores);
  CHECK(*cores == std::vector<node_id>{1, 2});
  CHECK_FALSE(planner.reserve({.id = 3, .node_count = 2, .from = 100, .until = 160}));
  CHECK(planner.advance_reservations().size() == 2);
  REQUIRE(planner.cancel_reservation(2));
  REQUIRE(planner.reserve({.id = 3, .node_count = 2, .from = 100, .until = 160}));
  planner.pass(200);
  CHECK(planner.advance_reservations().empty());
  CHECK(planner.audit() == "");
}

TEST_CASE("A queue that may preempt makes as few units as it needs go, after their grace") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.set_queue(1, {.grace = 5}));
  REQUIRE(planner.set_queue(2, {.preempts = {1}}));
  for (job_id id = 1; id <= 4; ++id) {
    auto job = one(id, 2, 100);
    job.queue = id == 1 ? 0 : 1;
    REQUIRE(planner.submit(job));
  }
  auto first = planner.pass(0);
  auto urgent = one(9, 3, 50);
  urgent.queue = 2;
  urgent.priority = 1;
  REQUIRE(planner.submit(urgent));
  auto result = planner.pass(10);
  REQUIRE(result.preemptions.size() == 2);
  CHECK(result.preemptions[0] == preemption{4, slot_of(first, 4), 15, 9});
  CHECK(result.preemptions[1] == preemption{3, slot_of(first, 3), 15, 9});
  CHECK(planner.audit() == "");
  CHECK(planner.pass(11).preemptions.empty());
  for (job_id id : {3u, 4u})
    REQUIRE(planner.give_back(id, slot_of(first, id))); // requeued
  result = planner.pass(15);
  CHECK(result.preemptions.empty());
  CHECK(started(result) == ids{9});
  CHECK(planner.knows(3));
  CHECK(planner.audit() == "");
}

TEST_CASE("With more reservations nobody behind delays any of them") {
  for (std::uint32_t reservations : {1u, 2u}) {
    auto planner = cluster(1, 8, {.reservations = reservations});
    REQUIRE(planner.submit(one(1, 6, 100)));
    REQUIRE(planner.submit(one(2, 4, 10)));  // at 100
    REQUIRE(planner.submit(one(3, 7, 10)));  // at 110
    REQUIRE(planner.submit(one(4, 2, 111))); // beside the first, not beside the second
    auto result = planner.pass(0);
    CHECK(result.reserved.size() == reservations);
    CHECK(started(result) == (reservations == 1 ? ids{1, 4} : ids{1}));
  }
}

TEST_CASE("With shortest first nobody is overtaken for longer than the bound") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    constexpr duration bound = 40;
    generator g(seed);
    auto planner = cluster(
        1, 4,
        {.order = queue_order::sjf, .backfill_order = queue_order::sjf, .overtake_limit = bound});
    std::map<job_id, instant> waiting;
    std::map<job_id, std::pair<instant, slot_id>> running;
    job_id next = 1;
    for (instant now = 0; now < 600; ++now) {
      for (auto it = running.begin(); it != running.end();)
        if (it->second.first <= now) {
          REQUIRE(planner.ended(it->first, it->second.second));
          it = running.erase(it);
        } else {
          ++it;
        }
      // More short jobs than the machine can take.
      auto job = one(next, g.between(1, 4), next % 10 == 1 ? 20 : g.between(1, 3));
      job.submitted = now;
      REQUIRE(planner.submit(job));
      waiting[next++] = now;
      for (const auto& decision : planner.pass(now).decisions) {
        // No job that is overdue may be overtaken by one that is not.
        bool overdue = now >= waiting[decision.job] + bound;
        for (const auto& [other, since] : waiting)
          if (other < decision.job && now >= since + bound && !overdue && !decision.backfilled)
            FAIL("seed " << seed << ": job " << other << " was overtaken at " << now);
        waiting.erase(decision.job);
        running[decision.job] = {decision.units[0].predicted_end, decision.units[0].slot};
      }
    }
    // Behind the bound it is first come first served: whoever came in the first half has started.
    for (const auto& [job, since] : waiting)
      if (since < 100)
        FAIL("seed " << seed << ": job " << job << " starves");
  }
}

TEST_CASE("Every waiting job has an expected start, and what-if agrees with what happens") {
  auto planner = cluster(2, 4);
  REQUIRE(planner.submit(one(1, 8, 100)));
  REQUIRE(planner.submit(one(2, 4, 50)));
  REQUIRE(planner.submit(one(3, 6, 10)));
  auto array = one(4, 4, 5);
  array.is_array = true;
  array.pending = 10;
  REQUIRE(planner.submit(array));
  planner.pass(0);
  auto estimates = std::make_shared<start_estimates>(estimate_starts(*planner.snapshot(0)));
  CHECK(estimates->find(2)->start == 100);
  CHECK(estimates->find(3)->start == 150);
  CHECK(estimates->find(4)->start == 100);
  planner.take_estimates(estimates);
  CHECK(planner.expected_start(3) == std::optional<instant>(150));
  auto before = planner.total();
  auto asked = planner.what_if(one(99, 8, 10), 0);
  CHECK(asked.start == std::optional<instant>(160));
  auto after = planner.total();
  CHECK(before.jobs_waiting == after.jobs_waiting);
  CHECK_FALSE(planner.knows(99));
  CHECK(planner.what_if(one(99, 9, 10), 0).impossible.find("9 cores") != std::string::npos);
  auto empty = cluster(2, 4);
  auto now = empty.what_if(one(1, 6, 10), 7);
  CHECK(now.start == std::optional<instant>(7));
  CHECK(now.where.size() == 2);
}

TEST_CASE("What was first expected of a unit is kept until it starts") {
  auto planner = cluster(1, 4);
  REQUIRE(planner.submit(one(1, 4, 100)));
  auto array = one(2, 4, 10);
  array.is_array = true;
  array.pending = 3;
  REQUIRE(planner.submit(array));
  auto slot = planner.pass(0).decisions.at(0).units.at(0).slot;
  auto first = estimate_starts(*planner.snapshot(0));
  CHECK(first.find(2)->first == 100);
  // It goes on for longer than its limit says.
  auto later = estimate_starts(*planner.snapshot(120), simulated_units_max, &first);
  CHECK(later.find(2)->first == 100);
  CHECK(later.find(2)->start == 120);
  planner.take_estimates(std::make_shared<start_estimates>(later));
  REQUIRE(planner.ended(1, slot));
  planner.pass(130);
  REQUIRE(planner.pending(2) == 2);
  auto told = planner.told_of(2, 3);
  REQUIRE(told);
  CHECK(told->first == 100);
  CHECK(told->last == 120);
  // Of the next element nothing was told yet.
  CHECK_FALSE(planner.told_of(2, 2));
  CHECK(estimate_starts(*planner.snapshot(130), simulated_units_max, &later).find(2)->first == 140);
}

TEST_CASE("With exact run times and no backfilling jobs start when they were expected to") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    generator g(seed);
    auto planner = cluster(1, 6, {.backfill = true});
    for (job_id id = 1; id <= 30; ++id)
      REQUIRE(planner.submit(one(id, g.between(1, 6), g.between(1, 20))));
    std::map<job_id, std::pair<instant, slot_id>> running;
    std::map<job_id, instant> expected;
    for (instant now = 0; now < 2000; ++now) {
      for (auto it = running.begin(); it != running.end();)
        if (it->second.first <= now) {
          REQUIRE(planner.ended(it->first, it->second.second));
          it = running.erase(it);
        } else {
          ++it;
        }
      for (const auto& decision : planner.pass(now).decisions) {
        running[decision.job] = {decision.units[0].predicted_end, decision.units[0].slot};
        // The first in the queue is known exactly; those behind by the simulation.
        auto guess = expected.find(decision.job);
        if (guess != expected.end() && guess->second < now)
          FAIL("seed " << seed << ": job " << decision.job << " starts after " << guess->second);
      }
      if (now == 0)
        for (const auto& each : estimate_starts(*planner.snapshot(now)).starts)
          if (planner.why(each.job, now).position == 1)
            expected[each.job] = each.start;
    }
    CHECK(planner.total().jobs_waiting == 0);
  }
}

TEST_CASE("Fair share follows what was used, decays alike for all, and knows the tree") {
  fair_share shares(100);
  REQUIRE(shares.set_account(1, fair_share::root, 1));
  REQUIRE(shares.set_account(2, fair_share::root, 3));
  REQUIRE(shares.set_account(3, 2, 1));
  REQUIRE(shares.set_account(4, 2, 1));
  CHECK_FALSE(shares.set_account(2, 3, 1)); // a circle
  CHECK_FALSE(shares.set_account(5, 77, 1));
  CHECK(shares.factor(1) == 1);
  shares.charge(1, 100, 0);
  shares.charge(3, 300, 0);
  CHECK(shares.factor(1) == Approx(0.5)); // a quarter used of a quarter
  CHECK(shares.factor(2) == Approx(0.5));
  CHECK(shares.factor(3) < shares.factor(4));
  CHECK(shares.usage(2, 0) == Approx(300));
  CHECK(shares.usage(1, 100) == Approx(50));
  CHECK(shares.factor(1) == Approx(0.5)); // time alone changes nothing
  shares.charge(1, 50, 100);
  CHECK(shares.usage(1, 100) == Approx(100));
  CHECK(shares.factor(1) < 0.5);
  for (instant now = 0; now < 1'000'000; now += 1000)
    shares.charge(1, 1, now);
  CHECK(shares.usage(1, 1'000'000) < 2);
  CHECK(shares.factors().size() == 4);
}

TEST_CASE("A waiting job is told its place in its queue by name") {
  auto planner = cluster(4, 8);
  auto wide = one(812, 4, 100);
  wide.shape.nodes = 4;
  wide.shape.cores_per_task = 2;
  REQUIRE(planner.submit(wide));
  auto job = one(813, 4, 50);
  job.shape.nodes = 4;
  job.shape.cores_per_task = 8;
  REQUIRE(planner.submit(job));
  planner.pass(0);
  wording words;
  words.time = [](instant t) { return "T" + std::to_string(t); };
  words.queue = [](queue_index) { return "main"; };
  CHECK(sentence(planner.why(813, 0), words) ==
        "first in queue `main`; needs 4 nodes with 8 free cores, 0 are free now; 4 more by T100 "
        "when job 812 reaches its limit; expected start T100");
  CHECK(reasons(planner.why(813, 0), words).size() == 4);
}
