// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include <algorithm>

// Somebody sets the wall clock: a time server, a person, a machine that woke up. Nothing within the
// cluster may notice.

using namespace troupe;
using namespace troupe::test;

namespace {

constexpr std::int64_t day_ns = 86'400 * ns_per_s;

job_id submit(actor_world& world, const person& by, job_spec spec) {
  auto job = world.submit(by, std::move(spec));
  world.drain();
  REQUIRE(job->answer);
  REQUIRE(*job->answer);
  return **job->answer;
}

job_row row_of(actor_world& world, job_id job) {
  auto view = world.ask(world.user, show_job{job});
  world.settle();
  REQUIRE(*view);
  REQUIRE(**view);
  return (*view)->value().row;
}

/// All of it. Nobody is asked: whoever logged in long ago may not ask any more.
bool has_ended(actor_world& world, job_id job) {
  const auto stories = world.story_of(job);
  return std::all_of(stories.begin(), stories.end(),
                     [](const auto& each) { return each.second.ends == 1; });
}

void check_nothing_refused(const actor_world& world) {
  CHECK(world.violations == std::vector<std::string>{});
  for (const auto& each : world.refusals)
    FAIL_CHECK(each.message << " was refused");
}

} // namespace

TEST_CASE("a wall clock that is set refuses nothing, holds nothing up and loses no end") {
  for (auto seed : seeds(5)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    for (const auto by : {-10 * ns_per_s, -3600 * ns_per_s, 7200 * ns_per_s, -30 * day_ns}) {
      INFO("set by " << by / ns_per_s << " s");
      const auto runs = submit(world, world.user, single("endless"));
      REQUIRE(row_of(world, runs).state == job_state::running);
      world.keys.clock.set_wall_by(by);
      const auto later = submit(world, world.user, array_of("brief", 20));
      CHECK(world.run_until([&] { return has_ended(world, later); }));
      CHECK(row_of(world, runs).state == job_state::running);
      for (auto& launcher : world.launchers)
        launcher->end_one();
      CHECK(world.run_until([&] { return world.queue_is_empty(); }));
      CHECK(world.story_of(runs).at(no_element).ends == 1);
    }
    check_nothing_refused(world);
  }
}

TEST_CASE("a run that the wall clock was set in is as long as it was") {
  for (const auto by : {-3600 * ns_per_s, 3600 * ns_per_s}) {
    actor_world world{1};
    const auto runs = submit(world, world.user, single("endless"));
    REQUIRE(row_of(world, runs).state == job_state::running);
    world.advance(20 * ns_per_s);
    world.drain();
    world.keys.clock.set_wall_by(by);
    world.advance(20 * ns_per_s);
    world.drain();
    for (auto& launcher : world.launchers)
      launcher->end_one();
    REQUIRE(world.run_until([&] { return world.queue_is_empty(); }));
    const auto row = row_of(world, runs);
    const auto seconds = (row.ended_utc_ns - row.started_utc_ns) / ns_per_s;
    CHECK(seconds >= 40);
    CHECK(seconds <= 45);
  }
}

TEST_CASE("after 400 days and again after 800 the cluster works as on its first") {
  actor_world world{1};
  for (int round = 0; round < 3; ++round) {
    const auto by = world.log_in(1000);
    const auto job = submit(world, by, array_of("brief", 10));
    CHECK(world.run_until([&] { return has_ended(world, job); }));
    check_nothing_refused(world);
    world.advance(400 * day_ns);
    world.drain();
  }
}
