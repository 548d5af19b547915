// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/planner.hpp"
#include "tests/catch.hpp"

#include <numeric>

namespace {

using namespace troupe::plan;

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

planner_core cluster(std::uint32_t nodes, std::uint32_t cores, planner_config config = {}) {
  planner_core planner(config);
  for (node_id id = 1; id <= nodes; ++id)
    REQUIRE(planner.add_node({id, cores, 16 * gib, {}, node_state::up}));
  return planner;
}

job_request one(job_id id, std::uint32_t tasks, duration limit = 0) {
  job_request job;
  job.id = job.seq = id;
  job.shape.tasks = tasks;
  job.time_limit = limit;
  return job;
}

job_request array(job_id id, std::uint32_t elements, std::uint32_t max_running = 0) {
  auto job = one(id, 1);
  job.is_array = true;
  job.pending = elements;
  job.max_running = max_running;
  return job;
}

std::vector<std::uint16_t> cores(std::uint16_t first, std::uint16_t last) {
  std::vector<std::uint16_t> out(static_cast<std::size_t>(last - first + 1));
  std::iota(out.begin(), out.end(), first);
  return out;
}

/// "node:tasks" of the only unit of the only decision.
std::string spread_of(const pass_result& result) {
  REQUIRE(result.decisions.size() == 1);
  REQUIRE(result.decisions[0].units.size() == 1);
  std::string text;
  for (const auto& share : result.decisions[0].units[0].where)
    text += std::to_string(share.node) + ":" + std::to_string(share.tasks) + " ";
  return text;
}

std::string words(const planner_core& planner, job_id job, instant now = 0) {
  return sentence(planner.why(job, now), {[](instant t) { return "T" + std::to_string(t); }});
}

} // namespace

TEST_CASE("A job starts at once when it fits, on the lowest cores") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.submit(one(1, 3, 10)));
  auto result = planner.pass(5);
  REQUIRE(result.decisions.size() == 1);
  const auto& unit = result.decisions[0].units.at(0);
  CHECK(unit.predicted_end == 15);
  CHECK(unit.where == placement{{1, 3, 0, cores(0, 2)}});
  CHECK(planner.total().cores_free == 5);
  CHECK(planner.pass(6).decisions.empty());
}

TEST_CASE("Without a node count a job takes the fewest nodes, filled in node order") {
  auto planner = cluster(4, 4);
  REQUIRE(planner.submit(one(1, 3)));
  CHECK(spread_of(planner.pass(0)) == "1:3 ");
  REQUIRE(planner.submit(one(2, 2)));
  CHECK(spread_of(planner.pass(0)) == "2:2 ");
  REQUIRE(planner.submit(one(3, 9)));
  CHECK(spread_of(planner.pass(0)) == "2:2 3:4 4:3 ");
}

TEST_CASE("With a node count tasks are spread as evenly as possible, in blocks") {
  auto planner = cluster(4, 4);
  auto job = one(1, 8);
  job.shape.nodes = 3;
  REQUIRE(planner.submit(job));
  CHECK(spread_of(planner.pass(0)) == "1:3 2:3 3:2 ");
}

TEST_CASE("Required nodes are part of the placement and excluded ones are not") {
  auto planner = cluster(4, 4);
  auto job = one(1, 6);
  job.shape.required_nodes = {3};
  job.shape.excluded_nodes = {1};
  REQUIRE(planner.submit(job));
  CHECK(spread_of(planner.pass(0)) == "2:4 3:2 ");
}

TEST_CASE("An exclusive job takes whole idle nodes") {
  auto planner = cluster(2, 4);
  REQUIRE(planner.submit(one(1, 1)));
  CHECK(spread_of(planner.pass(0)) == "1:1 ");
  auto job = one(2, 1);
  job.shape.exclusive = true;
  REQUIRE(planner.submit(job));
  CHECK(spread_of(planner.pass(0)) == "2:1 ");
  REQUIRE(planner.submit(one(3, 4)));
  CHECK(planner.pass(0).decisions.empty());
  CHECK(planner.audit() == "");
}

TEST_CASE("A unit prefers the cores of one group") {
  planner_core planner;
  REQUIRE(planner.add_node({1, 8, 0, {0, 0, 0, 0, 1, 1, 1, 1}, node_state::up}));
  REQUIRE(planner.submit(one(1, 3)));
  REQUIRE(planner.submit(one(2, 2)));
  REQUIRE(planner.submit(one(3, 1)));
  auto result = planner.pass(0);
  REQUIRE(result.decisions.size() == 3);
  CHECK(result.decisions[0].units[0].where[0].cores == cores(0, 2));
  CHECK(result.decisions[1].units[0].where[0].cores == cores(4, 5));
  CHECK(result.decisions[2].units[0].where[0].cores == cores(3, 3)); // keeps group 1 whole
}

