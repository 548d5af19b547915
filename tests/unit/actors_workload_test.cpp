// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include <fmt/format.h>

// Random workloads under random interleavings: jobs of every shape, steered while they run, on
// launchers whose news comes late, twice, or again after a broken connection.

using namespace troupe;
using namespace troupe::test;

namespace {

constexpr std::uint32_t jobs_submitted = 14;
constexpr std::uint32_t turns = 4000;

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

/// What somebody does to the jobs meanwhile.
class steering {
public:
  using maker = job_spec (*)(dice&);
  steering(actor_world& world, maker make) : world_{world}, make_{make} {}

  void submit() { jobs.push_back(world_.submit(world_.user, make_(world_.random))); }

  void act() {
    auto job = any();
    if (!job)
      return;
    switch (world_.random.below(4)) {
    case 0: world_.ask(world_.user, hold_jobs{one(*job)}); break;
    case 1: world_.ask(world_.user, release_jobs{one(*job)}); break;
    case 2: world_.ask(world_.user, cancel_jobs{some_of(*job), "some"}); break;
    default: world_.ask(world_.user, cancel_jobs{one(*job), "all"});
    }
  }

  /// Lets what is held go, and ends what would run for ever.
  void let_all_end() {
    for (auto id : world_.all_jobs()) {
      job_selector selector;
      selector.targets.push_back({id, id, {}});
      world_.ask(world_.user, release_jobs{selector});
      if (world_.store().row_of(id)->name == "endless")
        world_.ask(world_.user, cancel_jobs{selector, "all"});
    }
  }

  std::vector<std::shared_ptr<submitted_job>> jobs;

private:
  std::shared_ptr<submitted_job> any() {
    if (jobs.empty())
      return nullptr;
    auto job = jobs[world_.random.below(jobs.size())];
    return job->answer && *job->answer ? job : nullptr;
  }
  static job_selector one(const submitted_job& job) {
    job_selector selector;
    selector.targets.push_back({**job.answer, **job.answer, {}});
    return selector;
  }
  job_selector some_of(const submitted_job& job) {
    auto selector = one(job);
    if (job.spec.array) {
      const auto first = 1 + world_.random.below(10);
      selector.targets.front().elements = number_range{first, first + world_.random.below(5)};
    }
    return selector;
  }

  actor_world& world_;
  maker make_;
};

void launcher_acts(actor_world& world, scripted_launcher& launcher) {
  switch (world.random.below(12)) {
  case 0: launcher.repeat(); break;
  case 1: launcher.end_one(); break;
  case 2:
    if (world.random.once_in(6))
      launcher.disconnect();
    break;
  case 3: launcher.connect(); break;
  case 4:
  case 5: launcher.work(); break;
  case 6:
  case 7: launcher.flush(); break;
  default: launcher.deliver();
  }
}

/// The whole of a run: a workload, interleaved and steered as the seed says, to its end.
void run_workload(actor_world& world, steering& hand, const std::function<void()>& disaster) {
  for (std::uint32_t turn = 0; turn < turns; ++turn) {
    const auto drawn = world.random.below(100);
    if (drawn < 70)
      world.step();
    else if (drawn < 92)
      launcher_acts(world, *world.launchers[world.random.below(world.launchers.size())]);
    else if (drawn < 95)
      world.advance(std::int64_t(world.random.below(300)) * ns_per_ms);
    else if (drawn < 97 && hand.jobs.size() < jobs_submitted)
      hand.submit();
    else if (drawn == 97)
      hand.act();
    else if (drawn == 98)
      disaster();
  }
  world.connect_launchers();
  world.drain();
  hand.let_all_end();
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
}

std::string events_of(actor_world& world, job_id job) {
  std::string all;
  (void)world.store().events_of(job, [&](const auto& e) {
    all += fmt::format(" {}({})/{}", ledger::to_string(e.kind), e.element, e.incarnation);
  });
  return all;
}

/// Every element of every job that the ledger has.
void check_all_ended(actor_world& world,
                     const std::function<void(const job_spec&, const element_story&)>& check) {
  for (auto job : world.all_jobs()) {
    const auto spec = world.spec_of(job);
    const auto state = static_cast<job_state>(world.store().row_of(job)->state);
    INFO("job " << job << " of '" << spec.name << "' is " << to_string(state) << ":"
                << events_of(world, job));
    CHECK(is_final(state));
    for (const auto& [element, story] : world.story_of(job)) {
      INFO(format_id(job, element)
           << " " << to_string(story.exit.state) << ": " << story.exit.reason);
      CHECK(story.ends == 1);
      CHECK((story.exit.state != job_state::timed_out || spec.time_limit_s > 0));
      check(spec, story);
    }
  }
}

void check_all_given_back(actor_world& world) {
  auto figures = world.planner_status();
  CHECK(figures["cores free"] == figures["cores up"]);
  CHECK(figures["units running"] == "0");
  CHECK(figures["jobs waiting"] == "0");
  CHECK(figures["audit of its own figures"] == "right");
  for (const auto& row : world.counters().rows())
    CHECK(row.name.substr(0, 4) != "job/");
}

} // namespace

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
