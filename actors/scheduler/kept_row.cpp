// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/kept_row.hpp"

#include <algorithm>

namespace troupe::actors {

namespace {

/// Everything but text, either way.
template <class From, class To>
void copy_figures(const From& from, To& to) {
  to.job = from.job;
  to.submitted_utc_ns = from.submitted_utc_ns;
  to.started_utc_ns = from.started_utc_ns;
  to.ended_utc_ns = from.ended_utc_ns;
  to.memory_bytes = from.memory_bytes;
  to.nodes = from.nodes;
  to.tasks = from.tasks;
  to.cores_per_task = from.cores_per_task;
  to.gpus_per_task = from.gpus_per_task;
  to.time_limit_s = from.time_limit_s;
  to.elements_total = from.elements_total;
  to.elements_pending = from.elements_pending;
  to.elements_running = from.elements_running;
  to.elements_failed = from.elements_failed;
  to.exit_code = from.exit_code;
  to.signal = from.signal;
  to.nice = from.nice;
  to.state = from.state;
  to.held = from.held;
}

} // namespace

kept_row::operator job_row() const {
  job_row row;
  copy_figures(*this, row);
  row.name = name;
  row.user = user();
  row.queue = queue();
  row.account = account();
  row.nodelist = nodelist_.text();
  row.reason = reason_.text();
  return row;
}

kept_row row_keeper::keep(job_row row) {
  kept_row kept;
  copy_figures(row, kept);
  kept.name = std::move(row.name);
  kept.owner_ = share({std::move(row.user), std::move(row.queue), std::move(row.account)});
  kept.nodelist_ = rare_text{row.nodelist};
  kept.reason_ = rare_text{row.reason};
  return kept;
}

std::shared_ptr<const kept_row::owner> row_keeper::share(kept_row::owner one) {
  if (auto at = owners_.find(one); at != owners_.end())
    return *at;
  if (owners_.size() >= prune_at_) {
    std::erase_if(owners_, [](const auto& each) { return each.use_count() == 1; });
    prune_at_ = std::max<std::size_t>(1024, owners_.size() * 2);
  }
  return *owners_.insert(std::make_shared<kept_row::owner const>(std::move(one))).first;
}

} // namespace troupe::actors
