// SPDX-License-Identifier: Apache-2.0
#include "actors/plan_time.hpp"
#include "actors/queue_numbers.hpp"
#include "actors/scheduler/meanwhile.hpp"
#include "actors/scheduler/target_set.hpp"
#include "actors/shares.hpp"
#include "tests/catch.hpp"
#include "tests/unit/auth_world.hpp"

// The plain parts that the scheduler and the planner are made of.

using namespace troupe;
using namespace troupe::actors;

namespace {

job_selector::target jobs(job_id first, job_id last) {
  return {first, last, std::nullopt};
}

job_selector::target elements(job_id job, std::uint64_t first, std::uint64_t last) {
  return {job, job, number_range{first, last}};
}

cluster_config queues(const std::vector<std::string>& names) {
  cluster_config config;
  config.default_queue = names.front();
  for (const auto& name : names)
    config.queues.emplace_back().name = name;
  return config;
}

} // namespace

// -- what a client names ------------------------------------------------------------

TEST_CASE("jobs and elements count once, however often they are named") {
  const auto set = target_set::of({jobs(3, 7), jobs(5, 9), jobs(10, 10), jobs(10, 10), jobs(20, 20),
                                   elements(20, 1, 4), elements(30, 2, 3), elements(30, 3, 5)});
  REQUIRE(set);
  CHECK(set->whole() == std::vector<job_range>{{3, 10}, {20, 20}});
  CHECK(set->jobs() == std::vector<job_range>{{3, 10}, {20, 20}, {30, 30}});
  REQUIRE(set->elements().size() == 1);
  CHECK(set->elements().at(30).count() == 4);
  CHECK(set->count() == 8 + 1 + 4);
  CHECK(set->by_number(10));
  CHECK(set->by_number(30));
  CHECK_FALSE(set->by_number(3));
}

TEST_CASE("the count of what is named does not run over") {
  const auto all = std::numeric_limits<job_id>::max();
  const auto set = target_set::of({jobs(0, all), elements(1, 1, 5)});
  REQUIRE(set);
  CHECK(set->whole() == std::vector<job_range>{{0, all}});
  CHECK(set->count() == all);
}

TEST_CASE("what names no jobs or elements that there could be is refused with a sentence") {
  for (const auto& wrong : {jobs(9, 3), job_selector::target{3, 9, number_range{1, 1}},
                            elements(3, 5, 4), elements(3, 0, 0x100000001)}) {
    const auto set = target_set::of({wrong});
    REQUIRE_FALSE(set);
    CHECK(set.error().code == errc::invalid);
    CHECK_FALSE(set.error().text.empty());
  }
}

// -- what has ended meanwhile -----------------------------------------------------------

TEST_CASE("what has ended is known as long as a submission under way may have missed it") {
  meanwhile ended;
  job_row row;
  row.job = 1;
  ended.ended(row);
  CHECK(ended.find(1) == nullptr); // none was under way
  const auto first = ended.begin();
  row.job = 2;
  ended.ended(row);
  const auto second = ended.begin();
  row.job = 3;
  ended.ended(row);
  ended.end(first);
  CHECK(ended.find(2) == nullptr);
  CHECK(ended.find(3) != nullptr);
  ended.end(second);
  CHECK(ended.size() == 0);
}

TEST_CASE("submissions that overlap without an end let no more be kept than they can have missed") {
  meanwhile ended;
  auto under_way = ended.begin();
  std::size_t most = 0;
  for (job_id job = 1; job <= 10'000; ++job) {
    job_row row;
    row.job = job;
    ended.ended(row);
    const auto next = ended.begin();
    ended.end(under_way);
    under_way = next;
    most = std::max(most, ended.size());
  }
  CHECK(most <= 2);
}

// -- queues' numbers -----------------------------------------------------------------------

TEST_CASE("a queue keeps its number, and those of queues that are gone are given to others") {
  queue_numbers numbers;
  REQUIRE(numbers.take(queues({"main", "a"})));
  const auto main = numbers.of("main");
  CHECK(main != queue_numbers::none);
  CHECK(numbers.of("other") == queue_numbers::none);
  for (int i = 0; i < 1000; ++i) {
    const auto name = "q" + std::to_string(i);
    REQUIRE(numbers.take(queues({"main", name})));
    CHECK(numbers.of("main") == main);
    CHECK(numbers.of(name) < plan::queues_max);
    CHECK(numbers.name_of(numbers.of(name)) == name);
  }
}

