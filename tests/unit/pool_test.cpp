// SPDX-License-Identifier: Apache-2.0
// Orders, estimates and the planner's own rules, by example.
#include "runtime/plan/blocked_list.hpp"
#include "runtime/plan/estimate.hpp"
#include "runtime/plan/order.hpp"
#include "runtime/plan/overtake_bound.hpp"
#include "runtime/plan/pool_planner.hpp"
#include "tests/catch.hpp"
#include "tests/unit/plan_random.hpp"

#include <cmath>
#include <set>

namespace {

using namespace troupe;
using namespace troupe::plan;

std::unique_ptr<pool_planner> pool(std::uint32_t processors, pool_policy policy,
                                   queue_order order = queue_order::fcfs,
                                   queue_order backfill = queue_order::fcfs) {
  auto made = make_pool_planner({processors, policy, order, backfill});
  REQUIRE(made);
  return std::move(*made);
}

std::vector<std::uint32_t> numbers(pool_planner& planner, instant now) {
  std::vector<pool_start> starts;
  planner.pass(now, starts);
  std::vector<std::uint32_t> out;
  for (const auto& start : starts)
    out.push_back(start.number);
  return out;
}

using list = std::vector<std::uint32_t>;

struct largest {
  int value = 0;
  void add(int item) { value = std::max(value, item); }
};

} // namespace

TEST_CASE("queue orders are the published formulas") {
  order_view job{3600, 8, 1000};
  CHECK(order_key(queue_order::fcfs, job, 2000) == 0);
  CHECK(order_key(queue_order::sjf, job, 2000) == 3600);
  CHECK(order_key(queue_order::wfp3, job, 4600) == Approx(-8));
  CHECK(order_key(queue_order::unicef, job, 4600) == Approx(-1.0 / 3));
  CHECK(order_key(queue_order::slowdown, job, 4600) == Approx(-8));
  CHECK(order_key(queue_order::slowdown, {1, 1, 0}, 10) == Approx(-1)); // at least 10 s
  CHECK(order_key(queue_order::f1, job, 0) == Approx(std::log10(3600.0) * 8 + 870 * 3));
  CHECK(order_key(queue_order::f2, job, 0) == Approx(60 * 8 + 25600.0 * 3));
  CHECK(order_key(queue_order::f3, job, 0) == Approx(3600 * 8 + 6860000.0 * 3));
  CHECK(order_key(queue_order::f4, job, 0) == Approx(3600 * std::sqrt(8.0) + 530000.0 * 3));
}

TEST_CASE("orders stay finite for one processor, no wait and submission at the first second") {
  for (int i = 0; i < 9; ++i) {
    auto order = static_cast<queue_order>(i);
    CHECK(std::isfinite(order_key(order, {0, 1, 0}, 0)));
    CHECK(queue_order_named(to_string(order)) == order);
  }
  CHECK_FALSE(queue_order_named("lifo"));
}

TEST_CASE("a user's average is that of the last two run times, and no longer than the request") {
  user_average users;
  CHECK(users.predict(7, 1000) == 1000);
  users.learn(7, 100);
  CHECK(users.predict(7, 1000) == 1000);
  users.learn(7, 201);
  CHECK(users.predict(7, 1000) == 150);
  CHECK(users.predict(7, 120) == 120);
  CHECK(users.predict(8, 1000) == 1000);
  users.learn(7, 1);
  CHECK(users.predict(7, 1000) == 101);
}

TEST_CASE("similar jobs are those of the user with the same request, else the user's last two") {
  similar_jobs history;
  CHECK(history.predict(7, 1000) == 1000);
  history.learn(7, 1000, 100);
  history.learn(7, 5000, 300);
  CHECK(history.predict(7, 1000) == 200);
  CHECK(history.predict(8, 1000) == 1000);
  history.learn(7, 1000, 50);
  CHECK(history.predict(7, 1000) == 75);
  CHECK(history.predict(7, 60) == 60);
}

