// SPDX-License-Identifier: Apache-2.0
#include "messages/cbor.hpp"
#include "tests/unit/actor_world.hpp"

// The cluster comes back with other nodes than it had, or on a ledger that cannot tell all of it.

using namespace troupe;
using namespace troupe::test;

namespace {

job_spec on_node(const char* name, std::vector<std::string> nodes) {
  auto spec = single(name);
  spec.nodes_required = std::move(nodes);
  return spec;
}

job_id submit(actor_world& world, job_spec spec) {
  auto job = world.submit(world.user, std::move(spec));
  world.drain();
  REQUIRE(job->answer);
  REQUIRE(*job->answer);
  return **job->answer;
}

job_selector selector_of(job_id job) {
  job_selector selector;
  selector.targets.push_back({job, job, {}});
  return selector;
}

job_view show(actor_world& world, job_id job) {
  auto view = world.ask(world.user, show_job{job});
  world.settle();
  REQUIRE(*view);
  REQUIRE(**view);
  return ***view;
}

std::string why(actor_world& world, job_id job) {
  auto view = world.ask(world.user, why_job{job});
  world.settle();
  REQUIRE(*view);
  REQUIRE(**view);
  return (**view)->sentence;
}

std::map<std::string, node_row> nodes_of(actor_world& world) {
  auto rows = world.ask(world.user, list_nodes{});
  world.settle();
  REQUIRE(*rows);
  REQUIRE(**rows);
  std::map<std::string, node_row> all;
  for (const auto& row : (**rows)->nodes)
    all[row.name] = row;
  return all;
}

void restart(actor_world& world, world_shape shape) {
  world.crash();
  world.start(shape);
  world.connect_launchers();
  world.drain();
}

/// The ledger as it is, with what `change` makes of each event.
void rewrite(actor_world& world, const std::function<void(ledger::event&)>& change) {
  std::vector<ledger::event> events;
  for (auto job : world.all_jobs())
    (void)world.store().events_of(job, [&](const ledger::stored_event& stored) {
      ledger::event event;
      event.job = stored.job;
      event.element = stored.element;
      event.incarnation = stored.incarnation;
      event.kind = stored.kind;
      event.payload.assign(stored.payload.begin(), stored.payload.end());
      if (event.kind == ledger::event_kind::submitted) {
        event.change.emplace();
        event.change->submitted = ledger::submission{world.user.uid, "endless", {}, 1};
      }
      change(event);
      events.push_back(std::move(event));
    });
  world.crash();
  world.write_ledger(events);
}

} // namespace

TEST_CASE("a node of before stays, leaving, while a job runs there, and goes with it") {
  for (auto seed : seeds(5)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    const auto one = submit(world, on_node("endless", {"node3"}));
    auto both = on_node("endless", {"node1", "node2"});
    both.nodes = both.tasks = 2;
    both.mpi = mpi_mode::pmix;
    const auto mpi = submit(world, both);
    auto script = on_node("endless", {"node2"});
    script.batch = true;
    script.script = "#!/bin/sh\n";
    const auto batch = submit(world, script);
    restart(world, {1, 4});
    CHECK(show(world, one).row.state == job_state::running);
    CHECK(show(world, one).row.nodelist == "node3");
    CHECK(show(world, mpi).row.state == job_state::running);
    auto nodes = nodes_of(world);
    CHECK(nodes.size() == 3);
    CHECK(nodes["node3"].state == node_state::leaving);
    CHECK(nodes["node3"].elements_running == 1);

    const auto step = world.run_step(world.user, batch, no_element, single("brief"));
    CHECK(world.run_until(
        [&] {
          return show(world, batch).steps.size() == 1 &&
                 show(world, batch).steps[0].state == job_state::completed;
        },
        20));
    REQUIRE((*step && **step));
    const auto more = submit(world, array_of("brief", 40));
    CHECK(world.run_until([&] { return world.store().row_of(more)->ended_ns != 0; }));
    for (const auto& [where, times] : world.started)
      CHECK((std::get<1>(where) != more || std::get<0>(where) == 1));
    auto refused = world.submit(world.user, on_node("brief", {"node3"}));
    world.drain();
    REQUIRE(refused->answer);
    CHECK_FALSE(*refused->answer);

    world.launchers[2]->end_one(7);
    world.drain();
    CHECK(world.story_of(one).at(no_element).exit.exit_code == 7);
    CHECK(nodes_of(world).count("node3") == 0);
    for (auto job : {mpi, batch})
      world.ask(world.user, cancel_jobs{selector_of(job), "enough"});
    CHECK(world.run_until([&] { return world.queue_is_empty(); }));
    CHECK(world.story_of(mpi).at(no_element).exit.state == job_state::cancelled);
    CHECK(nodes_of(world).size() == 1);
    // Which units its node's cores were is not known any more: the step may meet others.
    std::erase_if(world.violations, [](const std::string& each) {
      return each.find(".1 in incarnation 1 has core ") != std::string::npos;
    });
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE(
    "a node that leaves is listed from the first moment on, before its jobs have been heard") {
  for (auto seed : seeds(40)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    const auto job = submit(world, on_node("endless", {"node3"}));
    REQUIRE(show(world, job).row.state == job_state::running);
    world.crash();
    world.start({1, 4});
    auto nodes = nodes_of(world);
    CHECK(nodes.size() == 2);
    CHECK(nodes["node3"].state == node_state::leaving);
  }
}

TEST_CASE("a job that waits for a node that is gone waits on, and says so") {
  actor_world world{1};
  auto spec = on_node("brief", {"node3"});
  spec.held = true;
  const auto job = submit(world, spec);
  restart(world, {1, 4});
  world.ask(world.user, release_jobs{selector_of(job)});
  CHECK_FALSE(world.run_until([&] { return world.queue_is_empty(); }, 20));
  CHECK(why(world, job) == "asks for node3, which is not in the cluster; it waits until it is");
  restart(world, {3, 4});
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 20));
  CHECK(world.story_of(job).at(no_element).exit.state == job_state::completed);
}

