// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include <fmt/format.h>

// The wall clock is set while the daemon runs: what was asked for in its time follows it, and
// nothing else does.

using namespace troupe;
using namespace troupe::test;

namespace {

constexpr std::int64_t minute = 60 * ns_per_s;

job_id submitted(actor_world& world, job_spec spec) {
  auto job = world.submit(world.user, std::move(spec));
  world.drain();
  REQUIRE(job->answer);
  if (!*job->answer)
    FAIL(job->answer->error().text);
  return **job->answer;
}

job_spec beginning_at(utc_ns begin) {
  auto spec = single("endless");
  spec.begin_utc_ns = begin;
  return spec;
}

bool runs(actor_world& world, job_id job) {
  world.drain();
  for (const auto& [where, times] : world.started)
    if (std::get<1>(where) == job)
      return true;
  return false;
}

/// Time passes, a second at a time: where one has to wait for a timer, it comes.
void pass(actor_world& world, std::int64_t ns) {
  for (; ns > 0; ns -= ns_per_s) {
    world.advance(std::min(ns, ns_per_s));
    world.drain();
  }
}

void set_wall(actor_world& world, utc_ns to) {
  world.keys.clock.set_wall(to);
  world.drain();
}

why_view why(actor_world& world, job_id job) {
  auto answer = world.ask(world.user, why_job{job});
  world.settle();
  REQUIRE(*answer);
  REQUIRE(**answer);
  return ***answer;
}

} // namespace

TEST_CASE("a wall clock that is ahead for a moment lets nothing begin before its time") {
  actor_world world{1};
  const auto begin = world.keys.clock.utc() + 5 * minute;
  const auto waits = submitted(world, beginning_at(begin));
  set_wall(world, world.keys.clock.utc() + 3 * minute);
  submitted(world, single("brief")); // the planner has work meanwhile
  pass(world, 2 * ns_per_s);
  set_wall(world, world.keys.clock.utc() - 3 * minute);
  const auto later = submitted(world, beginning_at(begin));
  pass(world, 3 * minute);
  CHECK_FALSE(runs(world, waits));
  CHECK_FALSE(runs(world, later));
  CHECK(why(world, waits).expected_start_utc_ns == begin);
  pass(world, begin - world.keys.clock.utc() + 2 * ns_per_s);
  CHECK(runs(world, waits));
  CHECK(runs(world, later));
}

TEST_CASE("what begins at a time begins when a clock that was wrong is set right, and not before") {
  actor_world world{1};
  const auto begin = world.keys.clock.utc() + 5 * minute;
  const auto waits = submitted(world, beginning_at(begin));
  pass(world, 3 * ns_per_s);
  set_wall(world, begin - 2 * ns_per_s); // it had been late
  CHECK_FALSE(runs(world, waits));
  pass(world, 4 * ns_per_s);
  CHECK(runs(world, waits));

  const auto next = world.keys.clock.utc() + minute;
  const auto other = submitted(world, beginning_at(next));
  set_wall(world, world.keys.clock.utc() - 2 * minute); // and now it had been early
  pass(world, 2 * minute);
  CHECK_FALSE(runs(world, other));
  CHECK(why(world, other).expected_start_utc_ns == next);
  pass(world, minute + 3 * ns_per_s);
  CHECK(runs(world, other));
}

TEST_CASE("a reservation is where the wall clock says, also after that was wrong") {
  actor_world world{1, {1, 4}};
  auto rows = world.ask(world.user, list_queue{});
  const auto first = submitted(world, single("endless"));
  rows = world.ask(world.user, list_queue{});
  world.settle();
  const auto user = (**rows)->rows.front().user;
  auto cancel = world.ask(world.user, cancel_jobs{[&] {
                                                    job_selector which;
                                                    which.targets.push_back({first, first, {}});
                                                    return which;
                                                  }(),
                                                  ""});
  REQUIRE(world.run_until([&] { return world.queue_is_empty(); }));
  reservation_row row;
  row.name = "maintenance";
  row.nodes = {"node1"};
  row.users = {user};
  row.start_utc_ns = world.keys.clock.utc() + 4 * minute;
  row.end_utc_ns = row.start_utc_ns + 4 * minute;
  auto made = world.ask(world.scheduler, world.as_admin(world.user), make_reservation{row});
  world.settle();
  REQUIRE(*made);
  REQUIRE(**made);
  auto spec = single("endless");
  spec.time_limit_s = 5 * 60; // it does not fit before
  const auto waits = submitted(world, spec);
  set_wall(world, row.end_utc_ns + minute); // as if it were over
  pass(world, 2 * ns_per_s);
  CHECK(runs(world, waits));
  set_wall(world, row.start_utc_ns - 3 * minute);
  const auto next = submitted(world, spec);
  pass(world, 2 * minute);
  CHECK_FALSE(runs(world, next));
  auto listed = world.ask(world.user, list_reservations{});
  world.settle();
  REQUIRE(*listed);
  REQUIRE(**listed);
  REQUIRE((**listed)->reservations.size() == 1);
  CHECK((**listed)->reservations.front() == row);
  pass(world, 6 * minute);
  CHECK(runs(world, next));
}

TEST_CASE("a clock that was wrong while jobs started does not last in what is expected of them") {
  actor_world world{1, {1, 1}};
  set_wall(world, world.keys.clock.utc() + 20 * minute);
  auto spec = single("endless");
  spec.time_limit_s = 120;
  const auto first = submitted(world, spec);
  CHECK(runs(world, first));
  set_wall(world, world.keys.clock.utc() - 20 * minute);
  const auto second = submitted(world, spec);
  pass(world, 2 * ns_per_s);
  const auto expected = why(world, second).expected_start_utc_ns;
  CHECK(expected <= world.keys.clock.utc() + 121 * ns_per_s);
  CHECK(expected > world.keys.clock.utc());
  CHECK(world.planner_status()["audit of its own figures"] == "right");
}

TEST_CASE("jobs begin at their times however the wall clock is set about") {
  for (auto seed : seeds(30)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed, {2, 4}};
    const auto first = world.keys.clock.utc();
    std::map<job_id, utc_ns> begins;
    for (int turn = 0; turn < 60; ++turn) {
      const auto step = std::int64_t(world.random.below(120)) * ns_per_s;
      switch (world.random.below(6)) {
      case 0: world.keys.clock.set_wall(world.keys.clock.utc() + step); break;
      case 1: // not before capabilities are good
        world.keys.clock.set_wall(std::max(first, world.keys.clock.utc() - step));
        break;
      case 2:
        if (begins.size() < 6) {
          const auto begin = world.keys.clock.utc() + step;
          begins[submitted(world, beginning_at(begin))] = begin;
        }
        break;
      default: pass(world, 3 * ns_per_s);
      }
      world.drain();
      for (const auto& [job, begin] : begins)
        if (!runs(world, job)) {
          pass(world, 2 * ns_per_s);
          INFO("turn " << turn << ", job " << job << ", "
                       << (world.keys.clock.utc() - begin) / ns_per_s << " s after its begin");
          CHECK((runs(world, job) == (world.keys.clock.utc() >= begin) ||
                 std::abs(world.keys.clock.utc() - begin) <= 3 * ns_per_s));
        }
    }
    CHECK(world.planner_status()["audit of its own figures"] == "right");
    CHECK(world.violations == std::vector<std::string>{});
  }
}
