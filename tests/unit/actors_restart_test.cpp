// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include <spdlog/sinks/ostream_sink.h>
#include <sstream>

// The daemon ends where it stands and comes back on the same ledger, to launchers that went on, or
// that were replaced, or that do not answer.

using namespace troupe;
using namespace troupe::test;

namespace {

job_spec on_node(const char* name, const char* node) {
  auto spec = single(name);
  spec.nodes_required = {node};
  return spec;
}

job_id submit(actor_world& world, job_spec spec) {
  auto job = world.submit(world.user, std::move(spec));
  world.drain();
  REQUIRE(job->answer);
  REQUIRE(*job->answer);
  return **job->answer;
}

element_story lone(actor_world& world, job_id job) {
  return world.story_of(job).at(no_element);
}

job_selector selector_of(job_id job) {
  job_selector selector;
  selector.targets.push_back({job, job, {}});
  return selector;
}

job_state state_in_queue(actor_world& world, job_id job) {
  auto view = world.ask(world.user, show_job{job});
  world.settle();
  REQUIRE(*view);
  REQUIRE(**view);
  return (*view)->value().row.state;
}

using incarnations = std::set<std::uint32_t>;

} // namespace

TEST_CASE(
    "after a restart what runs is adopted, what ended ends, and what never left starts in its "
    "next incarnation") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    const auto runs = submit(world, on_node("endless", "node1"));
    const auto ends = submit(world, on_node("endless", "node2"));
    auto late = world.submit(world.user, on_node("endless", "node3"));
    world.settle_without(world.agent(2));
    const auto never_left = **late->answer;
    REQUIRE(lone(world, never_left).starts == incarnations{1});
    world.crash();
    REQUIRE(world.launchers[2]->running() == 0);
    world.launchers[1]->end_one(3);
    world.start();
    world.settle();
    CHECK(lone(world, ends).ends == 0);
    world.connect_launchers();
    world.drain();

    CHECK(lone(world, runs).ends == 0);
    CHECK(lone(world, runs).starts == incarnations{1});
    CHECK(state_in_queue(world, runs) == job_state::running);
    CHECK(lone(world, ends).ends == 1);
    CHECK(lone(world, ends).exit.exit_code == 3);
    CHECK(lone(world, never_left).starts == incarnations{1, 2});
    CHECK(world.launchers[0]->running() == 1);
    CHECK(world.launchers[2]->running() == 1);
    world.launchers[0]->end_one();
    world.launchers[2]->end_one();
    CHECK(world.run_until([&] { return world.queue_is_empty(); }));
    CHECK(lone(world, runs).exit.state == job_state::completed);
    CHECK(lone(world, never_left).exit.state == job_state::completed);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("a core that an element gave back is another's after a restart, though its end was never "
          "written") {
  for (auto seed : seeds(20)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed, {1, 2}};
    auto& launcher = *world.launchers[0];
    world.refuses_append = [](const append_entries& what) {
      return what.entries.front().what == ledger_entry::kind::ended;
    };
    for (int i = 0; i < 3; ++i) // the last of them waits
      submit(world, single("endless"));
    launcher.end_one();
    world.drain();
    REQUIRE(launcher.running() == 2);
    world.crash();
    world.start();
    std::ostringstream said;
    world.around().log->sinks().push_back(std::make_shared<spdlog::sinks::ostream_sink_mt>(said));
    world.connect_launchers();
    world.drain();
    world.around().log->sinks().clear();
    CHECK(said.str().find("agreed with node 1") != std::string::npos);
    CHECK(said.str().find("cannot have what it ran on") == std::string::npos);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("what ran under a launcher that is gone is lost, and runs again only with a requeue") {
  for (auto while_away : {false, true}) {
    INFO((while_away ? "while the daemon was away" : "while the daemon was there"));
    actor_world world{1};
    const auto once = submit(world, on_node("endless", "node1"));
    auto again = on_node("endless", "node1");
    again.requeue = true;
    const auto twice = submit(world, again);
    if (while_away)
      world.crash();
    world.launchers[0]->restart();
    if (while_away)
      world.start();
    world.connect_launchers();
    world.drain();
    CHECK(lone(world, once).ends == 1);
    CHECK(lone(world, once).exit.state == job_state::lost);
    CHECK(lone(world, once).starts == incarnations{1});
    CHECK(lone(world, twice).ends == 0);
    CHECK(lone(world, twice).starts == incarnations{1, 2});
    CHECK(world.launchers[0]->running() == 1);
    world.launchers[0]->end_one();
    CHECK(world.run_until([&] { return world.queue_is_empty(); }));
    CHECK(lone(world, twice).exit.state == job_state::completed);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("a running job's steps, ended or not, are there after a restart") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto script = on_node("endless", "node1");
    script.tasks = 2;
    script.batch = true;
    script.script = "#!/bin/sh\n";
    const auto job = submit(world, script);
    const auto first = world.run_step(world.user, job, no_element, single("brief"));
    world.run_until([&] { return world.launchers[0]->running() == 1; });
    const auto second = world.run_step(world.user, job, no_element, single("endless"));
    world.drain();
    REQUIRE((*first && **first));
    REQUIRE((*second && **second));
    REQUIRE(world.launchers[0]->running() == 2);
    world.crash();
    world.start();
    world.connect_launchers();
    world.drain();
    auto view = world.ask(world.user, show_job{job});
    world.settle();
    REQUIRE((*view && **view));
    const auto& steps = (*view)->value().steps;
    REQUIRE(steps.size() == 2);
    CHECK(steps[0].state == job_state::completed);
    CHECK(steps[0].nodelist == "node1");
    CHECK(steps[1].state == job_state::running);
    world.ask(world.user, cancel_jobs{selector_of(job), "enough"});
    CHECK(world.run_until([&] { return world.queue_is_empty(); }));
    CHECK(lone(world, job).exit.state == job_state::cancelled);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("nothing is started again because nobody answers, however long") {
  actor_world world{1};
  auto spec = on_node("endless", "node1");
  spec.requeue = true;
  const auto job = submit(world, spec);
  const auto other = submit(world, on_node("endless", "node2"));
  world.crash();
  const auto ordered = world.ordered;
  world.start();
  world.launchers[1]->connect();
  for (int hour = 0; hour < 72; ++hour) {
    world.settle();
    world.advance(3600 * ns_per_s);
  }
  world.user = world.log_in(world.user.uid);
  world.settle();
  CHECK(world.ordered == ordered);
  CHECK(lone(world, job).ends == 0);
  CHECK(lone(world, job).starts == incarnations{1});
  CHECK(state_in_queue(world, job) == job_state::starting);
  CHECK(state_in_queue(world, other) == job_state::running);
  world.launchers[0]->connect();
  world.drain();
  CHECK(state_in_queue(world, job) == job_state::running);
  CHECK(lone(world, job).starts == incarnations{1});
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("a wide element of which a part never left is lost, and its other part is ended") {
  actor_world world{1};
  auto job = world.submit(world.user, wide("endless", 2, 2));
  world.settle_without(world.agent(1));
  REQUIRE(world.launchers[0]->running() + world.launchers[2]->running() == 1);
  world.crash();
  world.start();
  world.connect_launchers();
  const auto id = **job->answer;
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(lone(world, id).ends == 1);
  CHECK(lone(world, id).exit.state == job_state::lost);
  for (const auto& launcher : world.launchers)
    CHECK(launcher->running() == 0);
  CHECK(world.planner_status()["units running"] == "0");
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("what a launcher runs for a job that nobody knows is ended") {
  actor_world world{1};
  const auto job = submit(world, on_node("endless", "node1"));
  world.crash();
  std::filesystem::remove(world.ledger_path());
  std::filesystem::remove(world.ledger_path() + "-wal");
  std::filesystem::remove(world.ledger_path() + ".head");
  world.start();
  world.connect_launchers();
  CHECK(world.run_until([&] { return world.launchers[0]->running() == 0; }, 5));
  CHECK_FALSE(world.store().row_of(job));
}
