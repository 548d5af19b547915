// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/estimate.hpp"
#include "runtime/plan/pool_planner.hpp"
#include "runtime/sim/workload.hpp"

#include <functional>

namespace troupe::sim {

/// When the policy decides.
enum class event_mode : std::uint8_t {
  each,    ///< after each submission and each end, one after the other
  instant, ///< once per second in which anything happens
};

struct replay_options {
  plan::pool_config machine;
  plan::estimates estimates = plan::estimates::request;
  plan::correction correction = plan::correction::incremental;
  event_mode events = event_mode::each;
};

/// Told how many jobs have ended; called every so often.
using replay_progress = std::function<void(std::size_t ended)>;

/// When each job of the workload starts, in its order. Fails as `make_pool_planner` does.
expected<std::vector<plan::instant>> replay(const std::vector<workload_job>& jobs,
                                            const replay_options& options,
                                            const replay_progress& progress = {});

} // namespace troupe::sim
