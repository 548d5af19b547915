// SPDX-License-Identifier: Apache-2.0
#include "actors/estimator.hpp"

#include "runtime/plan/estimates.hpp"

#include <chrono>

namespace troupe::actors {

estimator_state::estimator_state(self_pointer, world&) {}

estimator_actor::behavior_type estimator_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<estimator_actor>(
      guard, on<get_status>([this](request<get_status>&) {
        status_report report;
        report.actor = name;
        report.items.push_back({"runs", std::to_string(runs_)});
        report.items.push_back({"longest, us", std::to_string(longest_ns_ / 1000)});
        return report;
      }),
      on<estimate_queue>([this](request<estimate_queue>& what) { return estimate(what.msg); }));
}

queue_estimated estimator_state::estimate(const estimate_queue& what) {
  const auto begin = std::chrono::steady_clock::now();
  last_ = std::make_shared<plan::start_estimates const>(
      plan::estimate_starts(*what.queue, plan::simulated_units_max, last_.get()));
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begin;
  longest_ns_ = std::max<std::int64_t>(longest_ns_, took.count());
  ++runs_;
  return {last_};
}

} // namespace troupe::actors
