// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_workload.hpp"

// Random workloads under random interleavings: jobs of every shape, steered while they run, on
// launchers whose news comes late, twice, or again after a broken connection.

using namespace troupe;
using namespace troupe::test;

namespace {

job_spec any_job(dice& random) {
  static const std::vector<std::string> names{"plain", "brief", "brief", "failing", "endless"};
  const auto name = names[random.below(names.size())];
  auto spec = single(name);
  switch (random.below(5)) {
  case 0: spec = array_of(name, 1 + std::uint32_t(random.below(30))); break;
  case 1: spec = array_of(name, 1 + std::uint32_t(random.below(12)), 2); break;
  case 2:
    spec = wide(name, 2 + std::uint32_t(random.below(2)), 3 + std::uint32_t(random.below(6)));
    break;
  case 3:
    spec = array_of(name, 1 + std::uint32_t(random.below(5)));
    spec.tasks = 2 + std::uint32_t(random.below(5));
    break;
  default: spec.tasks = 1 + std::uint32_t(random.below(3));
  }
  spec.held = random.once_in(6);
  if (random.once_in(4))
    spec.time_limit_s = 1 + std::uint32_t(random.below(4));
  spec.requeue = random.once_in(4);
  return spec;
}

} // namespace

TEST_CASE("elements of one node and of several share no slots, however their places come") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed, {3, 3}}; // two ranks on a node, and one core over
    auto spec = array_of("brief", 2000);
    spec.tasks = 2;
    const auto job = world.submit(world.user, spec);
    // Short enough for many of them to be ordered ahead.
    for (int turn = 0; turn < 4000 && !(job->answer && world.queue_is_empty()); ++turn) {
      world.drain();
      world.advance(2 * ns_per_ms);
    }
    const auto story = world.story_of(**job->answer);
    CHECK(story.size() == 2000);
    for (const auto& [element, told] : story)
      if (told.exit.state != job_state::completed)
        FAIL("element " << element << " " << to_string(told.exit.state) << ": "
                        << told.exit.reason);
    check_all_given_back(world);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("every element of any workload ends exactly once, whatever comes late or twice, and all "
          "that it had is given back") {
  for (auto seed : seeds(150)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    steering hand{world, any_job};
    run_workload(world, hand, [] {});
    for (const auto& job : hand.jobs) {
      REQUIRE(job->answer);
      CHECK(*job->answer);
    }
    check_all_ended(world, [](const job_spec&, const element_story& story) {
      CHECK(story.exit.state != job_state::lost);
      CHECK((story.exit.state != job_state::failed || story.exit.exit_code == 3));
    });
    for (const auto& [where, times] : world.started) {
      INFO(format_id(std::get<1>(where), std::get<2>(where)) << " on node " << std::get<0>(where));
      CHECK(times == 1);
    }
    check_all_given_back(world);
    CHECK(world.acknowledged > 0);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("every element ends exactly once, and without a requeue runs at most once, though the "
          "daemon and its launchers end at any moment") {
  for (auto seed : seeds(150)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    steering hand{world, any_job};
    run_workload(world, hand, [&] {
      if (world.random.once_in(6))
        world.launchers[world.random.below(world.launchers.size())]->restart();
      if (world.random.once_in(6)) {
        world.crash();
        world.start();
      }
    });
    check_all_ended(world, [](const job_spec&, const element_story& story) {
      // An element that was being ended when the daemon ended tells of the signal alone.
      const auto itself = story.exit.exit_code == 3 || story.exit.signal == 15;
      CHECK((story.exit.state != job_state::failed || itself));
    });
    for (const auto& [where, times] : world.started) {
      const auto [node, job, element] = where;
      INFO(format_id(job, element) << " on node " << node);
      const auto starts = world.story_of(job).at(element).starts.size();
      CHECK(times <= (world.spec_of(job).requeue ? starts : 1));
    }
    check_all_given_back(world);
    CHECK(world.violations == std::vector<std::string>{});
  }
}