TEST_CASE("expected slowdown decides whose turn it is, until somebody is overdue") {
  pool_config how{10, pool_policy::slowdown, {}, {}};
  how.overtake_limit = 1000;
  auto planner = std::move(*make_pool_planner(how));
  REQUIRE(planner->submit({0, 10, 500, 0}));
  CHECK(numbers(*planner, 0) == list{0});
  REQUIRE(planner->submit({1, 10, 5000, 0, 4000}));
  REQUIRE(planner->submit({2, 10, 5000, 100, 20})); // short, as its like are
  CHECK(numbers(*planner, 100).empty());
  planner->ended(0, 500);
  CHECK(numbers(*planner, 500) == list{2});
  REQUIRE(planner->submit({3, 10, 5000, 510, 20}));
  planner->ended(2, 1000);
  CHECK(numbers(*planner, 1000) == list{1}); // has waited for 1,000 s
}

TEST_CASE("a job may be overtaken for as long as the work ahead takes and the longest request") {
  overtake_bound bound{10};
  pool_job first{0, 5, 600, 0, 100};
  CHECK(bound.limit(first) == 600);
  bound.submitted(first);
  bound.started(first, 0);
  pool_job second{1, 10, 300, 40};
  CHECK(bound.limit(second) == 600 + (100 - 40) * 5 / 10);
  bound.submitted(second);
  CHECK(bound.limit({2, 1, 900, 40}) == 900 + 30 + 300);
  CHECK(bound.limit({2, 1, 900, 1000}) == 900); // the first has outlived its expectation
  bound.ended(first, 0);
  CHECK(bound.limit({2, 1, 900, 1000}) == 900 + 300);
}

TEST_CASE("an outlived estimate grows by published steps, up to the request") {
  CHECK(corrected(correction::incremental, 100, 1, 10'000'000) == 160);
  CHECK(corrected(correction::incremental, 100, 2, 10'000'000) == 400);
  CHECK(corrected(correction::incremental, 100, 11, 10'000'000) == 360'100);
  CHECK(corrected(correction::incremental, 100, 12, 10'000'000) == 10'000'000);
  CHECK(corrected(correction::incremental, 100, 1, 130) == 130);
  CHECK(corrected(correction::request, 100, 1, 5000) == 5000);
}

TEST_CASE("EASY lets a short job pass the first that does not fit, and no long one") {
  auto planner = pool(10, pool_policy::easy);
  REQUIRE(planner->submit({0, 6, 100, 0}));
  REQUIRE(planner->submit({1, 8, 50, 0}));  // blocked until 100
  REQUIRE(planner->submit({2, 4, 101, 0})); // would hold what job 1 waits for
  REQUIRE(planner->submit({3, 3, 100, 0})); // gone by then
  CHECK(numbers(*planner, 0) == list{0, 3});
  REQUIRE(planner->promise());
  CHECK(planner->promise()->number == 1);
  CHECK(planner->promise()->at == 100);
}

TEST_CASE("EASY lets a long job use what is spare beside the reservation, once") {
  auto planner = pool(10, pool_policy::easy);
  REQUIRE(planner->submit({0, 6, 100, 0}));
  REQUIRE(planner->submit({1, 8, 50, 0}));
  REQUIRE(planner->submit({2, 2, 1000, 0}));
  REQUIRE(planner->submit({3, 2, 1000, 0}));
  CHECK(numbers(*planner, 0) == list{0, 2});
}

TEST_CASE("first come first served lets nobody pass") {
  auto planner = pool(10, pool_policy::fcfs);
  REQUIRE(planner->submit({0, 6, 100, 0}));
  REQUIRE(planner->submit({1, 8, 50, 0}));
  REQUIRE(planner->submit({2, 1, 1, 0}));
  CHECK(numbers(*planner, 0) == list{0});
  planner->ended(0, 7);
  CHECK(numbers(*planner, 7) == list{1, 2});
}

TEST_CASE("backfilling in another order leaves the queue's head its reservation") {
  auto planner = pool(10, pool_policy::easy, queue_order::fcfs, queue_order::sjf);
  REQUIRE(planner->submit({0, 8, 100, 0}));
  REQUIRE(planner->submit({1, 9, 50, 0}));
  REQUIRE(planner->submit({2, 2, 90, 0}));
  REQUIRE(planner->submit({3, 2, 10, 0}));
  CHECK(numbers(*planner, 0) == list{0, 3});
  CHECK(planner->promise()->number == 1);
}

TEST_CASE("a conservative promise is kept and improved when a job ends early") {
  auto planner = pool(10, pool_policy::conservative);
  REQUIRE(planner->submit({0, 10, 100, 0}));
  REQUIRE(planner->submit({1, 10, 50, 0}));
  REQUIRE(planner->submit({2, 1, 10, 0}));
  CHECK(numbers(*planner, 0) == list{0});
  CHECK(planner->promised_start(1) == 100);
  CHECK(planner->promised_start(2) == 150);
  CHECK(planner->next_start() == 100);
  planner->ended(0, 30);
  CHECK(numbers(*planner, 30) == list{1});
  CHECK(planner->promised_start(2) == 80);
}

TEST_CASE("what no pool could run is refused with a sentence") {
  CHECK_FALSE(make_pool_planner({0, pool_policy::easy, {}, {}}));
  for (auto policy : {pool_policy::easy, pool_policy::conservative}) {
    auto planner = pool(10, policy);
    auto refused = planner->submit({0, 11, 5, 0});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text ==
          "job number 0 needs 11 processors; the machine has 10: leave it out");
    CHECK_FALSE(planner->submit({0, 0, 5, 0}));
    CHECK_FALSE(planner->submit({0, 1, 0, 0}));
    CHECK_FALSE(planner->submit({1, 1, 5, 0}));
    CHECK(planner->submit({0, 10, never, 0}));
  }
}

