// SPDX-License-Identifier: Apache-2.0
#include "actors/cluster.hpp"
#include "tests/unit/actor_world.hpp"

#include <csignal>
#include <sys/resource.h>

// The cluster stops: all that runs comes to its end, all that waits is there afterwards.

using namespace troupe;
using namespace troupe::test;

namespace {

class stopping_cluster {
public:
  stopping_cluster(actor_world& of) : world_{of} {
    actors::cluster_state::peers below{world_.scheduler, {}, [this] { stopped_ = true; }};
    cluster_ = world_.system().spawn<actors::shell<actors::cluster_state>>(
        std::ref(world_.around()), std::uint64_t{0}, below);
  }
  auto stop(const auth::verified_capability& cap) {
    auto answer = world_.ask(cluster_, cap, stop_cluster{});
    world_.settle();
    return answer;
  }
  bool stopped() const { return stopped_; }

private:
  actor_world& world_;
  cluster_actor cluster_;
  bool stopped_ = false;
};

std::size_t running_elements(const actor_world& world) {
  std::size_t count = 0;
  for (const auto& launcher : world.launchers)
    count += launcher->running();
  return count;
}

} // namespace

TEST_CASE("a stop ends more jobs than one page has, and keeps what waits") {
  for (auto seed : seeds(2)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed, {4, 160}};
    stopping_cluster cluster{world};
    std::vector<std::shared_ptr<submitted_job>> jobs;
    for (int i = 0; i < 700; ++i)
      jobs.push_back(world.submit(world.user, single("endless")));
    world.drain();
    REQUIRE(running_elements(world) == 640);
    const auto answer = cluster.stop(world.log_in(1).cap);
    REQUIRE(*answer);
    REQUIRE(**answer);
    CHECK((*answer)->value().running_count == 640);
    CHECK((*answer)->value().pending == 60);
    REQUIRE(world.run_until([&] { return cluster.stopped(); }));
    CHECK(running_elements(world) == 0);
    std::size_t cancelled = 0, waiting = 0;
    for (const auto& job : jobs) {
      const auto story = world.story_of(**job->answer);
      const auto at = story.find(no_element);
      if (at == story.end() || at->second.starts.empty())
        ++waiting;
      else
        cancelled += at->second.ends == 1 && at->second.exit.state == job_state::cancelled;
    }
    CHECK(cancelled == 640);
    CHECK(waiting == 60);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("a stop that is refused leaves starts as they were") {
  actor_world world{1};
  stopping_cluster cluster{world};
  const auto refused = cluster.stop(world.user.cap);
  REQUIRE(*refused);
  CHECK_FALSE(**refused);
  const auto job = world.submit(world.user, single("quick"));
  world.drain();
  CHECK(world.ordered > 0);
  CHECK_FALSE(cluster.stopped());
}

TEST_CASE("starts that were paused and go on again lose no placement") {
  for (auto seed : seeds(5)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    const auto role = world.role(auth::actor_role::cluster);
    const auto pause = [&](bool on) {
      auth::verified_capability cap = role;
      caf::anon_send(world.scheduler, request<pause_starts>{cap, {on}});
      world.settle();
    };
    pause(true);
    for (int i = 0; i < 5; ++i)
      world.submit(world.user, single("endless"));
    world.drain();
    CHECK(world.ordered == 0);
    pause(false);
    world.drain();
    CHECK(running_elements(world) == 5);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("what was decided before starts were paused, and had no actor yet, waits for them") {
  for (auto seed : seeds(20)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    const auto pause = [&](bool on) {
      auth::verified_capability cap = world.role(auth::actor_role::cluster);
      caf::anon_send(world.scheduler, request<pause_starts>{cap, {on}});
    };
    const auto job = world.submit(world.user, single("endless"));
    world.settle_without(world.planner);
    REQUIRE(job->answer);
    world.settle_without(world.ledger); // the scheduler waits for what was submitted
    pause(true);
    world.drain();
    CHECK(world.ordered == 0);
    for (const auto& [element, story] : world.story_of(**job->answer))
      CHECK(story.starts.empty());
    pause(false);
    world.drain();
    CHECK(running_elements(world) == 1);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("an array that runs when the cluster stops waits with the rest of its elements") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    stopping_cluster cluster{world};
    const auto job = world.submit(world.user, array_of("endless", 40));
    world.drain();
    const auto ran = running_elements(world);
    REQUIRE(ran == 12);
    REQUIRE(*cluster.stop(world.log_in(1).cap));
    REQUIRE(world.run_until([&] { return cluster.stopped(); }));
    std::size_t ended = 0;
    for (const auto& [element, story] : world.story_of(**job->answer))
      ended += story.ends;
    CHECK(ended == ran);
    world.crash();
    world.start();
    world.connect_launchers();
    world.drain();
    CHECK(running_elements(world) == 12);
    CHECK(world.violations == std::vector<std::string>{});
  }
}
