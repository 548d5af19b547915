// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/processors.hpp"

namespace troupe::plan {

bool processors::advance(instant now) {
  bool any = false;
  for (; !ends_.empty() && ends_.front().at <= now; any = true) {
    free_ += ends_.front().processors;
    ends_.erase(ends_.begin());
  }
  return any;
}

void processors::start(const ending& job) {
  free_ -= job.processors;
  ends_.insert(job);
}

bool processors::end(const ending& job) {
  auto at = ends_.find(job);
  if (at == ends_.end())
    return false;
  free_ += job.processors;
  ends_.erase(at);
  return true;
}

void processors::move_end(const ending& job, instant at) {
  if (end(job))
    start({at, job.job, job.processors});
}

processor_reservation processors::reserve(std::uint32_t wanted) const {
  std::uint64_t free_then = free_;
  const auto& blocks = ends_.blocks();
  auto where = ends_.begin();
  for (; where.block < blocks.size() && free_then + blocks[where.block].summary.processors < wanted;
       ++where.block)
    free_then += blocks[where.block].summary.processors;
  // Whatever ends at the same instant comes free together.
  instant at = never;
  for (; where != ends_.end() && (free_then < wanted || ends_.at(where).at == at);
       where = ends_.next(where)) {
    free_then += ends_.at(where).processors;
    at = ends_.at(where).at;
  }
  return {at, static_cast<std::uint32_t>(free_then - wanted)};
}

} // namespace troupe::plan
