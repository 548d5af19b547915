// SPDX-License-Identifier: Apache-2.0
#include "actors/job/slots.hpp"
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

job_selector only(job_id job) {
  job_selector selector;
  selector.targets.push_back({job, job, {}});
  return selector;
}

job_id submit(actor_world& world, const job_spec& spec) {
  const auto job = world.submit(world.user, spec);
  world.drain();
  REQUIRE((job->answer && *job->answer));
  return **job->answer;
}

} // namespace

TEST_CASE("an order may be a launcher's newest until something has started that came after it") {
  actors::queue_orders orders;
  CHECK_FALSE(orders.may_use(orders.newest()));
  const auto first = orders.add(2);
  const auto second = orders.add(2);
  orders.leave(first, true);
  CHECK(orders.may_use(first));
  orders.leave(first, true);
  CHECK_FALSE(orders.may_use(first));
  CHECK(orders.may_use(second));
  // What is withdrawn tells nothing of when its order came.
  orders.leave(second, false);
  orders.leave(second, false);
  CHECK_FALSE(orders.may_use(second)); // but nothing is queued
  const auto third = orders.add(1);
  const auto fourth = orders.add(1);
  orders.leave(third, false);
  CHECK(orders.may_use(third));
  const auto fifth = orders.add(2);
  orders.leave(fourth, true);
  CHECK(orders.may_use(third)); // the fourth was made before the third was withdrawn
  orders.leave(fifth, true);
  CHECK_FALSE(orders.may_use(fourth));
  CHECK(orders.may_use(fifth));
  orders.leave(fifth, false);
  CHECK_FALSE(orders.may_use(orders.newest()));
}

TEST_CASE("a slot that an order on its way opens is not given back, though another one is idle") {
  actor_world world{1, {1, 2}};
  auto& launcher = *world.launchers[0];
  const auto first = submit(world, single("endless"));
  const auto array = submit(world, array_of("endless", 3)); // its first element has a core
  REQUIRE(launcher.running() == 2);
  auto spec = single("endless");
  spec.held = true;
  const auto other = submit(world, spec);
  launcher.short_starts = 2; // the others are to start in another incarnation, in the slot above
  world.ask(world.user, cancel_jobs{only(first), "enough"});
  REQUIRE(world.run_until([&] { return launcher.short_starts == 0; }, 20));
  const auto without_authority = [&] {
    world.settle_without(world.authority);
    launcher.work();
    launcher.flush();
    while (launcher.deliver())
      world.settle_without(world.authority);
  };
  for (int second = 0; second < 10; ++second) {
    without_authority();
    world.advance(ns_per_s);
  }
  REQUIRE(launcher.running() == 1); // the order for the second element is being signed,
  REQUIRE(launcher.end_one());
  without_authority(); // and so is one for the third, in both slots
  auto third = only(array);
  third.targets.front().elements = number_range{3, 3};
  world.ask(world.user, cancel_jobs{third, "not that one"});
  without_authority();
  world.ask(world.user, release_jobs{only(other)});
  without_authority();
  CHECK(world.run_until([&] { return launcher.running() == 2; }, 10));
  CHECK(world.story_of(array).at(2).starts == std::set<std::uint32_t>{1, 2});
  CHECK(world.story_of(array).at(3).ends == 1);
  for (auto job : {array, other})
    world.ask(world.user, cancel_jobs{only(job), "enough"});
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  check_all_given_back(world);
  CHECK(world.violations == std::vector<std::string>{});
}

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
