// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/random_history.hpp"

#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <regex>

// Random histories, cut off anywhere, some of them spoilt, recovered with other nodes than they
// were made with: the daemon comes up, and every job reaches its end. TROUPE_HISTORIES says how
// many.

using namespace troupe;
using namespace troupe::test;

namespace {

constexpr std::uint32_t jobs_per_life = 40;

std::uint64_t histories_wanted() {
  const char* given = std::getenv("TROUPE_HISTORIES");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 4000;
}

/// What may wait for ever in a cluster whose nodes have changed, or is to.
bool may_wait(const job_row& row) {
  const auto begins = [&](const char* text) { return row.reason.rfind(text, 0) == 0; };
  return row.name == "endless" || row.held || begins("held") || begins("after job") ||
         begins("impossible") || begins("no node") || begins("set aside");
}

std::vector<job_row> rows_of(actor_world& world) {
  list_queue asked;
  asked.rows_max = 10'000;
  auto answer = world.ask(world.user, std::move(asked));
  world.settle();
  REQUIRE(*answer);
  REQUIRE(**answer);
  return (**answer)->rows;
}

bool only_waits(actor_world& world) {
  const auto rows = rows_of(world);
  return std::all_of(rows.begin(), rows.end(), may_wait);
}

void cancel_all(actor_world& world) {
  cancel_jobs all;
  all.selector.all = true;
  all.reason = "the test is over";
  world.ask(world.user, std::move(all));
  world.drain();
}

std::string events_text(actor_world& world, job_id job) {
  std::string text = fmt::format("job {}:", job);
  (void)world.store().events_of(job, [&](const auto& e) {
    text += fmt::format(" {}({})/{}", ledger::to_string(e.kind), e.element, e.incarnation);
  });
  return text;
}

std::string told_of(actor_world& world) {
  std::string text;
  for (const auto& row : rows_of(world)) {
    text += fmt::format("\n  '{}' {} ({}): {}", row.name, to_string(row.state), row.reason,
                        events_text(world, row.job));
  }
  return text;
}

/// What is told of each element of each job is one end.
void check_ends(actor_world& world) {
  for (auto job : world.all_jobs()) {
    const auto state = static_cast<job_state>(world.store().row_of(job)->state);
    if (!is_final(state))
      FAIL("job " << job << " is " << to_string(state) << " at the end");
    for (const auto& [element, story] : world.story_of(job))
      if (story.ends != 1)
        FAIL(format_id(job, element) << " has " << story.ends << " ends");
  }
}

/// A step on cores that the node does not have any more is bound to nothing: it may meet others.
bool is_of_unbound_step(const std::string& violation) {
  static const std::regex step{"[0-9]\\.[0-9]+ in incarnation"};
  return violation.find(" has core ") != std::string::npos && std::regex_search(violation, step);
}

world_shape random_shape(dice& random) {
  return {static_cast<std::uint32_t>(1 + random.below(4)),
          static_cast<std::uint32_t>(2 + random.below(4)),
          {}};
}

/// One life's worth of histories.
void recover_some(std::uint64_t seed) {
  dice shapes{~seed};
  const auto before = random_shape(shapes);
  actor_world world{seed, before};
  random_history history{world};
  history.make(jobs_per_life);
  world.crash();
  const auto spoilt = world.random.once_in(3);
  if (spoilt)
    for (auto times = 1 + world.random.below(4); times > 0; --times)
      history.damage();
  world.write_ledger(history.events());
  history.fill_launchers();
  auto after = random_shape(shapes);
  after.cores -= static_cast<std::uint32_t>(shapes.below(2));
  world.start(after);
  world.connect_launchers();
  world.run_until([] { return false; }, 4);
  cancel_jobs endless;
  endless.selector.name = "endless";
  world.ask(world.user, std::move(endless));
  // Back-offs of up to a minute come one after another.
  const auto rest = world.run_until([&] { return only_waits(world); }, 300);
  if (!rest && !spoilt)
    FAIL("these neither end nor say why they wait:" << told_of(world));
  cancel_all(world);
  if (!world.run_until([&] { return world.queue_is_empty(); }, 60))
    FAIL("these do not end though they are cancelled:" << told_of(world));
  if (after.nodes < before.nodes || after.cores < before.cores)
    std::erase_if(world.violations, is_of_unbound_step);
  if (spoilt) // what runs of a job that nobody can tell of may have cores that others have, too
    std::erase_if(world.violations, [](const std::string& each) {
      return each.find(" failed: ") == std::string::npos;
    });
  else
    check_ends(world);
  if (!world.violations.empty()) {
    for (auto job : world.all_jobs())
      UNSCOPED_INFO(events_text(world, job));
    FAIL(world.violations.front());
  }
  auto figures = world.planner_status();
  if (figures["units running"] != "0" || figures["cores free"] != figures["cores up"] ||
      figures["audit of its own figures"] != "right")
    FAIL("the planner has " << figures["units running"] << " units, " << figures["cores free"]
                            << " of " << figures["cores up"] << " cores free, and its figures are "
                            << figures["audit of its own figures"]);
}

} // namespace

TEST_CASE("whatever a job's history, it is recovered with whatever nodes and reaches its end") {
  const auto begun = std::chrono::steady_clock::now();
  const auto all = seeds((histories_wanted() + jobs_per_life - 1) / jobs_per_life);
  for (auto seed : all) {
    INFO("TROUPE_TEST_SEED=" << seed);
    recover_some(seed);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  std::printf("%zu histories, %.0f a second\n", all.size() * jobs_per_life,
              static_cast<double>(all.size() * jobs_per_life) / took.count());
}
