// SPDX-License-Identifier: Apache-2.0
// One pass, its explanations and the estimates of a large machine: 10,000 nodes of 64 cores and 4
// GPUs that are nearly full, 100,000 jobs pending, 100 reservations.
#include "runtime/plan/estimates.hpp"
#include "runtime/plan/planner.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include <time.h>

namespace {

using namespace troupe::plan;

constexpr std::uint32_t nodes = 10000;
constexpr std::uint32_t pending = 100000;

/// splitmix64
struct generator {
  std::uint64_t state = 1;
  std::uint64_t next() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint32_t between(std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(next() % (high - low + 1));
  }
};

void check(bool ok, const char* what) {
  if (ok)
    return;
  std::fprintf(stderr, "plan_large: %s\n", what);
  std::exit(1);
}

double cpu_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

/// Median times of several runs, by the clock and of this thread alone; `prepare` is not counted.
void measure(const char* what, int runs, const std::function<void()>& prepare,
             const std::function<void()>& run) {
  std::vector<double> ms;
  std::vector<double> cpu;
  for (int i = 0; i < runs; ++i) {
    prepare();
    auto cpu_before = cpu_ms();
    auto start = std::chrono::steady_clock::now();
    run();
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    ms.push_back(took.count());
    cpu.push_back(cpu_ms() - cpu_before);
  }
  std::sort(ms.begin(), ms.end());
  std::sort(cpu.begin(), cpu.end());
  std::printf("%-56s median %8.2f ms, worst %8.2f ms; CPU %8.2f ms\n", what, ms[ms.size() / 2],
              ms.back(), cpu[cpu.size() / 2]);
}

/// Shapes as sites see them: a few widths, GPUs for some, memory of all sizes. None is content with
/// fewer than 4 cores, so that some stay free and every pass has to look at everybody.
job_request some_job(generator& g, job_id id) {
  job_request job;
  job.id = job.seq = id;
  job.submitted = static_cast<instant>(id);
  job.user = g.between(1, 500);
  job.account = g.between(1, 50);
  job.queue = g.between(0, 3);
  job.time_limit = 60 * static_cast<duration>(g.between(1, 2880));
  auto& shape = job.shape;
  auto kind = g.between(0, 9);
  if (kind < 4) { // on part of a node
    shape.cores_per_task = g.between(4, 48);
    shape.gpus_per_task = kind == 0 ? g.between(1, 4) : 0;
  } else if (kind < 8) { // whole nodes
    shape.nodes = 1u << g.between(0, 9);
    shape.tasks = shape.nodes;
    shape.cores_per_task = 64;
    shape.gpus_per_task = kind == 4 ? 4 : 0;
  } else { // many tasks anywhere
    shape.tasks = g.between(2, 512);
    shape.cores_per_task = g.between(4, 8);
  }
  if (kind % 2 == 0)
    shape.memory_bytes = std::uint64_t{g.between(1, 512)} << 28;
  return job;
}

struct machine {
  planner_core core;
  job_id next = 1;
  std::vector<std::pair<job_id, slot_id>> running;
};

/// Full but for what nobody at the front of the queue can use.
machine busy(const planner_config& config) {
  machine m{planner_core(config), 1, {}};
  generator g;
  for (node_id id = 1; id <= nodes; ++id) {
    node_config node;
    node.id = id;
    node.cores = 64;
    node.memory_bytes = std::uint64_t{256} << 30;
    for (std::uint32_t i = 0; i < 64; ++i)
      node.core_groups.push_back(i / 16);
    node.gpu_groups = {0, 1, 2, 3};
    node.features = id % 4 == 0 ? 1 : 0;
    check(m.core.add_node(node).has_value(), "a node was refused");
  }
  if (config.order == queue_order::fcfs)
    m.core.set_priorities({.age = 1000, .queue = 10, .share = 500, .nice = 1});
  // Small jobs fill the nodes in part, so that every node has a past of its own.
  for (std::uint32_t i = 0; i < 4 * nodes; ++i) {
    auto job = some_job(g, m.next++);
    job.shape = {};
    job.shape.cores_per_task = g.between(3, 32);
    job.shape.gpus_per_task = g.between(0, 7) == 0 ? 1 : 0;
    check(m.core.submit(job).has_value(), "a job was refused");
  }
  auto started = m.core.pass(50000);
  for (const auto& decision : started.decisions)
    for (const auto& unit : decision.units)
      m.running.push_back({decision.job, unit.slot});
  for (auto missing = pending - m.core.total().jobs_waiting; missing > 0; --missing, ++m.next)
    check(m.core.submit(some_job(g, m.next)).has_value(), "a job was refused");
  return m;
}

void one_pass(std::uint32_t reservations, const char* what, queue_order order) {
  auto m = busy({.reservations = reservations, .order = order});
  instant now = 50001;
  auto first = m.core.pass(now);
  for (int i = 0; first.more && i < 10; ++i)
    first = m.core.pass(now);
  std::uint32_t next = 0;
  std::size_t starts = 0, reserved = 0;
  measure(
      what, 15,
      [&] {
        auto [job, slot] = m.running[next++];
        check(m.core.ended(job, slot).has_value(), "a unit was not there");
        ++now;
      },
      [&] {
        auto result = m.core.pass(now);
        starts += result.decisions.size();
        reserved = result.reserved.size();
      });
  auto total = m.core.total();
  std::printf("  %llu pending, %llu cores free, %zu reservations, %zu starts in all\n",
              static_cast<unsigned long long>(total.jobs_waiting),
              static_cast<unsigned long long>(total.cores_free), reserved, starts);
}

void estimates() {
  auto m = busy({});
  m.core.pass(50001);
  std::shared_ptr<const queue_snapshot> snapshot;
  measure(
      "snapshot for estimates, on the planner's thread", 5, [] {},
      [&] { snapshot = m.core.snapshot(50002); });
  std::size_t known = 0;
  measure(
      "estimates of 100,000 pending, on another", 3, [] {},
      [&] { known = estimate_starts(*snapshot).starts.size(); });
  std::printf("  %zu of %llu have one\n", known,
              static_cast<unsigned long long>(m.core.total().jobs_waiting));
  generator g{77};
  measure(
      "what if a job were submitted now", 5, [] {},
      [&] { m.core.what_if(some_job(g, 9'000'000), 50002); });
  measure(
      "why of a job in the middle of the queue", 5, [] {}, [&] { m.core.why(90000, 50002); });
}

} // namespace

int main() {
  one_pass(100, "pass after an end: EASY with 100 reservations", queue_order::fcfs);
  one_pass(1, "pass after an end: EASY with 1 reservation", queue_order::fcfs);
  one_pass(100, "pass after an end: 100 reservations, order slowdown", queue_order::slowdown);
  estimates();
}
