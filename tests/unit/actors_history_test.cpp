// SPDX-License-Identifier: Apache-2.0
#include "actors/past_work.hpp"
#include "messages/cbor.hpp"
#include "tests/unit/actor_world.hpp"

#include <algorithm>
#include <random>

// What is asked of the past, and what a start needs of it.

using namespace troupe;
using namespace troupe::test;
using namespace troupe::actors;

namespace {

ledger::event end_of(std::uint64_t job, std::mt19937_64& random, utc_ns ended) {
  ended_event over;
  over.exit.state = random() % 5 == 0 ? job_state::cancelled : job_state::completed;
  over.ended_utc_ns = ended;
  over.started_utc_ns = ended - static_cast<utc_ns>(1 + random() % 7200) * ns_per_s;
  over.cores = static_cast<std::uint32_t>(random() % 9);
  over.user = "user" + std::to_string(random() % 3);
  over.account = random() % 2 == 0 ? "" : "physics";
  over.time_limit_s = random() % 2 == 0 ? 3600 : 60;
  ledger::event e;
  e.job = job;
  e.kind = ledger::event_kind::ended;
  e.payload = to_cbor(over);
  return e;
}

double total(const past_work& of) {
  double sum = 0;
  for (const auto& each : of.usage)
    sum += each.core_seconds;
  return sum;
}

bool same_runs(const past_work& one, const past_work& other) {
  return std::equal(one.runs.begin(), one.runs.end(), other.runs.begin(), other.runs.end(),
                    [](const past_run& a, const past_run& b) {
                      return a.user == b.user && a.time_limit_s == b.time_limit_s &&
                             a.run_ns == b.run_ns;
                    });
}

} // namespace

TEST_CASE("what is gathered of the past is the same in one reading and in pieces that are kept") {
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 random{seed};
  const quick_directory where;
  const system_clock_source clock;
  ledger::options how;
  how.path = where.file("ledger.db");
  how.ballast_bytes = 0;
  auto store = ledger::store::open(how, clock);
  REQUIRE(store);
  const utc_ns day = 86'400 * ns_per_s;
  const utc_ns first_day = 20'000 * day;
  auto pieces = past_work_book::open(*store);
  REQUIRE(pieces);
  for (std::uint64_t job = 1; job <= 400; ++job) {
    const auto ended = first_day + static_cast<utc_ns>(job) * day / 2;
    REQUIRE(store->append(std::vector<ledger::event>{end_of(job, random, ended)}));
    if (random() % 20 == 0) {
      while (pieces->read_on(*store, 1 + random() % 30).value()) {
      }
      REQUIRE(pieces->keep(*store));
      pieces = past_work_book::open(*store);
      REQUIRE(pieces);
    }
  }
  while (pieces->read_on(*store, 7).value()) {
  }
  past_work_book whole;
  while (whole.read_on(*store, 1'000'000).value()) {
  }
  const auto one = whole.since(0), other = pieces->since(0);
  CHECK(total(one) == Approx(total(other)));
  CHECK(same_runs(one, other));
  CHECK(one.runs.size() == 12); // two of three users with two limits
  CHECK(other.usage.size() < one.usage.size());
  // Of the last week nothing is lost, by hour.
  const auto recent = first_day + 195 * day;
  CHECK(total(whole.since(recent)) == Approx(total(pieces->since(recent))));
  CHECK(std::is_sorted(other.usage.begin(), other.usage.end(),
                       [](const past_usage& a, const past_usage& b) { return a.at < b.at; }));
}

TEST_CASE("the last runs of a user are told after a restart, not the first ones") {
  past_work_book book;
  for (int run = 1; run <= 5; ++run) {
    ended_event over;
    over.exit.state = job_state::completed;
    over.started_utc_ns = run * 1000 * ns_per_s;
    over.ended_utc_ns = over.started_utc_ns + run * ns_per_s;
    over.cores = 1;
    over.user = "somebody";
    book.take(over);
  }
  const auto runs = book.since(0).runs;
  REQUIRE(runs.size() == 2);
  CHECK(runs[0].run_ns == 4 * ns_per_s);
  CHECK(runs[1].run_ns == 5 * ns_per_s);
}

TEST_CASE("a history comes in pages that begin where the one before ended") {
  actor_world world{3};
  std::vector<job_id> jobs;
  for (int i = 0; i < 5; ++i) {
    auto job = world.submit(world.user, single("quick"));
    world.drain();
    REQUIRE(job->answer);
    jobs.push_back(job->answer->value());
  }
  REQUIRE(world.run_until([&] { return world.queue_is_empty(); }));
  std::vector<job_id> seen;
  query_history asked;
  asked.rows_max = 2;
  for (int pages = 0; pages < 10; ++pages) {
    auto page = world.ask(world.ledger, world.user.cap, asked);
    world.settle();
    REQUIRE(page->has_value());
    REQUIRE(page->value());
    for (const auto& row : (**page)->rows)
      seen.push_back(row.job);
    if (!(**page)->more)
      break;
    asked.before = (**page)->before;
  }
  std::reverse(seen.begin(), seen.end());
  CHECK(seen == jobs);
  CHECK(world.violations == std::vector<std::string>{});
}
