// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/fit.hpp"
#include "runtime/plan/limits.hpp"
#include "runtime/plan/queue.hpp"
#include "runtime/plan/shared_table.hpp"
#include "runtime/plan/timeline.hpp"
#include "runtime/plan/walk.hpp"

#include <memory>
#include <vector>

namespace troupe::plan {

/// The planner's state in plain tables that refer to each other by row; see estimates.hpp. The
/// planner keeps the large ones up to date as it goes, so that a snapshot is no work.
struct queue_snapshot {
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  struct share {
    std::uint32_t node = 0;
    amounts taken;
  };
  /// Whose limits something counts for, in `counts`: of queue, user, and user in the queue.
  using limit_rows = std::array<std::uint32_t, 3>;

  struct unit {
    instant end = 0;                                ///< planned
    std::shared_ptr<const std::vector<share>> held; ///< none: nothing runs under this number
    limit_rows limits{none, none, none};
    std::uint32_t job = none; ///< in `jobs`
    std::uint64_t cores = 0;
  };
  struct job {
    queue_key key;
    order_view view;
    std::uint32_t shape = none; ///< none: there is no job under this number
    std::uint32_t units = 0;    ///< that may start, now or later
    duration limit = never;
    std::uint32_t running = 0, max_running = 0; ///< the array's limit; 0: none
    instant not_before = 0;
    limit_rows limits{none, none, none};

    bool operator==(const job&) const = default;
  };
  struct closed_time {
    instant from = 0, to = 0;
  };

  instant now = 0;
  ordering by;
  std::vector<node_room> rooms;
  std::vector<std::uint8_t> up;                 ///< by node
  std::vector<std::vector<closed_time>> closed; ///< by node: advance reservations; or empty
  bool limited = false;                         ///< by `counts`
  std::vector<running_count> counts;
  shared_table<shape_row> shapes;
  shared_table<unit> units;
  shared_table<job> jobs;
};

} // namespace troupe::plan
