// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include <csignal>
#include <filesystem>
#include <sys/resource.h>

// What waits for the disk, with a ledger that does not get to write, or has no room to.

using namespace troupe;
using namespace troupe::test;

namespace {

/// No file takes more than so many bytes.
class full_disk {
public:
  explicit full_disk(std::uintmax_t bytes_max) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit low{bytes_max, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &low);
  }
  full_disk(const full_disk&) = delete;
  full_disk& operator=(const full_disk&) = delete;
  ~full_disk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

private:
  rlimit before_{};
};

job_selector only(job_id job) {
  job_selector selector;
  selector.targets.push_back({job, job, {}});
  return selector;
}

/// A job that runs, as everybody knows.
job_id running_job(actor_world& world, const char* name) {
  auto job = world.submit(world.user, single(name));
  world.drain();
  REQUIRE(job->answer);
  REQUIRE(*job->answer);
  REQUIRE(world.ordered > 0);
  return **job->answer;
}

std::size_t running_elements(const actor_world& world) {
  std::size_t count = 0;
  for (const auto& launcher : world.launchers)
    count += launcher->running();
  return count;
}

void tell_of_end(actor_world& world) {
  for (auto& launcher : world.launchers) {
    launcher->end_one();
    launcher->flush();
    while (launcher->deliver()) {
    }
  }
}

} // namespace

TEST_CASE("a submission is not answered before the ledger has written it") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto job = world.submit(world.user, single("endless"));
    world.settle_without(world.ledger);
    CHECK_FALSE(job->answer);
    world.settle();
    REQUIRE(job->answer);
    REQUIRE(*job->answer);
    CHECK(world.store().submitted_payload(**job->answer));
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("no order leaves before its start is written") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto job = world.submit(world.user, array_of("endless", 8));
    while (!job->answer)
      world.step();
    REQUIRE(*job->answer);
    world.settle_without(world.ledger);
    CHECK(world.ordered == 0);
    world.settle();
    CHECK(world.ordered > 0);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("no end is acknowledged, nor told to who waits for it, before it is written") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    const auto job = running_job(world, "endless");
    auto ends = world.ask(world.user, await_jobs{only(job).targets});
    world.settle();
    tell_of_end(world);
    world.settle_without(world.ledger);
    CHECK(world.acknowledged == 0);
    CHECK_FALSE(*ends);
    world.settle();
    CHECK(world.acknowledged == 1);
    REQUIRE(*ends);
    REQUIRE(**ends);
    CHECK((*ends)->value().ends.front().exit.state == job_state::completed);
    CHECK(world.story_of(job).at(no_element).ends == 1);
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("a hold, a release, a drain and a cancel are not answered before they are written") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    const auto an_operator = world.log_in(2);
    auto waits_for_the_disk = [&](auto message) {
      auto answer = world.ask(an_operator, std::move(message));
      world.settle_without(world.ledger);
      CHECK_FALSE(*answer);
      world.settle();
      REQUIRE(*answer);
      REQUIRE(**answer);
    };
    auto spec = array_of("endless", 4);
    spec.held = true;
    const auto waiting = world.submit(world.user, spec);
    world.settle();
    waits_for_the_disk(release_jobs{only(**waiting->answer)});
    world.drain();
    CHECK(running_elements(world) == 4);
    spec.held = false;
    spec.cores_per_task = 4; // behind the first
    const auto behind = world.submit(world.user, spec);
    world.settle();
    waits_for_the_disk(hold_jobs{only(**behind->answer)});
    waits_for_the_disk(cancel_jobs{only(**behind->answer), "waits"});
    waits_for_the_disk(cancel_jobs{only(**waiting->answer), "runs"});
    waits_for_the_disk(set_nodes{{"node1"}, node_state::drained, "new disk"});
    CHECK(world.run_until([&] { return world.queue_is_empty(); }));
    for (const auto& [element, story] : world.story_of(**waiting->answer)) {
      CHECK(story.ends == 1);
      CHECK(story.exit.state == job_state::cancelled);
      CHECK(story.exit.reason == "runs");
    }
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("what was to be ended is ended after a restart, though no launcher had heard of it") {
  for (auto seed : seeds(10)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    actor_world world{seed};
    auto job = world.submit(world.user, array_of("endless", 4));
    world.drain();
    REQUIRE(running_elements(world) == 4);
    auto selector = only(**job->answer);
    selector.targets.front().elements = number_range{2, 3};
    for (auto& launcher : world.launchers)
      launcher->disconnect();
    auto answer = world.ask(world.user, cancel_jobs{selector, "enough"});
    world.settle();
    REQUIRE(*answer);
    REQUIRE(**answer);
    CHECK((**answer)->elements == 2);
    world.crash();
    world.start();
    world.connect_launchers();
    CHECK(world.run_until([&] { return running_elements(world) == 2; }));
    world.drain();
    const auto stories = world.story_of(**job->answer);
    for (auto [element, ends] : {std::pair{1, 0}, {2, 1}, {3, 1}, {4, 0}}) {
      INFO("element " << element);
      CHECK(stories.at(static_cast<std::uint32_t>(element)).ends == static_cast<std::size_t>(ends));
      if (ends == 1) {
        CHECK(stories.at(static_cast<std::uint32_t>(element)).exit.state == job_state::cancelled);
        CHECK(stories.at(static_cast<std::uint32_t>(element)).exit.reason == "enough");
      }
    }
    CHECK(world.violations == std::vector<std::string>{});
  }
}

