// SPDX-License-Identifier: Apache-2.0
#include "config/cluster_config.hpp"
#include "tests/unit/actor_workload.hpp"

// What is refused for now is tried again, with a back-off, and ends nothing: by the ledger, by the
// authority, by a launcher. What has to make room is asked once, whatever stands in the way.

using namespace troupe;
using namespace troupe::test;

namespace {

using judgement = scripted_launcher::judgement;
using incarnations = std::set<std::uint32_t>;

bool has(const append_entries& what, ledger_entry::kind kind) {
  for (const auto& entry : what.entries)
    if (entry.what == kind)
      return true;
  return false;
}

element_story lone(actor_world& world, job_id job) {
  return world.story_of(job).at(no_element);
}

job_selector only(job_id job) {
  job_selector selector;
  selector.targets.push_back({job, job, {}});
  return selector;
}

job_id submit(actor_world& world, job_spec spec) {
  auto job = world.submit(world.user, std::move(spec));
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

void seconds(actor_world& world, int count) {
  for (int second = 0; second < count; ++second) {
    world.drain();
    world.advance(ns_per_s);
  }
  world.drain();
}

void judge_all(actor_world& world, judgement how) {
  for (auto& launcher : world.launchers)
    launcher->judges = [how](const auth::order_view&) { return how; };
}

std::uint64_t refused(const actor_world& world) {
  std::uint64_t count = 0;
  for (const auto& launcher : world.launchers)
    count += launcher->refused;
  return count;
}

std::shared_ptr<cluster_config const> two_queues() {
  auto reading = read_config("[queues.normal]\ndefault = true\n"
                             "[queues.urgent]\npriority = 100\npreempts = [\"normal\"]\n",
                             "troupe.toml");
  REQUIRE(reading.config);
  return std::make_shared<cluster_config const>(std::move(*reading.config));
}

job_spec script(const char* name) {
  auto spec = single(name);
  spec.tasks = 2;
  spec.batch = true;
  spec.script = "#!/bin/sh\n";
  return spec;
}

} // namespace

TEST_CASE("an order that a launcher refuses for now goes again, later and later, and its element "
          "runs in the same incarnation") {
  actor_world world{1};
  judge_all(world, judgement::refuses_for_now);
  const auto job = submit(world, single("plain"));
  const auto array = submit(world, array_of("brief", 2000));
  seconds(world, 300);
  // 1, 2, 4 … 60 s: ten tries of one order each, and of the array one for each node it has.
  CHECK(refused(world) >= 10);
  CHECK(refused(world) <= 60);
  CHECK(lone(world, job).ends == 0);
  CHECK(row_of(world, job).state == job_state::starting);
  CHECK(row_of(world, job).reason.find("the script says so") != std::string::npos);
  judge_all(world, judgement::takes);
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 600));
  CHECK(lone(world, job).exit.state == job_state::completed);
  CHECK(lone(world, job).starts == incarnations{1});
  for (const auto& [element, story] : world.story_of(array)) {
    INFO("element " << element);
    REQUIRE(story.ends == 1);
    REQUIRE(story.exit.state == job_state::completed);
  }
  check_all_given_back(world);
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("a part that a launcher refuses for now goes again, while the other parts run") {
  actor_world world{1};
  world.launchers[1]->judges = [](const auth::order_view&) { return judgement::refuses_for_now; };
  const auto job = submit(world, wide("plain", 3, 6));
  seconds(world, 5);
  CHECK(lone(world, job).ends == 0);
  CHECK(world.launchers[1]->refused >= 2);
  world.launchers[1]->judges = nullptr;
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(lone(world, job).exit.state == job_state::completed);
  CHECK(lone(world, job).starts == incarnations{1});
  for (const auto& [where, times] : world.started)
    CHECK(times == 1);
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("an order that a launcher never takes fails its element, at once") {
  actor_world world{1};
  judge_all(world, judgement::refuses);
  const auto job = submit(world, single("plain"));
  const auto several = submit(world, wide("plain", 2, 2));
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 2));
  CHECK(refused(world) == 3);
  CHECK(lone(world, job).exit.state == job_state::failed);
  CHECK(lone(world, job).exit.reason == "not started: the script says so");
  CHECK(lone(world, several).exit.state == job_state::failed);
  check_all_given_back(world);
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("what a launcher refuses because it is ending waits again, durably, and starts once "
          "another is there") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    judge_all(world, judgement::refuses_at_its_end);
    const auto job = submit(world, single("plain"));
    const auto array = submit(world, array_of("plain", 20));
    world.settle();
    // The daemon ends as well; nothing that never ran is lost.
    world.crash();
    for (auto& launcher : world.launchers)
      launcher->restart();
    judge_all(world, judgement::takes);
    world.start();
    world.connect_launchers();
    CHECK(world.run_until([&] { return world.queue_is_empty(); }, 300));
    CHECK(lone(world, job).exit.state == job_state::completed);
    for (const auto& [element, story] : world.story_of(array))
      CHECK(story.exit.state == job_state::completed);
    for (const auto& [where, times] : world.started)
      CHECK(times == 1);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("an element that cannot be started for want of something rests, and starts in its next "
          "incarnation") {
  actor_world world{1};
  world.launchers[0]->short_starts = 3;
  auto spec = single("plain");
  spec.nodes_required = {"node1"};
  const auto job = submit(world, spec);
  seconds(world, 1);
  CHECK(lone(world, job).ends == 0);
  CHECK(row_of(world, job).state == job_state::pending);
  CHECK(row_of(world, job).reason.find("no process could be made") != std::string::npos);
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 60));
  CHECK(lone(world, job).exit.state == job_state::completed);
  CHECK(lone(world, job).starts == incarnations{1, 2, 3, 4});
  CHECK(world.started.begin()->second == 1);
  check_all_given_back(world);
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE(
    "an element of which a part was lost does not run again because another part could not be "
    "started") {
  for (auto seed : seeds(20)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto spec = wide("endless", 2, 2);
    spec.nodes_required = {"node1", "node2"};
    world.launchers[1]->short_starts = 1;
    const auto job = world.submit(world.user, spec);
    world.settle();
    REQUIRE(world.launchers[0]->running() == 1);
    if (world.random.once_in(2))
      world.drain(); // the shortage is told before the loss
    if (world.random.once_in(2)) {
      world.crash();
      world.start();
      world.launchers[1]->connect();
    }
    world.launchers[0]->restart();
    world.launchers[0]->connect();
    world.settle();
    CHECK(world.run_until([&] { return world.queue_is_empty(); }, 100));
    CHECK(lone(world, **job->answer).exit.state == job_state::lost);
    CHECK(lone(world, **job->answer).starts == incarnations{1});
    CHECK(world.started[{1, **job->answer, no_element}] == 1);
    check_all_given_back(world);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("many elements that cannot be started are not tried one after another without a pause") {
  actor_world world{1};
  for (auto& launcher : world.launchers)
    launcher->short_starts = 1'000'000;
  const auto job = submit(world, array_of("brief", 3000));
  seconds(world, 120);
  std::uint64_t tried = 0;
  for (auto& launcher : world.launchers)
    tried += 1'000'000 - launcher->short_starts;
  CHECK(tried < 300);
  CHECK(row_of(world, job).elements_failed == 0);
  for (auto& launcher : world.launchers)
    launcher->short_starts = 0;
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 600));
  for (const auto& [element, story] : world.story_of(job))
    REQUIRE(story.exit.state == job_state::completed);
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("what waits for a launcher can be cancelled at once, and a rest as well") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    judge_all(world, judgement::refuses_for_now);
    const auto refused_one = submit(world, single("plain"));
    seconds(world, 100); // the next try is a minute away
    world.ask(world.user, cancel_jobs{only(refused_one), "enough"});
    world.drain();
    CHECK(lone(world, refused_one).exit.state == job_state::cancelled);
    judge_all(world, judgement::takes);
    for (auto& launcher : world.launchers)
      launcher->short_starts = 1000;
    const auto rests = submit(world, single("plain"));
    seconds(world, 100);
    world.ask(world.user, cancel_jobs{only(rests), "enough"});
    world.drain();
    CHECK(lone(world, rests).exit.state == job_state::cancelled);
    CHECK(world.queue_is_empty());
    CHECK(world.started.empty());
    check_all_given_back(world);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("an order that grew old before it was signed is made anew") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto job = world.submit(world.user, single("plain"));
    while (!job->answer)
      world.step();
    REQUIRE(*job->answer);
    world.settle_without(world.authority); // it is asked, and does not come to it
    world.advance(31 * ns_per_s);
    CHECK(world.run_until([&] { return world.queue_is_empty(); }, 60));
    CHECK(lone(world, **job->answer).exit.state == job_state::completed);
    CHECK(lone(world, **job->answer).starts == incarnations{1});
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("a cancel that is refused while the order is being signed asks for no second one") {
  actor_world world{1};
  auto spec = array_of("endless", 3);
  spec.nodes_required = {"node1"};
  const auto submitted = world.submit(world.user, spec);
  while (!submitted->answer)
    world.step();
  REQUIRE(*submitted->answer);
  const auto job = **submitted->answer;
  world.settle_without(world.authority);
  REQUIRE(world.ordered == 0);
  const auto cancel = [&](std::uint64_t element) {
    auto one = only(job);
    one.targets.front().elements = number_range{element, element};
    const auto answer = world.ask(world.user, cancel_jobs{one, "not that one"});
    world.settle_without(world.authority);
    return answer;
  };
  const auto kept = cancel(1); // so that what is signed does not leave as it is
  REQUIRE((*kept && **kept));
  world.refuses_append = [](const append_entries& what) {
    return has(what, ledger_entry::kind::cancelled);
  };
  const auto refused = cancel(2);
  REQUIRE((*refused && !**refused));
  world.refuses_append = nullptr;
  seconds(world, 5);
  CHECK(world.launchers[0]->running() == 2);
  for (const auto& [element, story] : world.story_of(job))
    CHECK(story.ends == (element == 1 ? 1 : 0));
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("preempting what cannot be started yet costs a few words, however long it takes") {
  world_shape shape{1, 8, two_queues()};
  actor_world world{1, shape};
  // Its launcher takes orders, and tells nothing of what becomes of them.
  auto victims = world.submit(world.user, array_of("endless", 8));
  world.settle();
  auto urgent = single("plain");
  urgent.queue = "urgent";
  urgent.cores_per_task = 8;
  const auto job = world.submit(world.user, urgent);
  world.settle();
  REQUIRE(world.launchers[0]->running() == 8);
  auto& counters = world.counters_of("job/1");
  const auto before = counters.consumed.load();
  for (int second = 0; second < 120; ++second) {
    world.settle();
    world.advance(ns_per_s);
  }
  CHECK(counters.consumed.load() > before);
  CHECK(counters.consumed.load() - before < 200);
  CHECK(world.run_until([&] { return lone(world, **job->answer).ends == 1; }, 120));
  CHECK(lone(world, **job->answer).exit.state == job_state::completed);
  world.ask(world.user, cancel_jobs{only(**victims->answer), "enough"});
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  check_all_given_back(world);
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("a preemption that the ledger does not take is asked again until it is kept") {
  world_shape shape{1, 2, two_queues()};
  actor_world world{1, shape};
  const auto victim = submit(world, array_of("endless", 2));
  world.refuses_append = [](const append_entries& what) {
    return has(what, ledger_entry::kind::preempted);
  };
  auto urgent = single("plain");
  urgent.queue = "urgent";
  urgent.cores_per_task = 2;
  const auto job = submit(world, urgent);
  seconds(world, 10);
  CHECK(world.launchers[0]->running() == 2);
  world.refuses_append = nullptr;
  CHECK(world.run_until([&] { return lone(world, job).ends == 1; }, 60));
  CHECK(lone(world, job).exit.state == job_state::completed);
  world.ask(world.user, cancel_jobs{only(victim), "enough"});
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("an element whose requeue cannot be written does not start before it is, and runs once "
          "at a time whatever ends meanwhile") {
  for (auto seed : seeds(20)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto spec = array_of("endless", 3);
    spec.requeue = true;
    spec.nodes_required = {"node1"};
    const auto job = submit(world, spec);
    world.refuses_append = [](const append_entries& what) {
      return has(what, ledger_entry::kind::requeued);
    };
    world.launchers[0]->restart(); // all three are lost, and to wait again
    world.launchers[0]->connect();
    seconds(world, 20);
    CHECK(world.launchers[0]->running() == 0);
    for (const auto& [element, story] : world.story_of(job))
      CHECK(story.starts == incarnations{1});
    if (world.random.once_in(2)) {
      world.crash();
      world.start();
      world.connect_launchers();
    }
    world.refuses_append = nullptr;
    seconds(world, 70);
    CHECK(world.launchers[0]->running() == 3);
    world.crash();
    world.start();
    world.connect_launchers();
    world.drain();
    CHECK(world.launchers[0]->running() == 3);
    for (const auto& [element, story] : world.story_of(job))
      CHECK(story.starts == incarnations{1, 2});
    world.ask(world.user, cancel_jobs{only(job), "enough"});
    CHECK(world.run_until([&] { return world.queue_is_empty(); }));
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("the end of a step is not acknowledged before it is durable, however often it is told, "
          "and the step never runs twice") {
  for (auto seed : seeds(20)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto spec = script("endless");
    spec.nodes_required = {"node1"};
    const auto job = submit(world, spec);
    const auto step = world.run_step(world.user, job, no_element, single("failing brief"));
    world.refuses_append = [](const append_entries& what) {
      return has(what, ledger_entry::kind::step_ended);
    };
    seconds(world, 1);
    REQUIRE((*step && **step));
    CHECK(world.launchers[0]->running() == 1);
    world.launchers[0]->disconnect(); // its news comes again
    world.launchers[0]->connect();
    world.drain();
    const auto ordered = world.ordered;
    if (world.random.once_in(2)) {
      world.crash();
      world.start();
      world.launchers[0]->connect();
    }
    world.refuses_append = nullptr;
    seconds(world, 5);
    CHECK(world.ordered == ordered);
    const auto over = world.ask(world.user, await_step{job, (*step)->value().step});
    seconds(world, 1);
    REQUIRE((*over && **over));
    CHECK((*over)->value().exit.exit_code == 3);
    // And nothing that was acknowledged stands in the way of what comes after.
    world.ask(world.user, cancel_jobs{only(job), "enough"});
    CHECK(world.run_until([&] { return world.queue_is_empty(); }));
    CHECK(world.launchers[0]->unacknowledged() == 0);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("a step that ends after thousands of later ones is answered, and so are those before") {
  actor_world world{1};
  auto spec = script("endless");
  spec.nodes_required = {"node1"};
  const auto job = submit(world, spec);
  auto quick = single("brief");
  quick.overlap = true;
  auto slow = single("endless");
  slow.overlap = true;
  const auto first = world.run_step(world.user, job, no_element, slow);
  seconds(world, 1);
  REQUIRE((*first && **first));
  const auto end_of_first = world.ask(world.user, await_step{job, (*first)->value().step});
  const auto second = world.run_step(world.user, job, no_element, quick);
  seconds(world, 1);
  REQUIRE((*second && **second));
  for (int round = 0; round < 42; ++round) {
    for (int i = 0; i < 100; ++i)
      world.run_step(world.user, job, no_element, quick);
    seconds(world, 1);
  }
  REQUIRE(world.launchers[0]->running() == 2);
  world.ask(world.user, signal_step{job, (*first)->value().step, 0, "enough"});
  seconds(world, 2);
  REQUIRE((*end_of_first && **end_of_first));
  CHECK((*end_of_first)->value().exit.state == job_state::cancelled);
  const auto forgotten = world.ask(world.user, await_step{job, (*second)->value().step});
  seconds(world, 1);
  REQUIRE((*forgotten && **forgotten));
  CHECK((*forgotten)->value().exit.state == job_state::completed);
}

TEST_CASE("a step that a launcher refuses for now, or cannot start, goes again") {
  actor_world world{1};
  auto spec = script("endless");
  spec.nodes_required = {"node1"};
  const auto job = submit(world, spec);
  world.launchers[0]->judges = [](const auth::order_view&) { return judgement::refuses_for_now; };
  const auto step = world.run_step(world.user, job, no_element, single("brief"));
  seconds(world, 20);
  CHECK(world.launchers[0]->refused >= 4);
  CHECK(world.launchers[0]->refused <= 6);
  world.launchers[0]->judges = nullptr;
  world.launchers[0]->short_starts = 2;
  seconds(world, 120);
  REQUIRE((*step && **step));
  const auto over = world.ask(world.user, await_step{job, (*step)->value().step});
  seconds(world, 1);
  REQUIRE((*over && **over));
  CHECK((*over)->value().exit.state == job_state::completed);
  world.ask(world.user, cancel_jobs{only(job), "enough"});
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("whoever asks about a step that never came to be is answered") {
  actor_world world{1};
  auto spec = script("endless");
  spec.nodes_required = {"node1"};
  const auto job = submit(world, spec);
  world.refuses_append = [](const append_entries& what) {
    return has(what, ledger_entry::kind::step_started);
  };
  const auto step = world.run_step(world.user, job, no_element, single("brief"));
  world.settle_without(world.authority); // it has a number, and no warrant yet
  const auto over = world.ask(world.user, await_step{job, 1});
  world.settle_without(world.authority);
  REQUIRE_FALSE(*over);
  world.drain();
  REQUIRE(*step);
  CHECK_FALSE(**step);
  REQUIRE(*over);
}

namespace {

job_spec any_job(dice& random) {
  static const std::vector<std::string> names{"plain", "brief", "failing", "endless"};
  const auto name = names[random.below(names.size())];
  auto spec = single(name);
  switch (random.below(4)) {
  case 0: spec = array_of(name, 1 + std::uint32_t(random.below(30))); break;
  case 1: spec = wide(name, 2, 3 + std::uint32_t(random.below(4))); break;
  case 2: spec = array_of(name, 1 + std::uint32_t(random.below(12)), 2); break;
  default: spec.tasks = 1 + std::uint32_t(random.below(3));
  }
  spec.requeue = random.once_in(3);
  if (random.once_in(5))
    spec.time_limit_s = 1 + std::uint32_t(random.below(4));
  return spec;
}

} // namespace

TEST_CASE("every element of any workload ends exactly once, though ledger and launchers refuse "
          "whatever they like for a while") {
  for (auto seed : seeds(100)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto calm = false;
    world.refuses_append = [&](const append_entries&) { return !calm && world.random.once_in(3); };
    for (auto& launcher : world.launchers)
      launcher->judges = [&](const auth::order_view&) {
        if (calm || !world.random.once_in(3))
          return judgement::takes;
        return world.random.once_in(3) ? judgement::refuses_at_its_end : judgement::refuses_for_now;
      };
    steering hand{world, any_job};
    run_workload(
        world, hand,
        [&] {
          auto& launcher = *world.launchers[world.random.below(world.launchers.size())];
          if (world.random.once_in(3))
            launcher.short_starts = 2;
          if (world.random.once_in(6))
            launcher.restart();
          if (world.random.once_in(6)) {
            world.crash();
            world.start();
          }
        },
        [&] { calm = true; });
    check_all_ended(world, [](const job_spec&, const element_story& story) {
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
