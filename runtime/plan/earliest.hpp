// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/fit.hpp"
#include "runtime/plan/outlook.hpp"

#include <span>
#include <vector>

namespace troupe::plan {

/// Finds the first time at which a unit fits for as long as it may run, and its nodes then. Exact.
/// Keeps its buffers between searches.
///
/// It goes from lower bound to lower bound: if a unit needs k nodes, it cannot start before the
/// k-th of them has a long enough gap. Where fewer than k of those gaps are still open at that
/// time, the next bound is looked for from there on. Most searches end after one look at each node,
/// and most looks at its first step.
class earliest_search {
public:
  /// False if it never fits. Not before `from`, which is not before the lines' now.
  bool find(const unit_need& need, duration limit, const node_pool& pool,
            std::span<const node_line> lines, instant from);

  instant at() const { return at_; }
  const std::vector<task_share>& shares() const { return choose_.shares(); }

private:
  /// A gap in which a node can give what is asked: starts from `opens` to `closes` are possible.
  struct gap {
    instant opens = time_ends, closes = time_ends;
    bool operator<(const gap& other) const { return opens < other.opens; }
  };
  struct gain {
    instant at = 0;
    std::uint64_t tasks = 0;
    bool operator<(const gain& other) const { return at < other.at; }
  };
  struct query {
    const unit_need& need;
    duration limit = 0;
    const node_pool& pool;
    std::span<const node_line> lines;
  };

  instant lower_bound(const query& q, instant from);
  instant of_exact(const query& q, instant from);
  instant of_fewest(const query& q, instant from);
  instant nth_gap(const query& q, std::uint32_t tasks, std::uint32_t count, instant from,
                  bool required_only);
  void add_gains(const query& q, const node_line& line, instant from);

  instant at_ = 0;
  bool sure_ = false; ///< the latest bound is known to fit
  std::vector<gap> gaps_;
  std::vector<gain> gains_;
  std::uint64_t gains_sum_ = 0;
  chooser choose_;
};

} // namespace troupe::plan
