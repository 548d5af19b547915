// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/clock.hpp"
#include "messages/ids.hpp"

#include <unordered_map>

namespace troupe::actors {

/// When a job was first and last expected to start; 0: it never was.
struct start_promise {
  utc_ns first = 0;
  utc_ns last = 0;
};

/// What waiting jobs have been told, until they start.
class promise_table {
public:
  void promise(job_id job, utc_ns start) {
    auto& each = made_[job];
    if (each.first == 0)
      each.first = start;
    each.last = start;
  }

  start_promise take(job_id job) {
    auto at = made_.find(job);
    if (at == made_.end())
      return {};
    const auto made = at->second;
    made_.erase(at);
    return made;
  }

  void forget(job_id job) { made_.erase(job); }

private:
  std::unordered_map<job_id, start_promise> made_;
};

} // namespace troupe::actors
