// SPDX-License-Identifier: Apache-2.0
// The policies over interchangeable processors: against a slow, obvious reference, and for what
// must hold whatever the workload is.
#include "runtime/plan/processors.hpp"
#include "runtime/plan/profile.hpp"
#include "tests/catch.hpp"
#include "tests/unit/plan_random.hpp"
#include "tests/unit/pool_reference.hpp"

namespace {

using namespace troupe;
using plan::instant;
using plan::never;
using plan::pool_policy;
using plan::queue_order;
using plan::random::generator;

constexpr std::uint64_t first_seed = 20261121;

/// Small numbers, so that much happens in the same second and much fits exactly.
std::vector<sim::workload_job> some_jobs(generator& g, std::uint32_t processors,
                                         std::uint32_t count) {
  std::vector<sim::workload_job> jobs;
  instant submit = g.between(0, 3);
  auto longest = g.one_in(3) ? 200u : 12u; // long ones outlive an estimate more than once
  for (std::uint32_t i = 0; i < count; ++i) {
    submit += g.one_in(2) ? 0 : g.between(0, 4);
    std::int64_t run = g.between(1, longest);
    auto request = g.one_in(3) ? run : run + g.between(0, longest);
    auto wanted = g.one_in(4) ? g.between(1, processors) : g.between(1, (processors + 2) / 3);
    jobs.push_back({i + 1, submit, run, request, wanted, g.between(1, 3)});
  }
  return jobs;
}

sim::replay_options some_options(generator& g, std::uint32_t processors) {
  sim::replay_options out;
  out.machine.processors = processors;
  out.machine.policy = static_cast<pool_policy>(g.between(0, 3));
  if (g.one_in(2))
    out.machine.order = static_cast<queue_order>(g.between(0, 8));
  if (g.one_in(2))
    out.machine.backfill_order = static_cast<queue_order>(g.between(0, 8));
  if (g.one_in(3))
    out.machine.overtake_limit = g.between(1, 30);
  out.estimates = static_cast<plan::estimates>(g.between(0, 2));
  out.correction = static_cast<plan::correction>(g.between(0, 1));
  out.events = static_cast<sim::event_mode>(g.between(0, 1));
  return out;
}

std::string described(const sim::replay_options& how) {
  return std::string{to_string(how.machine.policy)} + " " +
         std::string{to_string(how.machine.order)} + " " +
         std::string{to_string(how.machine.backfill_order)} + " " +
         std::string{to_string(how.estimates)} + " " + std::string{to_string(how.correction)} +
         (how.events == sim::event_mode::each ? " each" : " instant");
}

/// At no second more processors than there are.
bool within(const std::vector<sim::workload_job>& jobs, const std::vector<instant>& starts,
            std::uint32_t processors) {
  std::map<instant, std::int64_t> change;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    change[starts[i]] += jobs[i].processors;
    change[starts[i] + jobs[i].run] -= jobs[i].processors;
  }
  std::int64_t used = 0;
  for (const auto& [at, by] : change)
    if ((used += by) > processors)
      return false;
  return true;
}

/// Plays a workload of exact predictions into a planner, noting promises as they are made.
template <class Look>
std::vector<instant> play_exactly(const std::vector<sim::workload_job>& jobs,
                                  plan::pool_planner& planner, Look look) {
  std::vector<instant> starts(jobs.size(), never);
  std::vector<plan::pool_start> decided;
  std::size_t over = 0;
  std::uint32_t next = 0;
  for (instant now = 0; over < jobs.size(); ++now) {
    auto pass = [&] {
      decided.clear();
      planner.pass(now, decided);
      for (const auto& start : decided)
        starts[start.number] = now;
      look(planner, starts, now);
    };
    for (; next < jobs.size() && jobs[next].submit == now; ++next) {
      const auto& job = jobs[next];
      REQUIRE(planner.submit({next, job.processors, job.run, job.submit}));
      pass();
    }
    for (std::uint32_t i = 0; i < jobs.size(); ++i)
      if (starts[i] != never && starts[i] + jobs[i].run == now) {
        planner.ended(i, now);
        ++over;
        pass();
      }
    pass();
  }
  return starts;
}

} // namespace

TEST_CASE("every policy starts every job when the slow reference does") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 3000; ++seed) {
    generator g{seed};
    auto processors = g.between(1, 12);
    auto jobs = some_jobs(g, processors, g.between(1, 24));
    auto how = some_options(g, processors);
    INFO("seed " << seed << ": " << described(how));
    auto starts = sim::replay(jobs, how);
    REQUIRE(starts);
    REQUIRE(*starts == plan::pool_reference::world(jobs, how).play());
  }
}

TEST_CASE("no processor is given twice, nobody starts before his submission, all start") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 400; ++seed) {
    generator g{seed};
    auto processors = g.between(1, 64);
    auto jobs = some_jobs(g, processors, 400);
    auto how = some_options(g, processors);
    INFO("seed " << seed << ": " << described(how));
    auto starts = sim::replay(jobs, how);
    REQUIRE(starts);
    REQUIRE(within(jobs, *starts, processors));
    for (std::size_t i = 0; i < jobs.size(); ++i)
      REQUIRE(((*starts)[i] >= jobs[i].submit && (*starts)[i] != never));
    REQUIRE(*sim::replay(jobs, how) == *starts);
  }
}