TEST_CASE("on a full disk a submission is refused with a sentence and leaves nothing behind") {
  actor_world world{1};
  const auto before = world.all_jobs().size();
  std::shared_ptr<submitted_job> job;
  {
    full_disk no_room{std::filesystem::file_size(world.audit_path()) + 1000}; // less than a page
    job = world.submit(world.user, single("endless"));
    world.settle();
  }
  REQUIRE(job->answer);
  REQUIRE_FALSE(*job->answer);
  CHECK(job->answer->error().code == errc::storage);
  INFO(job->answer->error().text);
  CHECK(job->answer->error().text.find("its file system is full; free space there") !=
        std::string::npos);
  // Neither when there is room nor after a restart does it run.
  for (const auto restarts : {false, true}) {
    if (restarts) {
      world.crash();
      world.start();
      world.connect_launchers();
    }
    world.advance(ns_per_s); // the ledger looks at its disk again after a while
    world.drain();
    CHECK(world.ordered == 0);
    CHECK(world.all_jobs().size() == before);
    CHECK(world.queue_is_empty());
  }
  CHECK(running_job(world, "endless") != 0);
}

TEST_CASE("while the ledger takes ends alone, what waits or runs is cancelled all the same") {
  actor_world world{1};
  auto spec = array_of("endless", 20); // more than there are cores
  const auto running = world.submit(world.user, spec);
  spec.held = true;
  const auto waiting = world.submit(world.user, spec);
  world.drain();
  REQUIRE(running_elements(world) == 12);
  world.refuses_append = [](const append_entries& what) { return !what.essential; };
  const auto hold = world.ask(world.user, release_jobs{only(**waiting->answer)});
  auto rest = only(**running->answer);
  rest.targets.front().elements = number_range{15, 20};
  const auto some = world.ask(world.user, cancel_jobs{rest, "enough"});
  world.settle();
  CHECK((*hold && !**hold));
  REQUIRE((*some && **some));
  CHECK((*some)->value().elements == 6);
  for (const auto& job : {running, waiting}) {
    const auto all = world.ask(world.user, cancel_jobs{only(**job->answer), "enough"});
    world.settle();
    REQUIRE((*all && **all));
  }
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("on a full disk nothing starts, and what was placed starts when there is room") {
  actor_world world{1};
  auto job = world.submit(world.user, single("endless"));
  while (!job->answer)
    world.step();
  {
    full_disk no_room{100};
    world.settle();
    world.advance(3 * ns_per_s);
    world.settle();
    CHECK(world.ordered == 0);
  }
  world.run_until([&] { return world.ordered > 0; }, 5);
  CHECK(world.ordered == 1);
  CHECK(world.story_of(**job->answer).at(no_element).starts == std::set<std::uint32_t>{1});
}

TEST_CASE("while a start cannot be recorded, queue and why say so, and no longer when it is") {
  actor_world world{1};
  const auto running = world.submit(world.user, array_of("brief", 2000));
  world.run_until([&] { return world.ordered > 0; }, 5);
  world.refuses_append = [](const append_entries& what) { return !what.essential; };
  const auto alone = world.submit(world.user, single("endless"));
  world.settle();
  CHECK((alone->answer && !*alone->answer)); // refused: what waits was there before
  const auto told = [&] {
    const auto why = world.ask(world.user, why_job{**running->answer});
    const auto view = world.ask(world.user, show_job{**running->answer});
    world.settle();
    REQUIRE((*why && **why));
    REQUIRE((*view && **view));
    return std::pair{(*why)->value().sentence, (*view)->value().row.reason};
  };
  const auto start_refused = [&] {
    const auto [sentence, reason] = told();
    return sentence == reason && reason.find("cannot record a start, tried again after") == 0;
  };
  CHECK(world.run_until(start_refused, 30));
  world.refuses_append = nullptr;
  CHECK(world.run_until([&] { return told().second.empty(); }, 100));
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 600));
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("an end that finds the disk full is kept by its launcher, and written when there is "
          "room") {
  actor_world world{1};
  const auto job = running_job(world, "endless");
  {
    full_disk no_room{100};
    tell_of_end(world);
    for (int second = 0; second < 5; ++second) {
      world.settle();
      world.advance(ns_per_s);
    }
    CHECK(running_elements(world) == 0);
    CHECK(world.acknowledged == 0);
    CHECK(world.story_of(job).at(no_element).ends == 0);
  }
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 5));
  CHECK(world.acknowledged == 1);
  CHECK(world.story_of(job).at(no_element).ends == 1);
  CHECK(world.planner_status()["units running"] == "0");
}
