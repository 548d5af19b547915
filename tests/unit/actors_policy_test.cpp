// SPDX-License-Identifier: Apache-2.0
#include "config/cluster_config.hpp"
#include "tests/unit/actor_workload.hpp"

// Dependencies, changes of what waits, and preemption by requeue, under random interleavings and
// ends of the daemon at any moment: nothing is lost, run twice in one incarnation, or left waiting.

using namespace troupe;
using namespace troupe::test;

namespace {

std::shared_ptr<cluster_config const> three_queues() {
  auto reading = read_config("[queues.main]\ndefault = true\npriority = 10\n"
                             "[queues.spare]\npriority = 1\ngrace = \"1s\"\n"
                             "[queues.urgent]\npriority = 100\npreempts = [\"spare\"]\n",
                             "troupe.toml");
  REQUIRE(reading.problems == std::vector<std::string>{});
  return std::make_shared<cluster_config const>(std::move(*reading.config));
}

job_spec queued_job(dice& random) {
  static const std::vector<std::string> names{"plain", "brief", "failing", "endless"};
  static const std::vector<std::string> queues{"spare", "spare", "main", "urgent"};
  auto spec = single(names[random.below(names.size())]);
  if (random.once_in(4))
    spec = array_of(spec.name, 1 + std::uint32_t(random.below(6)));
  spec.queue = queues[random.below(queues.size())];
  spec.tasks = 1 + std::uint32_t(random.below(4));
  if (random.once_in(3))
    spec.time_limit_s = 1 + std::uint32_t(random.below(4));
  static const std::vector kinds{dependency_kind::after, dependency_kind::afterany,
                                 dependency_kind::afterok, dependency_kind::afternotok};
  // On those before it; numbers rise from 1.
  for (auto count = random.once_in(2) ? random.below(3) : 0; count > 0; --count)
    spec.dependencies.push_back({kinds[random.below(kinds.size())], 1 + random.below(6)});
  return spec;
}

void change_something(actor_world& world, job_id job) {
  job_changes by;
  switch (world.random.below(5)) {
  case 0: by.tasks = 1 + std::uint32_t(world.random.below(4)); break;
  case 1: by.time_limit_s = 1 + std::uint32_t(world.random.below(4)); break;
  case 2: by.queue = world.random.once_in(2) ? "spare" : "urgent"; break;
  case 3: by.nice = std::int32_t(world.random.below(20)); break;
  default: by.begin_utc_ns = world.keys.clock.utc() + ns_per_s;
  }
  job_selector selector;
  selector.targets.push_back({job, job, {}});
  world.ask(world.user, modify_jobs{selector, by});
}

/// How often an element was told, durably, to make room.
std::uint32_t preemptions(actor_world& world, job_id job, std::uint32_t element) {
  std::uint32_t count = 0;
  (void)world.store().events_of(job, [&](const auto& event) {
    count += event.kind == ledger::event_kind::preempted && event.element == element ? 1 : 0;
  });
  return count;
}

/// Every element ended once, and ran once, and once more at most for each time it was preempted.
void check_outcome(actor_world& world) {
  check_all_ended(world, [](const job_spec&, const element_story&) {});
  for (const auto& [where, times] : world.started) {
    const auto [node, job, element] = where;
    INFO(format_id(job, element) << " on node " << node << ":" << events_of(world, job));
    CHECK(times <= 1 + preemptions(world, job, element));
  }
  check_all_given_back(world);
  for (auto job : world.all_jobs())
    UNSCOPED_INFO("job " << job << ":" << events_of(world, job));
  CHECK(world.violations == std::vector<std::string>{});
}

} // namespace

TEST_CASE("jobs that are changed, depend on others or are preempted end exactly once and are given "
          "back, whatever comes late or twice") {
  std::uint64_t preempted = 0;
  const auto all = seeds(100);
  for (auto seed : all) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed, {3, 4, three_queues()}};
    steering hand{world, queued_job};
    hand.also = [&](job_id job) { change_something(world, job); };
    run_workload(world, hand, [] {});
    check_outcome(world);
    for (auto job : world.all_jobs())
      for (const auto& [element, story] : world.story_of(job))
        preempted += story.starts.size() > 1 ? 1 : 0;
  }
  CHECK((preempted > 0 || all.size() == 1));
}

TEST_CASE(
    "neither an end of the daemon loses a change, a dependency or a preempted job, nor does it "
    "run one twice") {
  for (auto seed : seeds(100)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed, {3, 4, three_queues()}};
    steering hand{world, queued_job};
    hand.also = [&](job_id job) { change_something(world, job); };
    run_workload(world, hand, [&] {
      if (world.random.once_in(4)) {
        world.crash();
        world.start();
      }
    });
    check_outcome(world);
  }
}
