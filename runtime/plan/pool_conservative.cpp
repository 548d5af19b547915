// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/pool_conservative.hpp"

#include "runtime/plan/easy.hpp"

namespace troupe::plan {

conservative_pool::conservative_pool(const pool_config& config)
    : config_(config), profile_(config.processors) {}

expected<void> conservative_pool::submit(const pool_job& job) {
  if (auto fine = check_pool_job(job, config_.processors, jobs_.size()); !fine)
    return fine;
  jobs_.push_back({job, order_key(config_.order, as_ordered(job), now_), never, never, 0});
  new_jobs_.push_back(entry(jobs_.back()));
  return {};
}

void conservative_pool::ended(std::uint32_t number, instant now) {
  auto& job = jobs_[number];
  if (job.end > now) {
    profile_.give(now, job.end, job.job.processors);
    settled_ = false;
  }
  ended_ = true;
}

void conservative_pool::set_predicted_end(std::uint32_t number, instant end) {
  auto& job = jobs_[number];
  if (end > job.end) {
    profile_.take(job.end, end, job.job.processors);
    outlived_ = true;
  } else {
    profile_.give(end, job.end, job.job.processors);
    settled_ = false;
  }
  job.end = end;
}

void conservative_pool::pass(instant now, std::vector<pool_start>& starts) {
  now_ = now;
  profile_.advance(now);
  sort_anew();
  if (outlived_)
    replan();
  else if (ended_ && !settled_)
    compress();
  ended_ = outlived_ = false;
  queue_new_jobs();
  start_due(starts);
}

instant conservative_pool::next_start() const {
  return promised_.empty() ? never : promised_.begin()->at;
}

template <class F>
void conservative_pool::each_waiting(F&& f) {
  for (const auto& block : queue_.blocks())
    for (const auto& job : block.items)
      f(jobs_[job.number]);
}

waiting_job conservative_pool::entry(const record& job) {
  return {job.key, job.job.number, job.job.processors, job.job.estimate};
}

void conservative_pool::queue_new_jobs() {
  std::sort(new_jobs_.begin(), new_jobs_.end());
  for (const auto& entry : new_jobs_) {
    queue_.insert(entry);
    place(jobs_[entry.number], profile_.earliest(entry.processors, entry.estimate, now_));
  }
  new_jobs_.clear();
}

void conservative_pool::withdraw(record& job) {
  profile_.give(job.start, job.end, job.job.processors);
  promised_.erase({job.start, job.promise, job.job.number});
}

void conservative_pool::place(record& job, instant start) {
  if (start != job.start)
    job.promise = ++promises_;
  job.start = start;
  job.end = later(start, job.job.estimate);
  profile_.take(job.start, job.end, job.job.processors);
  promised_.insert({job.start, job.promise, job.job.number});
}

/// Each job in turn to the earliest time that is left for it. One that is to start now stays.
void conservative_pool::compress() {
  settled_ = true;
  each_waiting([this](record& job) {
    if (job.start <= now_)
      return;
    profile_.give(job.start, job.end, job.job.processors);
    auto start = profile_.earliest(job.job.processors, job.job.estimate, now_);
    profile_.take(job.start, job.end, job.job.processors);
    if (start == job.start)
      return;
    withdraw(job);
    place(job, start);
    settled_ = false;
  });
}

/// What was promised on a prediction that did not hold is promised anew.
void conservative_pool::replan() {
  each_waiting([this](record& job) { withdraw(job); });
  each_waiting([this](record& job) {
    place(job, profile_.earliest(job.job.processors, job.job.estimate, now_));
  });
  settled_ = false;
}

void conservative_pool::start_due(std::vector<pool_start>& starts) {
  while (!promised_.empty() && promised_.begin()->at <= now_) {
    auto& job = jobs_[promised_.begin()->number];
    promised_.erase(promised_.begin());
    bool first = queue_.front().number == job.job.number;
    queue_.erase(queue_.find(entry(job)));
    starts.push_back({job.job.number, !first});
  }
}

/// New jobs are not in the queue yet: they are placed behind the promises of those who were.
void conservative_pool::sort_anew() {
  if (!changes_with_time(config_.order) || (!ended_ && !outlived_))
    return;
  queue_.change_all([this](waiting_job& waiting) {
    auto& job = jobs_[waiting.number];
    job.key = waiting.key = order_key(config_.order, as_ordered(job.job), now_);
  });
}

} // namespace troupe::plan
