// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"

namespace troupe::actors {

/// Estimates when everything that waits starts. Detached, because that may take a second: neither
/// the planner nor anybody who asks it waits for it.
class estimator_state {
public:
  using interface = estimator_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "estimator";

  estimator_state(self_pointer self, world& around);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  queue_estimated estimate(const estimate_queue& what);

  std::shared_ptr<plan::start_estimates const> last_;
  std::uint64_t runs_ = 0;
  std::int64_t longest_ns_ = 0;
};

} // namespace troupe::actors