TEST_CASE("Memory is a resource of each node") {
  auto planner = cluster(1, 8);
  auto job = one(1, 1);
  job.shape.memory_bytes = 10 * gib;
  REQUIRE(planner.submit(job));
  job.id = job.seq = 2;
  REQUIRE(planner.submit(job));
  CHECK(planner.pass(0).decisions.size() == 1);
  CHECK(planner.why(2, 0).reason == wait_reason::resources);
}

TEST_CASE("A short job is backfilled, a long one only beside the reservation") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.submit(one(1, 5, 100))); // runs until 100
  REQUIRE(planner.submit(one(2, 6, 50)));  // reserved at 100, leaves 2 cores
  REQUIRE(planner.submit(one(3, 3, 200))); // would take one of its cores
  REQUIRE(planner.submit(one(4, 2, 200))); // beside it
  REQUIRE(planner.submit(one(5, 1, 100))); // ends just in time
  REQUIRE(planner.submit(one(6, 1, 99)));  // no core left
  auto result = planner.pass(0);
  REQUIRE(result.decisions.size() == 3);
  CHECK(result.decisions[0].job == 1);
  CHECK(result.decisions[1].job == 4);
  CHECK(result.decisions[1].backfilled);
  CHECK(result.decisions[2].job == 5);
  REQUIRE(result.head);
  CHECK(*result.head == reservation{2, 100, {{1, 6, 0}}});
}

TEST_CASE("Plain first come first served does not backfill") {
  auto planner = cluster(1, 8, {.backfill = false});
  REQUIRE(planner.submit(one(1, 5, 100)));
  REQUIRE(planner.submit(one(2, 6, 50)));
  REQUIRE(planner.submit(one(3, 1, 1)));
  CHECK(planner.pass(0).decisions.size() == 1);
}

TEST_CASE("Units without a limit do not starve the first job") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.submit(one(1, 5)));
  REQUIRE(planner.submit(one(2, 6)));
  REQUIRE(planner.submit(array(3, 100)));
  auto result = planner.pass(0);
  REQUIRE(result.decisions.size() == 2);
  auto running = result.decisions[1].units.size();
  CHECK(running == 2); // eight cores less the six promised
  for (int i = 0; i < 10; ++i) {
    REQUIRE(planner.hold(2));
    REQUIRE(planner.release(2)); // any event
    CHECK(planner.pass(i).decisions.empty());
  }
  REQUIRE(planner.ended(1, result.decisions[0].units[0].slot));
  CHECK(planner.pass(20).decisions.at(0).job == 2);
}

TEST_CASE("Held jobs and jobs before their begin time delay nobody") {
  auto planner = cluster(1, 2);
  auto held = one(1, 2);
  held.held = true;
  REQUIRE(planner.submit(held));
  auto later_job = one(2, 2);
  later_job.begin_time = 10;
  REQUIRE(planner.submit(later_job));
  REQUIRE(planner.submit(one(3, 1)));
  auto result = planner.pass(0);
  REQUIRE(result.decisions.size() == 1);
  CHECK(result.decisions[0].job == 3);
  CHECK(planner.next_wakeup() == std::optional<instant>(10));
  CHECK(words(planner, 1) == "held; it starts after a release");
  CHECK(words(planner, 2) == "not to start before T10");
  REQUIRE(planner.ended(3, result.decisions[0].units[0].slot));
  CHECK(planner.pass(9).decisions.empty());
  CHECK(planner.pass(10).decisions.at(0).job == 2);
  CHECK_FALSE(planner.knows(3));
}

TEST_CASE("An array keeps its limit and lets others past") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.submit(array(1, 10, 3)));
  REQUIRE(planner.submit(one(2, 4)));
  auto result = planner.pass(0);
  REQUIRE(result.decisions.size() == 2);
  CHECK(result.decisions[0].units.size() == 3);
  CHECK(words(planner, 1) ==
        "3 of its elements run, its limit is 3; 7 wait for one of them to end");
  REQUIRE(planner.ended(1, result.decisions[0].units[0].slot));
  CHECK(planner.pass(0).decisions.at(0).units.size() == 1);
}

