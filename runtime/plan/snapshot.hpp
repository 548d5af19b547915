// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/limits.hpp"
#include "runtime/plan/queue.hpp"
#include "runtime/plan/timeline.hpp"

#include <vector>

namespace troupe::plan {

/// The planner's state in plain tables that refer to each other by index; see estimates.hpp.
struct queue_snapshot {
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  struct node {
    node_room free;
    bool up = false;
  };
  struct share {
    std::uint32_t node = 0;
    amounts taken;
  };
  struct unit {
    instant end = 0; ///< planned, not before now
    std::vector<share> held;
    std::uint32_t group = none;
    std::uint32_t job = none; ///< in `waiting`, if it has an array limit
    std::uint64_t cores = 0;
  };
  struct group {
    std::uint32_t counts[3] = {none, none, none}; ///< of queue, user, and user in the queue
  };
  struct shape {
    unit_need need;
    bool inside = false; ///< an advance reservation:
    std::vector<std::uint32_t> nodes;
    instant from = 0, to = 0;
  };
  struct job {
    queue_key key;
    std::uint32_t shape = 0, group = none;
    duration limit = never;
    std::uint32_t units = 0;
    std::uint32_t running = 0, max_running = 0; ///< the array's limit; 0: none
    instant not_before = 0;
  };
  struct closed_time {
    instant from = 0, to = 0;
  };

  instant now = 0;
  std::vector<node> nodes;
  std::vector<std::vector<closed_time>> closed; ///< by node: advance reservations; or empty
  std::vector<running_count> counts;
  std::vector<group> groups;
  std::vector<shape> shapes;
  std::vector<unit> units;
  std::vector<job> waiting; ///< in no order
};

} // namespace troupe::plan
