// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <deque>
#include <map>
#include <set>

namespace troupe::actors {

/// Which jobs have ended since submissions set out that are not over yet: a submission's
/// dependencies were checked before. What no submission under way can have missed is forgotten,
/// however closely they follow each other.
class meanwhile {
public:
  /// A submission sets out; its number.
  std::uint64_t begin() {
    under_way_.insert(++last_);
    return last_;
  }

  void end(std::uint64_t submission) {
    under_way_.erase(submission);
    while (!order_.empty() && (under_way_.empty() || order_.front().first < *under_way_.begin())) {
      const auto [since, job] = order_.front();
      order_.pop_front();
      if (auto at = ended_.find(job); at != ended_.end() && at->second.since == since)
        ended_.erase(at);
    }
  }

  void ended(const job_row& row) {
    if (under_way_.empty())
      return;
    ended_.insert_or_assign(row.job, entry{last_, row});
    order_.emplace_back(last_, row.job);
  }

  const job_row* find(job_id job) const {
    const auto at = ended_.find(job);
    return at == ended_.end() ? nullptr : &at->second.row;
  }

  std::size_t size() const { return ended_.size(); }

private:
  struct entry {
    std::uint64_t since = 0; ///< the last submission that had set out by then
    job_row row;
  };
  std::uint64_t last_ = 0;
  std::set<std::uint64_t> under_way_;
  std::map<job_id, entry> ended_;
  std::deque<std::pair<std::uint64_t, job_id>> order_;
};

} // namespace troupe::actors