TEST_CASE("The first array in the queue may refill its slots until a job goes ahead of it") {
  auto planner = cluster(1, 2);
  REQUIRE(planner.submit(array(1, 10)));
  auto result = planner.pass(0);
  CHECK(result.lease_changes == std::vector<lease_change>{{1, true}});
  auto slot = result.decisions.at(0).units.at(0).slot;
  REQUIRE(planner.refilled(1, slot, never, 3));
  CHECK(planner.total().units_pending == 5);
  REQUIRE(planner.submit(array(2, 10)));
  CHECK(planner.pass(1).lease_changes.empty());
  CHECK_FALSE(planner.refill_allowed(2));
  auto urgent = one(3, 1);
  urgent.priority = 1;
  REQUIRE(planner.submit(urgent));
  CHECK_FALSE(planner.refill_allowed(1));
  CHECK(planner.pass(2).lease_changes == std::vector<lease_change>{{1, false}});
  REQUIRE(planner.ended(1, slot));
  auto next = planner.pass(3);
  CHECK(next.decisions.at(0).job == 3);
  CHECK(next.lease_changes == std::vector<lease_change>{{1, true}});
  REQUIRE(planner.set_pending(1, 0));
  CHECK(planner.pass(4).lease_changes == std::vector<lease_change>{{1, false}});
}

TEST_CASE("A drained node takes no starts and what needs it delays nobody") {
  auto planner = cluster(2, 4);
  auto both = one(1, 8);
  REQUIRE(planner.submit(both));
  REQUIRE(planner.set_node_state(2, node_state::drained));
  REQUIRE(planner.submit(one(2, 2)));
  auto result = planner.pass(0);
  CHECK(result.decisions.at(0).job == 2);
  CHECK(words(planner, 1) ==
        "cannot start as things are: needs 8 cores; the nodes that are up have "
        "4 together");
  REQUIRE(planner.set_node_state(2, node_state::up));
  REQUIRE(planner.ended(2, result.decisions[0].units[0].slot));
  CHECK(planner.pass(1).decisions.at(0).job == 1);
}

TEST_CASE("What no state of the cluster can give is refused with numbers") {
  auto planner = cluster(2, 8);
  auto text = [&](auto change) {
    job_shape shape;
    change(shape);
    return planner.impossible(shape).value_or("");
  };
  CHECK(text([](auto&) {}) == "");
  CHECK(text([](auto& s) { s.cores_per_task = 64; }) ==
        "needs 64 cores on one node; the largest node has 8");
  CHECK(text([](auto& s) { s.tasks = 17; }) == "needs 17 cores; the nodes have 16 together");
  CHECK(text([](auto& s) { s.tasks = s.nodes = 3; }) == "needs 3 nodes; there are only 2 nodes");
  CHECK(text([](auto& s) { s.memory_bytes = 20 * gib; }) ==
        "needs 20 GiB of memory on each node; the largest node has 16 GiB");
  CHECK(text([](auto& s) { s.nodes = 2; }) ==
        "asks for 2 nodes but only 1 task; every node needs at least one task");
  CHECK(text([](auto& s) { s.tasks = 0; }) ==
        "asks for 0 tasks of 1 core; at least one of each is needed");
  CHECK(text([](auto& s) { s.required_nodes = {9}; }) == "requires node 9, which does not exist");
  CHECK(text([](auto& s) {
          s.tasks = 3;
          s.cores_per_task = 5;
        }) == "needs room for 3 tasks of 5 cores; the nodes have room for 2");
  auto huge = one(7, 4000000000u);
  huge.shape.cores_per_task = 4000000000u;
  auto refused = planner.submit(huge);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == troupe::errc::invalid);
}

TEST_CASE("A waiting job is told its place, what it waits for, and when it starts") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.submit(one(812, 6, 100)));
  REQUIRE(planner.submit(one(813, 4, 50)));
  REQUIRE(planner.submit(one(814, 2, 500)));
  REQUIRE(planner.submit(one(815, 5, 50)));
  planner.pass(0);
  CHECK(words(planner, 813) == "first in the queue; needs 4 cores, 0 are free now; 6 more by T100 "
                               "when job 812 reaches its limit; expected start T100");
  CHECK(words(planner, 815) == "second in the queue; needs 5 cores, 0 are free now; 6 more by "
                               "T100 when job 812 reaches its limit; expected start T150");
  CHECK(words(planner, 1) == "is not waiting");
  auto why = planner.why(815, 0);
  CHECK(why.behind == std::optional<job_id>(813));
  CHECK(std::string(to_string(why.reason)) == "resources");
}