TEST_CASE("a backfilled job never delays the reservation it must respect") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 200; ++seed) {
    generator g{seed};
    auto processors = g.between(2, 16);
    auto jobs = some_jobs(g, processors, 60);
    plan::pool_config how{processors, pool_policy::easy, queue_order::fcfs,
                          static_cast<queue_order>(g.between(0, 7))};
    auto planner = plan::make_pool_planner(how);
    REQUIRE(planner);
    std::map<std::uint32_t, instant> promised;
    auto starts = play_exactly(jobs, **planner, [&](const auto& of, const auto&, auto) {
      if (auto promise = of.promise())
        promised.emplace(promise->number, promise->at);
    });
    INFO("seed " << seed);
    for (auto [number, at] : promised)
      REQUIRE(starts[number] <= at);
  }
}

TEST_CASE("whoever is overdue is overtaken by nobody who would delay him, however short") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 200; ++seed) {
    generator g{seed};
    auto processors = g.between(2, 16);
    auto jobs = some_jobs(g, processors, 60);
    plan::pool_config how{processors, pool_policy::slowdown, {}, {}};
    if (g.one_in(2))
      how = {processors, pool_policy::easy, queue_order::sjf, queue_order::sjf};
    how.overtake_limit = g.between(1, 30);
    auto planner = plan::make_pool_planner(how);
    REQUIRE(planner);
    std::map<std::uint32_t, instant> promised;
    auto starts = play_exactly(jobs, **planner, [&](const auto& of, const auto& so_far, auto now) {
      auto promise = of.promise();
      if (!promise)
        return;
      // With the same limit for all, the oldest that waits is the first to be overdue.
      std::uint32_t oldest = 0;
      while (so_far[oldest] != never)
        ++oldest;
      if (now >= jobs[oldest].submit + how.overtake_limit) {
        REQUIRE(promise->number == oldest);
        promised.emplace(oldest, promise->at);
      }
    });
    INFO("seed " << seed);
    for (auto [number, at] : promised)
      REQUIRE(starts[number] <= at);
  }
}

TEST_CASE("conservative backfill never starts a job later than first promised") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 200; ++seed) {
    generator g{seed};
    auto processors = g.between(2, 16);
    auto jobs = some_jobs(g, processors, 60);
    auto planner =
        plan::make_pool_planner({processors, pool_policy::conservative, queue_order::fcfs, {}});
    REQUIRE(planner);
    std::map<std::size_t, instant> promised;
    auto starts = play_exactly(jobs, **planner, [&](const auto& of, const auto& so_far, auto) {
      for (std::uint32_t i = 0; i < so_far.size() && of.submitted() > i; ++i)
        promised.emplace(i, of.promised_start(i));
    });
    INFO("seed " << seed);
    for (auto [number, at] : promised)
      REQUIRE(starts[number] <= at);
  }
}

TEST_CASE("a reservation is at the first time that the list of ends gives") {
  generator g{first_seed};
  for (int round = 0; round < 3000; ++round) {
    auto count = g.between(4, 600);
    plan::processors machine{count};
    std::vector<plan::processors::ending> running;
    for (std::uint32_t job = 0; machine.free() > 0; ++job) {
      running.push_back({g.between(1, 40), job, g.between(1, std::min(machine.free(), 3u))});
      machine.start(running.back());
      if (g.one_in(20))
        break;
    }
    while (running.size() > 1 && g.one_in(2)) {
      REQUIRE(machine.end(running.back()));
      running.pop_back();
    }
    if (machine.free() == count)
      continue;
    auto wanted = g.between(machine.free() + 1, count);
    instant at = 0;
    std::uint64_t free = machine.free();
    while (free < wanted) {
      ++at;
      for (const auto& job : running)
        free += job.at == at ? job.processors : 0;
    }
    REQUIRE(machine.reserve(wanted) ==
            plan::processor_reservation(at, static_cast<std::uint32_t>(free - wanted)));
  }
}

TEST_CASE("a profile knows the free processors of every second") {
  constexpr instant seconds = 60;
  for (std::uint64_t seed = first_seed; seed < first_seed + 1000; ++seed) {
    generator g{seed};
    std::uint32_t count = 8;
    plan::profile fast{count};
    std::vector<std::int64_t> slow(2 * seconds, count);
    instant now = 0;
    for (int i = 0; i < 40; ++i) {
      auto from = now + g.between(0, 20);
      auto to = from + g.between(1, 20);
      auto by = g.between(1, 4);
      bool take = std::all_of(slow.begin() + from, slow.begin() + to,
                              [&](auto free) { return free >= by; });
      take ? fast.take(from, to, by) : fast.give(from, to, by);
      for (auto at = from; at < to; ++at)
        slow[static_cast<std::size_t>(at)] += take ? -std::int64_t{by} : by;
      if (g.one_in(4) && now < seconds - 41)
        fast.advance(now += g.between(0, 2));
      auto wanted = g.between(1, count);
      auto length = g.between(1, 15);
      auto begin = now;
      while (!std::all_of(slow.begin() + begin, slow.begin() + begin + length,
                          [&](auto free) { return free >= wanted; }))
        ++begin;
      REQUIRE(fast.earliest(wanted, length, now) == begin);
    }
  }
}
