// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/interval_set.hpp"
#include "messages/cbor.hpp"
#include "tests/unit/actor_world.hpp"

#include <fmt/format.h>

// Random workloads for the controller's actors: what is done meanwhile, and what must hold at their
// end.

namespace troupe::test {

inline constexpr std::uint32_t jobs_submitted = 14;
inline constexpr std::uint32_t turns = 4000;

/// What somebody does to the jobs meanwhile.
class steering {
public:
  using maker = job_spec (*)(dice&);
  steering(actor_world& world, maker make) : world_{world}, make_{make} {}

  void submit() { jobs.push_back(world_.submit(world_.user, make_(world_.random))); }

  /// What is done to some job now and then.
  std::function<void(job_id)> also;

  void act() {
    auto job = any();
    if (!job)
      return;
    if (also && world_.random.once_in(2))
      return also(**job->answer);
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

inline void launcher_acts(actor_world& world, scripted_launcher& launcher) {
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
inline void run_workload(
    actor_world& world, steering& hand, const std::function<void()>& disaster,
    const std::function<void()>& then = [] {}) {
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
  then();
  world.connect_launchers();
  world.drain();
  hand.let_all_end();
  CHECK(world.run_until([&] { return world.queue_is_empty(); }, 300));
}

inline std::string events_of(actor_world& world, job_id job) {
  std::string all;
  (void)world.store().events_of(job, [&](const auto& e) {
    all += fmt::format(" {}({})/{}", ledger::to_string(e.kind), e.element, e.incarnation);
  });
  return all;
}

/// Elements that were placed when they were cancelled, and then put back: that they waited again
/// was durable, and no start of theirs after it. A recovery takes them for cancelled, and writes no
/// end of their own (job_story::apply_cancels).
inline interval_set cancelled_where_they_wait(actor_world& world, job_id job) {
  interval_set waiting, cancelled;
  (void)world.store().events_of(job, [&](const ledger::stored_event& stored) {
    if (stored.kind == ledger::event_kind::requeued) {
      const auto event = from_cbor<requeued_event>(stored.payload);
      waiting.insert(event->element_first, event->element_last);
    } else if (stored.kind == ledger::event_kind::starting) {
      const auto event = from_cbor<starting_event>(stored.payload);
      waiting.erase(event->element_first, event->element_last);
    } else if (stored.kind == ledger::event_kind::cancelled) {
      const auto event = from_cbor<cancelled_event>(stored.payload);
      for (const auto& range : event->placed)
        cancelled.insert(static_cast<std::uint32_t>(range.first),
                         static_cast<std::uint32_t>(range.last));
    }
  });
  interval_set both;
  for (auto [first, last] : waiting.intervals())
    for (auto [low, high] : cancelled.intervals())
      if (std::max(first, low) <= std::min(last, high))
        both.insert(std::max(first, low), std::min(last, high));
  return both;
}

/// Every element of every job that the ledger has.
inline void
check_all_ended(actor_world& world,
                const std::function<void(const job_spec&, const element_story&)>& check) {
  for (auto job : world.all_jobs()) {
    const auto spec = world.spec_of(job);
    const auto state = static_cast<job_state>(world.store().row_of(job)->state);
    INFO("job " << job << " of '" << spec.name << "' is " << to_string(state) << ":"
                << events_of(world, job));
    if (!is_final(state)) {
      auto why = world.ask(world.user, why_job{job});
      world.settle();
      UNSCOPED_INFO((*why && **why ? (**why)->sentence : "nobody can say why"));
    }
    CHECK(is_final(state));
    const auto waited = cancelled_where_they_wait(world, job);
    for (const auto& [element, story] : world.story_of(job)) {
      INFO(format_id(job, element)
           << " " << to_string(story.exit.state) << ": " << story.exit.reason);
      // story_of() tells the end of those that had never started by itself.
      const auto by_cancel = story.ends == 0 && !story.starts.empty() && waited.contains(element);
      CHECK(story.ends + (by_cancel ? 1 : 0) == 1);
      CHECK((story.exit.state != job_state::timed_out || spec.time_limit_s > 0));
      check(spec, story);
    }
  }
}

inline void check_all_given_back(actor_world& world) {
  auto figures = world.planner_status();
  CHECK(figures["cores free"] == figures["cores up"]);
  CHECK(figures["units running"] == "0");
  CHECK(figures["jobs waiting"] == "0");
  CHECK(figures["audit of its own figures"] == "right");
  for (const auto& row : world.counters().rows())
    CHECK(row.name.substr(0, 4) != "job/");
}

} // namespace troupe::test