TEST_CASE("An array that waits for its own elements is not told to wait for itself") {
  auto planner = cluster(1, 2);
  auto endless = array(2, 10);
  endless.time_limit = 0; // none
  REQUIRE(planner.submit(endless));
  planner.pass(0);
  CHECK(words(planner, 2).find("waits for elements of its own, which have no time limit") !=
        std::string::npos);
  auto limited = cluster(1, 2);
  auto brief = array(3, 10);
  brief.time_limit = 100;
  REQUIRE(limited.submit(brief));
  limited.pass(0);
  const auto own = words(limited, 3);
  CHECK(own.find("when elements of its own reach their limit") != own.npos);
}

TEST_CASE("A job that would fit is told whom it must not delay") {
  auto planner = cluster(1, 8);
  REQUIRE(planner.submit(one(1, 6, 100)));
  REQUIRE(planner.submit(one(2, 8, 50)));
  REQUIRE(planner.submit(one(3, 1, 500)));
  planner.pass(0);
  CHECK(words(planner, 3) ==
        "second in the queue; what it needs is free, but it would delay job 2, "
        "which is ahead of it; expected start T150");
}

TEST_CASE("After a restart running units are adopted with their cores") {
  auto planner = cluster(2, 4);
  auto job = array(5, 7);
  job.pending = 3;
  REQUIRE(planner.restore(job));
  placement where{{2, 1, gib, {1}}};
  auto slot = planner.adopt(5, where, 40);
  REQUIRE(slot);
  CHECK_FALSE(planner.adopt(5, where, 40));
  CHECK_FALSE(planner.adopt(5, {{1, 1, 0, {0}}, {2, 1, 0, {1}}}, 40));
  CHECK_FALSE(planner.adopt(5, {{2, 1, 0, {4}}}, 40));
  CHECK_FALSE(planner.adopt(5, {{2, 1, 17 * gib, {2}}}, 40));
  CHECK(planner.total().cores_free == 7);
  CHECK(planner.audit() == "");
  CHECK(planner.total().units_running == 1);
  REQUIRE(planner.ended(5, *slot));
  CHECK_FALSE(planner.ended(5, *slot));
  CHECK(planner.total().cores_free == 8);
}

TEST_CASE("A decision given back is decided again") {
  auto planner = cluster(1, 2);
  REQUIRE(planner.submit(one(1, 2)));
  auto first = planner.pass(0);
  REQUIRE(planner.give_back(1, first.decisions.at(0).units.at(0).slot));
  auto second = planner.pass(0);
  CHECK(second.decisions.at(0).units[0].where == first.decisions[0].units[0].where);
  CHECK(second.decisions.at(0).units[0].slot != first.decisions[0].units[0].slot);
}

TEST_CASE("A pass is bounded and says that there is more") {
  auto planner = cluster(1, 8, {.starts_per_pass_max = 3});
  REQUIRE(planner.submit(array(1, 20)));
  auto result = planner.pass(0);
  CHECK(result.decisions.at(0).units.size() == 3);
  CHECK(result.more);
  CHECK(planner.pass(0).decisions.at(0).units.size() == 3);
  result = planner.pass(0);
  CHECK(result.decisions.at(0).units.size() == 2);
  CHECK_FALSE(result.more);
}

TEST_CASE("A cancelled job leaves nothing behind") {
  auto planner = cluster(1, 1);
  REQUIRE(planner.submit(one(1, 1)));
  REQUIRE(planner.submit(one(2, 1)));
  auto result = planner.pass(0);
  REQUIRE(planner.set_pending(2, 0));
  CHECK_FALSE(planner.knows(2));
  REQUIRE(planner.ended(1, result.decisions.at(0).units[0].slot));
  CHECK(planner.total().units_running == 0);
  CHECK(planner.total().jobs_waiting == 0);
  CHECK_FALSE(planner.set_pending(2, 0));
  CHECK(planner.audit() == "");
}

TEST_CASE("Nodes are checked when they are added") {
  planner_core planner;
  CHECK_FALSE(planner.add_node({1, 0, 0, {}, node_state::up}));
  CHECK_FALSE(planner.add_node({1, cores_per_node_max + 1, 0, {}, node_state::up}));
  CHECK_FALSE(planner.add_node({1, 2, 0, {0}, node_state::up}));
  CHECK(planner.add_node({1, 1024, 0, {}, node_state::up}));
  CHECK_FALSE(planner.add_node({1, 2, 0, {}, node_state::up}));
  CHECK_FALSE(planner.set_node_state(2, node_state::up));
  REQUIRE(planner.submit(one(1, 1024)));
  CHECK(planner.pass(0).decisions.size() == 1);
  CHECK(planner.total().cores_free == 0);
}
