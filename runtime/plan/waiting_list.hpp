// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/blocked_list.hpp"
#include "runtime/plan/order.hpp"

#include <limits>

namespace troupe::plan {

/// A job that waits for processors, as a queue keeps it.
struct waiting_job {
  double key = 0; ///< `order_key`; equal keys go by number, which is as submitted
  std::uint32_t number = 0;
  std::uint32_t processors = 0;
  duration estimate = 0;

  bool operator<(const waiting_job& other) const {
    return key != other.key ? key < other.key : number < other.number;
  }
};

/// The least that any job of a block asks for.
struct least_wanted {
  std::uint32_t processors = std::numeric_limits<std::uint32_t>::max();
  duration estimate = never;
  void add(const waiting_job& job) {
    processors = std::min(processors, job.processors);
    estimate = std::min(estimate, job.estimate);
  }
};

using waiting_list = blocked_list<waiting_job, least_wanted>;

} // namespace troupe::plan
