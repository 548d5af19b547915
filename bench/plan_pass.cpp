// SPDX-License-Identifier: Apache-2.0
// What an event and the pass after it cost the scheduling core, with many jobs pending.
#include "runtime/plan/planner.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>

namespace {

using namespace troupe::plan;

struct stopwatch {
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  double us() const {
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
        .count();
  }
};

void check(bool ok, const char* what) {
  if (ok)
    return;
  std::fprintf(stderr, "plan_pass: %s\n", what);
  std::exit(1);
}

job_request job(job_id id, std::uint32_t tasks, duration limit) {
  job_request out;
  out.id = out.seq = id;
  out.shape.tasks = tasks;
  out.time_limit = limit;
  return out;
}

planner_core cluster(std::uint32_t nodes, std::uint32_t cores) {
  planner_core planner;
  for (node_id id = 1; id <= nodes; ++id)
    check(planner.add_node({id, cores, 1ull << 36, {}, node_state::up}).has_value(), "no node");
  return planner;
}

void print(const char* what, double us, double count) {
  std::printf("%-66s %9.2f us\n", what, us / count);
}

using unit = std::pair<job_id, slot_id>;

void note(const pass_result& result, std::deque<unit>& running) {
  for (const auto& decision : result.decisions)
    for (const auto& started : decision.units)
      running.push_back({decision.job, started.slot});
}

/// Identical separate jobs on 64 slots: submission behind a full machine, then ends and starts.
void identical_jobs(std::uint32_t pending) {
  auto planner = cluster(1, 64);
  std::deque<unit> running;
  stopwatch submits;
  for (job_id id = 1; id <= pending; ++id) {
    check(planner.submit(job(id, 1, 3600)).has_value(), "refused");
    note(planner.pass(0), running);
  }
  print("50,000 equal jobs, 64 slots: submit and pass", submits.us(), pending);
  stopwatch ends;
  std::uint32_t events = 0;
  for (; !running.empty(); ++events) {
    auto [id, slot] = running.front();
    running.pop_front();
    check(planner.ended(id, slot).has_value(), "not running");
    note(planner.pass(events), running);
  }
  check(events == pending, "not every job ran");
  print("50,000 equal jobs, 64 slots: end, pass and start", ends.us(), events);
}

void array_elements(std::uint32_t elements) {
  auto planner = cluster(1, 64);
  std::deque<unit> running;
  auto array = job(1, 1, 3600);
  array.is_array = true;
  array.pending = elements;
  check(planner.submit(array).has_value(), "refused");
  stopwatch watch;
  note(planner.pass(0), running);
  for (instant now = 1; !running.empty(); ++now) {
    auto [id, slot] = running.front();
    running.pop_front();
    check(planner.ended(id, slot).has_value(), "not running");
    note(planner.pass(now), running);
  }
  print("an array of 50,000, 64 slots: end, pass and start", watch.us(), elements);
}

void many_starts(std::uint32_t count) {
  auto planner = cluster(count / 64 + 1, 64);
  for (job_id id = 1; id <= count; ++id)
    check(planner.submit(job(id, 1, 3600)).has_value(), "refused");
  stopwatch watch;
  auto result = planner.pass(0);
  check(result.decisions.size() == count, "not all started");
  print("10,000 starts in one pass, each", watch.us(), count);
}

/// The first job blocked, every other job of a shape and limit of its own: each is looked at.
void distinct_blocked(std::uint32_t pending, std::uint32_t nodes) {
  auto planner = cluster(nodes, 64);
  for (std::uint32_t i = 0; i < nodes; ++i)
    check(planner.submit(job(i + 1, 63, 1000 + i)).has_value(), "refused");
  planner.pass(0);
  for (job_id id = 1; id <= pending; ++id)
    check(planner
              .submit(job(100000 + id, 2 + static_cast<std::uint32_t>(id % 63),
                          static_cast<duration>(id)))
              .has_value(),
          "refused");
  // One core is free on each node; no job waiting is content with one.
  stopwatch watch;
  constexpr int passes = 20;
  for (int i = 0; i < passes; ++i) {
    check(planner.hold(100001).has_value() && planner.release(100001).has_value(), "no such job");
    planner.pass(i);
  }
  std::printf("%u different jobs, %u nodes with a free core each: ", pending, nodes);
  std::printf("a pass %.2f ms\n", watch.us() / passes / 1000);
  stopwatch asking;
  auto why = planner.why(100000 + pending, passes);
  std::printf("  why of the last (number %llu): %.2f ms\n",
              static_cast<unsigned long long>(why.position), asking.us() / 1000);
}

} // namespace

int main() {
  identical_jobs(50000);
  array_elements(50000);
  many_starts(10000);
  distinct_blocked(50000, 64);
  distinct_blocked(100000, 10000);
}