TEST_CASE("with fewer cores, what a running job has of them is not given to others") {
  actor_world world{1, {1, 4}};
  auto three = single("endless");
  three.tasks = 3;
  const auto wide = submit(world, three);
  auto exclusive = single("endless");
  const auto narrow = submit(world, exclusive);
  REQUIRE(world.launchers[0]->running() == 2);
  restart(world, {1, 2});
  CHECK(show(world, wide).row.state == job_state::running);
  const auto next = submit(world, single("brief"));
  CHECK_FALSE(world.run_until([&] { return world.store().row_of(next)->ended_ns != 0; }, 10));
  world.ask(world.user, cancel_jobs{selector_of(wide), "enough"});
  CHECK(world.run_until([&] { return world.store().row_of(next)->ended_ns != 0; }, 20));
  CHECK(show(world, narrow).row.state == job_state::running);
  world.ask(world.user, cancel_jobs{selector_of(narrow), "enough"});
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(world.planner_status()["cores free"] == "2");
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE(
    "a job of which the ledger cannot tell is set aside: the others go on, and a cancel ends it") {
  const auto spoil = GENERATE(0, 1, 2);
  INFO("case " << spoil);
  actor_world world{1};
  const auto bad = submit(world, on_node("endless", {"node1"}));
  const auto good = submit(world, on_node("endless", {"node2"}));
  auto after = single("brief");
  after.dependencies = {{dependency_kind::afterany, bad}};
  const auto dependent = submit(world, after);
  rewrite(world, [&](ledger::event& event) {
    if (event.job != bad)
      return;
    if (spoil == 0 && event.kind == ledger::event_kind::starting)
      event.payload.resize(event.payload.size() / 2);
    if (spoil == 1 && event.kind == ledger::event_kind::submitted)
      event.payload = {0xff};
    if (spoil == 2 && event.kind == ledger::event_kind::starting)
      event.incarnation = 0;
  });
  world.start();
  world.connect_launchers();
  world.drain();
  CHECK(show(world, good).row.state == job_state::running);
  const auto view = show(world, bad);
  CHECK(view.row.reason.rfind("set aside: event ", 0) == 0);
  CHECK(why(world, bad).find("left alone until 'troupe cancel 1' ends it") != std::string::npos);
  CHECK(why(world, dependent) == "waits for what becomes of job 1 (afterany, set aside)");
  CHECK(world.launchers[0]->running() == 1);
  world.run_until([] { return false; }, 20);
  CHECK(world.launchers[0]->running() == 1);

  auto cancelled = world.ask(world.user, cancel_jobs{selector_of(bad), "enough"});
  world.settle();
  REQUIRE(*cancelled);
  CHECK(**cancelled);
  SECTION("at once") {}
  SECTION("also over a restart") {
    restart(world, {3, 4});
  }
  CHECK(world.run_until([&] { return world.store().row_of(bad)->ended_ns != 0; }, 20));
  CHECK_FALSE(world.launchers[0]->incarnation_of(bad, no_element));
  CHECK(world.store().row_of(bad)->reason.rfind("enough; it was set aside: ", 0) == 0);
  world.ask(world.user, cancel_jobs{selector_of(good), "enough"});
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(world.story_of(dependent).at(no_element).exit.state == job_state::completed);
}

TEST_CASE("what has a place of a job that was set aside is not given to others") {
  actor_world world{1, {1, 2}};
  const auto bad = submit(world, single("endless"));
  rewrite(world, [&](ledger::event&) {});
  {
    auto opened = ledger::store::open({world.ledger_path(), 0, 1u << 20}, world.keys.clock);
    REQUIRE(opened);
    ledger::event nonsense;
    nonsense.job = bad;
    nonsense.element = 77;
    nonsense.incarnation = 1;
    nonsense.kind = ledger::event_kind::ended;
    nonsense.payload = to_cbor(ended_event{});
    REQUIRE(opened->append(std::vector{nonsense}));
  }
  world.start();
  world.connect_launchers();
  const auto two = submit(world, array_of("brief", 20));
  CHECK(world.run_until([&] { return world.store().row_of(two)->ended_ns != 0; }));
  CHECK(world.launchers[0]->running() == 1);
  CHECK(world.planner_status()["cores free"] == "1");
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("events of no job that cannot be read are passed over") {
  actor_world world{1};
  world.crash();
  std::vector<ledger::event> events(2);
  events[0].kind = ledger::event_kind::node;
  events[1].kind = ledger::event_kind::reservation;
  for (auto& event : events)
    event.payload = {0xff};
  world.write_ledger(events);
  world.start();
  world.connect_launchers();
  submit(world, single("brief"));
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
}