TEST_CASE("a blocked list whose items change all at once is sorted again") {
  struct item {
    int key = 0, value = 0;
    bool operator<(const item& other) const {
      return key != other.key ? key < other.key : value < other.value;
    }
  };
  struct largest_value {
    int value = 0;
    void add(const item& one) { value = std::max(value, one.value); }
  };
  random::generator g{6};
  for (int round = 0; round < 200; ++round) {
    blocked_list<item, largest_value> list;
    auto count = static_cast<int>(g.between(0, 1000));
    for (int value = 0; value < count; ++value)
      list.insert({static_cast<int>(g.between(0, 100)), value});
    auto rare = g.between(1, 300); // few changes, or many
    list.change_all([&](item& one) {
      if (g.one_in(rare))
        one.key = static_cast<int>(g.between(0, 100));
    });
    std::vector<item> all;
    for (const auto& block : list.blocks()) {
      largest_value wanted;
      for (const auto& one : block.items)
        wanted.add(one);
      REQUIRE(block.summary.value == wanted.value);
      all.insert(all.end(), block.items.begin(), block.items.end());
    }
    REQUIRE(all.size() == static_cast<std::size_t>(count));
    REQUIRE(std::is_sorted(all.begin(), all.end()));
    for (const auto& one : all)
      REQUIRE(list.find(one) != list.end());
  }
}

TEST_CASE("a blocked list is a sorted set, and its search misses nothing") {
  random::generator g{5};
  blocked_list<int, largest> fast;
  std::set<int> slow;
  for (int i = 0; i < 20'000; ++i) {
    auto item = static_cast<int>(g.between(0, 3000));
    if (auto at = fast.find(item); at != fast.end()) {
      auto next = fast.erase(at);
      auto after = slow.erase(slow.find(item));
      REQUIRE((next == fast.end()) == (after == slow.end()));
      REQUIRE((next == fast.end() || fast.at(next) == *after));
    } else {
      fast.insert(item);
      slow.insert(item);
    }
    auto least = static_cast<int>(g.between(0, 3000));
    auto found = fast.search(
        fast.begin(), [&](const largest& l) { return l.value >= least; },
        [&](int value) { return value >= least; });
    auto wanted = slow.lower_bound(least);
    REQUIRE((found == fast.end()) == (wanted == slow.end()));
    REQUIRE((found == fast.end() || fast.at(found) == *wanted));
    REQUIRE(fast.size() == slow.size());
  }
}