TEST_CASE("numbers that nobody has any more are told, and those that were taken over are not") {
  queue_numbers numbers;
  REQUIRE(numbers.take(queues({"main", "a", "b"})));
  const auto a = numbers.of("a");
  const auto freed = numbers.take(queues({"main", "b"}));
  REQUIRE(freed);
  CHECK(*freed == std::vector<plan::queue_index>{a});
  const auto taken_over = numbers.take(queues({"main", "c"}));
  REQUIRE(taken_over);
  CHECK(numbers.of("c") == a);
  CHECK(taken_over->size() == 1);
}

TEST_CASE("a configuration that the planner could take in part alone is none that it can take") {
  std::vector<std::string> many;
  for (std::uint32_t i = 0; i < plan::queues_max; ++i)
    many.push_back("q" + std::to_string(i));
  CHECK_FALSE(check_policy(queues(many)));
  many.pop_back();
  CHECK(check_policy(queues(many)));
  auto config = queues({"main", "a"});
  config.queues[1].preempts = {"nowhere"};
  CHECK_FALSE(check_policy(config));
  config.queues[1].preempts = {"a"};
  CHECK_FALSE(check_policy(config));
  config.queues[1].preempts = {"main"};
  CHECK(check_policy(config));
  config.accounts = {{"low", "high", 1, {}}};
  CHECK_FALSE(check_policy(config));
  config.accounts = {{"high", "", 1, {}}, {"low", "high", 1, {}}};
  CHECK(check_policy(config));
}

// -- shares ----------------------------------------------------------------------------------

TEST_CASE("an account that is configured no more takes no share from the others") {
  cluster_config config = queues({"main"});
  config.accounts = {{"physics", "", 1, {}}, {"history", "", 3, {}}};
  share_table shares;
  REQUIRE(shares.configure(config, 0));
  const auto ada = shares.account_of("physics", "ada");
  shares.charge("physics", "ada", 100, 0);
  const auto factor_of = [&](plan::account_id id) {
    for (const auto& [each, factor] : shares.factors({}, 0))
      if (each == id)
        return factor;
    return -1.0;
  };
  const auto of_a_quarter = factor_of(ada);
  config.accounts.pop_back();
  REQUIRE(shares.configure(config, 0));
  CHECK(shares.account_of("physics", "ada") == ada);
  CHECK(factor_of(ada) > of_a_quarter);
}

TEST_CASE("however many accounts are named, so many are known and no more") {
  share_table shares;
  plan::account_id highest = 0;
  for (std::size_t i = 0; i < 2 * share_table::names_max; ++i)
    highest = std::max(highest, shares.account_of("account" + std::to_string(i), "ada"));
  CHECK(highest <= share_table::names_max + 4);
}

// -- time ------------------------------------------------------------------------------------

TEST_CASE("the planner's time goes on as time since boot does, and maps the wall clock") {
  auth::test::manual_clock clock;
  plan_time time{clock};
  const auto wall = clock.utc();
  const auto begin = wall + 600 * ns_per_s;
  CHECK(time.now() == wall);
  CHECK(time.of_wall(begin) == begin);
  clock.advance(ns_per_s);
  CHECK_FALSE(time.follow());
  const auto before = time.now();
  clock.set_wall(wall + 3600 * ns_per_s);
  CHECK(time.follow());
  CHECK(time.now() == before);
  CHECK(time.of_wall(begin) < time.now());
  CHECK(time.wall_of(time.of_wall(begin)) == begin);
  clock.set_wall(wall + ns_per_s);
  CHECK(time.follow());
  CHECK(time.of_wall(begin) == begin);
  CHECK(time.past_of_wall(begin) == time.now());
}

TEST_CASE("what has no end has none on any clock") {
  auth::test::manual_clock clock;
  plan_time time{clock};
  clock.set_wall(clock.utc() - 3600 * ns_per_s);
  REQUIRE(time.follow());
  CHECK(time.wall_of(plan::never) == plan::never);
  CHECK(time.of_wall(std::numeric_limits<utc_ns>::max()) == plan::never);
  CHECK(time.of_wall(std::numeric_limits<utc_ns>::min()) < 0);
}
