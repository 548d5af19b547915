// SPDX-License-Identifier: Apache-2.0
// The planner against a slow, obvious reference, over random clusters, jobs and events.
#include "tests/catch.hpp"
#include "tests/unit/plan_random.hpp"

#include <array>
#include <iostream>

namespace {

using namespace troupe::plan;
using troupe::plan::random::generator;
using troupe::plan::random::mirror;

constexpr std::uint64_t first_seed = 20240611;

/// One random event.
void happen(mirror& m, job_id& next_id) {
  auto& g = m.gen;
  auto* jobs = &m.world.jobs;
  auto some = [&]() -> troupe::plan::reference::job* {
    return jobs->empty() ? nullptr
                         : &(*jobs)[g.between(0, static_cast<std::uint32_t>(jobs->size() - 1))];
  };
  auto must = [&](const auto& result) {
    m.changed = true;
    if (!result)
      m.problem = result.error().text;
  };
  auto kind = g.between(0, 23);
  auto* job = some();
  if (kind < 8 || job == nullptr) {
    auto shape = g.one_in(2) && job != nullptr ? job->request.shape
                                               : troupe::plan::random::some_shape(g, m.world.nodes);
    if (!m.world.advance.empty() && g.one_in(4))
      shape.reservation = m.world.advance[0].id;
    m.submit(troupe::plan::random::some_job(g, next_id++, shape, m.now));
  } else if (kind < 13 && !m.world.running.empty()) {
    m.end_unit(g.between(0, static_cast<std::uint32_t>(m.world.running.size() - 1)), g.one_in(8));
  } else if (kind == 13) {
    job->request.held = !job->request.held;
    must(job->request.held ? m.planner.hold(job->request.id) : m.planner.release(job->request.id));
  } else if (kind == 14) {
    auto id = job->request.id;
    job->request.pending = g.between(0, 3);
    must(m.planner.set_pending(id, job->request.pending));
    m.forget(id);
  } else if (kind == 15) {
    job->request.priority = static_cast<std::int64_t>(g.between(0, 2)) - 1;
    must(m.planner.set_priority(job->request.id, job->request.priority));
  } else if (kind == 16) {
    auto& node = m.world.nodes[g.between(0, static_cast<std::uint32_t>(m.world.nodes.size() - 1))];
    node.state = g.one_in(3)   ? node_state::drained
                 : g.one_in(3) ? node_state::down
                               : node_state::up;
    must(m.planner.set_node_state(node.id, node.state));
  } else if (kind == 17) {
    job->request.time_limit = g.between(0, 20);
    must(m.planner.set_time_limit(job->request.id, job->request.time_limit));
  } else if (kind == 18) {
    job->request.max_running = g.between(0, 3);
    must(m.planner.set_max_running(job->request.id, job->request.max_running));
  } else if (kind == 19) {
    queue_config config;
    config.priority = g.between(0, 2);
    config.all = {g.one_in(3) ? g.between(1, 6) : 0, g.one_in(3) ? g.between(4, 20) : 0};
    config.per_user = {g.one_in(3) ? g.between(1, 4) : 0, g.one_in(3) ? g.between(4, 20) : 0};
    auto queue = g.between(0, 2);
    m.world.queues[queue] = config;
    must(m.planner.set_queue(queue, config));
  } else if (kind == 20) {
    auto user = g.between(1, 3);
    run_limits most{g.one_in(2) ? g.between(1, 6) : 0, 0};
    m.world.users[user] = most;
    m.planner.set_user_limits(user, most);
    m.changed = true;
    auto account = g.between(1, 2);
    m.world.shares[account] = 0.25 * g.between(0, 4);
    m.planner.set_share(account, m.world.shares[account]);
  } else if (kind == 21) {
    m.reserve();
  } else if (kind == 22 && !m.world.advance.empty() && g.one_in(2)) {
    auto id = m.world.advance.back().id;
    m.world.advance.pop_back();
    must(m.planner.cancel_reservation(id));
  } else if (kind == 23 && g.one_in(2)) {
    job->request.nice = static_cast<std::int32_t>(g.between(0, 3));
    job->request.queue = g.between(0, 2);
    must(m.planner.set_nice(job->request.id, job->request.nice));
    must(m.planner.set_queue_of(job->request.id, job->request.queue));
  } else if (!m.world.running.empty()) {
    auto i = g.between(0, static_cast<std::uint32_t>(m.world.running.size() - 1));
    auto& unit = m.world.running[i];
    auto& owner = m.job(unit.job);
    if (!m.planner.refill_allowed(unit.job))
      return;
    auto taken = g.between(1, owner.request.pending);
    owner.request.pending -= taken;
    unit.order = ++m.world.started;
    unit.end = m.world.end_if(owner.request, m.now);
    must(m.planner.refilled(unit.job, unit.slot, unit.end, taken));
  }
}

/// Every policy there is, by the seed.
planner_config some_config(std::uint64_t seed) {
  planner_config config;
  config.unknown_limit = seed % 3 == 0 ? 10 : 0;
  config.backfill = seed % 7 != 0;
  constexpr std::array reservations{1u, 2u, 5u, 100u};
  config.reservations = reservations[seed % 4];
  constexpr std::array orders{queue_order::fcfs, queue_order::sjf, queue_order::slowdown};
  config.order = orders[seed / 4 % 3];
  config.backfill_order = seed / 12 % 4 == 0 ? queue_order::sjf : queue_order::fcfs;
  // The bound that `slowdown` makes by itself has a test of its own.
  bool slowdown = config.order == queue_order::slowdown;
  config.overtake_limit = seed / 48 % 3 == 0 ? 15 : slowdown ? 1000 : 0;
  return config;
}

/// Runs a random history; returns everything that was decided.
std::vector<decision> history(std::uint64_t seed, std::uint32_t events) {
  auto config = some_config(seed);
  mirror m(seed, config);
  if (seed % 5 != 0)
    m.set_priorities({.age = seed % 2 == 0 ? 10.0 : 0,
                      .size = 2,
                      .queue = 1,
                      .share = 2,
                      .nice = 1,
                      .age_period = 50});
  job_id next_id = 1;
  std::vector<decision> all;
  for (std::uint32_t i = 0; i < events; ++i) {
    m.now += m.gen.one_in(2) ? m.gen.between(0, 3) : 0;
    happen(m, next_id);
    if (m.gen.one_in(5))
      continue; // several events before one pass
    auto result = m.pass();
    all.insert(all.end(), result.decisions.begin(), result.decisions.end());
    for (const auto& job : m.world.jobs) {
      auto why = m.planner.why(job.request.id, m.now);
      auto text = sentence(why, {[](instant t) { return std::to_string(t); }});
      bool sorted = config.order == queue_order::fcfs && config.overtake_limit == 0;
      if (text.empty() || (sorted && why.position == 1 && why.reason == wait_reason::queue_order))
        m.problem = "job " + std::to_string(job.request.id) + " waits for no reason";
    }
    if (!m.problem.empty())
      FAIL("seed " << seed << ", event " << i << ": " << m.problem);
  }
  return all;
}

} // namespace

TEST_CASE("On random histories the planner decides what the slow reference decides") {
  std::cout << "seeds from " << first_seed << "\n";
  std::size_t decisions = 0;
  for (std::uint64_t seed = first_seed; seed < first_seed + 4000; ++seed)
    decisions += history(seed, 60).size();
  CHECK(decisions > 5000);
}

TEST_CASE("The same history gives the same decisions") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 20; ++seed)
    CHECK(history(seed, 40) == history(seed, 40));
}

namespace {

/// A workload in which every unit runs exactly to its limit: every promise is kept. An array's
/// elements come one promise after another, so that with arrays it is the first job's that is.
void exact_run(std::uint64_t seed, std::uint32_t reservations) {
  mirror m(seed, {.reservations = reservations});
  std::map<job_id, instant> promised;
  job_id next_id = 1;
  for (; m.now < 5000; ++m.now) {
    for (std::size_t i = m.world.running.size(); i-- > 0;)
      if (m.world.running[i].end <= m.now)
        m.end_unit(i, false);
    if (m.now < 120 && m.gen.one_in(2)) {
      auto shape = troupe::plan::random::some_shape(m.gen, m.world.nodes);
      auto job = troupe::plan::random::some_job(m.gen, next_id++, shape, m.now);
      job.time_limit = m.gen.between(1, 20);
      job.held = false;
      job.begin_time = 0;
      job.max_running = 0;
      if (reservations > 1) {
        job.is_array = false;
        job.pending = 1;
      }
      m.submit(job);
    }
    auto result = m.pass();
    for (const auto& decision : result.decisions) {
      auto promise = promised.find(decision.job);
      if (promise == promised.end())
        continue;
      if (promise->second < m.now)
        m.problem = "job " + std::to_string(decision.job) + " was promised an earlier start";
      promised.erase(promise); // an array's next element gets its own
    }
    for (const auto& reserved : result.reserved) {
      auto [it, fresh] = promised.try_emplace(reserved.job, reserved.at);
      if (it->second < reserved.at)
        m.problem = "the reservation of job " + std::to_string(it->first) + " was put off";
      it->second = reserved.at;
    }
    if (!m.problem.empty())
      FAIL("seed " << seed << ", time " << m.now << ": " << m.problem);
    if (m.now > 120 && m.world.jobs.empty())
      break;
  }
  CHECK(m.world.jobs.empty());
}

} // namespace

TEST_CASE("With exact run times no backfilled job delays the reservation") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 200; ++seed)
    exact_run(seed, 1);
}

TEST_CASE("With exact run times conservative backfill never starts a job later than promised") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 200; ++seed)
    exact_run(seed, 100);
}

TEST_CASE("Renaming the nodes changes nothing but names") {
  for (std::uint64_t seed = first_seed; seed < first_seed + 50; ++seed) {
    generator g(seed);
    planner_core one;
    planner_core other;
    std::vector<troupe::plan::reference::node> nodes;
    for (node_id id = 1; id <= 4; ++id) {
      auto node = troupe::plan::random::some_node(g, id);
      REQUIRE(one.add_node(node));
      nodes.push_back({id, node.cores, node.memory_bytes, node_state::up,
                       static_cast<std::uint32_t>(node.gpu_groups.size()), node.features});
      node.id = 1000 - id;
      REQUIRE(other.add_node(node));
    }
    for (job_id id = 1; id <= 20; ++id) {
      auto job =
          troupe::plan::random::some_job(g, id, troupe::plan::random::some_shape(g, nodes), 0);
      bool taken = one.submit(job).has_value();
      for (auto* ids : {&job.shape.required_nodes, &job.shape.excluded_nodes})
        for (auto& node : *ids)
          node = 1000 - node;
      CHECK(other.submit(job).has_value() == taken);
    }
    auto decided = one.pass(1).decisions;
    for (auto& decision : decided)
      for (auto& unit : decision.units)
        for (auto& share : unit.where)
          share.node = 1000 - share.node;
    CHECK(decided == other.pass(1).decisions);
  }
}
