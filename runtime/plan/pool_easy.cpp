// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/pool_easy.hpp"

#include <string>

namespace troupe::plan {

easy_pool::easy_pool(const pool_config& config)
    : config_(config), machine_(config.processors), bound_(config.processors) {}

expected<void> easy_pool::submit(const pool_job& job) {
  if (auto fine = check_pool_job(job, config_.processors, jobs_.size()); !fine)
    return fine;
  record made{job, 0, 0, never, never};
  limit_overtaking(made.job);
  made.key = order_key(config_.order, as_ordered(made.job), now_);
  made.backfill_key = order_key(config_.backfill_order, as_ordered(made.job), now_);
  jobs_.push_back(made);
  new_jobs_.push_back(entry(made, made.backfill_key));
  return {};
}

void easy_pool::limit_overtaking(pool_job& job) {
  job.overdue_at = never;
  if (config_.overtake_limit > 0)
    job.overdue_at = later(job.submitted, config_.overtake_limit);
  else if (config_.policy == pool_policy::slowdown)
    job.overdue_at = later(job.submitted, bound_.limit(job));
  bound_.submitted(job);
}

void easy_pool::ended(std::uint32_t number, instant) {
  const auto& job = jobs_[number];
  bound_.ended(job.job, job.start);
  freed_ = machine_.end({job.end, number, job.job.processors}) || freed_;
}

void easy_pool::set_predicted_end(std::uint32_t number, instant end) {
  auto& job = jobs_[number];
  machine_.move_end({job.end, number, job.job.processors}, end);
  job.end = end;
  freed_ = true;
}

void easy_pool::pass(instant now, std::vector<pool_start>& starts) {
  now_ = now;
  starts_ = &starts;
  freed_ = machine_.advance(now) || freed_;
  if (only_new_jobs_matter())
    return pass_of_new_jobs();
  queue_new_jobs();
  freed_ = false;
  blocked_.reset();
  if (!anybody_fits())
    return;
  sort_anew();
  easy_pass(*this);
}

/// A new job that goes first in the queue changes whose reservation it is.
bool easy_pool::only_new_jobs_matter() const {
  if (freed_ || keys_change(config_.order) || keys_change(config_.backfill_order))
    return false;
  if (!blocked_)
    return new_jobs_.empty();
  return std::none_of(new_jobs_.begin(), new_jobs_.end(), [this](const waiting_job& job) {
    return entry(jobs_[job.number], jobs_[job.number].key) < *blocked_;
  });
}

bool easy_pool::anybody_fits() const {
  const auto& blocks = queue_.blocks();
  return std::any_of(blocks.begin(), blocks.end(), [this](const auto& block) {
    return block.summary.processors <= machine_.free();
  });
}

void easy_pool::queue_new_jobs() {
  for (const auto& job : new_jobs_) {
    queue_.insert(entry(jobs_[job.number], jobs_[job.number].key));
    if (two_orders())
      backfill_.insert(job);
  }
  new_jobs_.clear();
}

void easy_pool::pass_of_new_jobs() {
  scanned_ = new_jobs_;
  std::sort(scanned_.begin(), scanned_.end());
  next_scanned_ = 0;
  queue_new_jobs();
  scans_new_jobs_ = true;
  backfill_beside(*this, reservation_);
  scans_new_jobs_ = false;
}

void easy_pool::sort_anew() {
  if (keys_change(config_.order))
    sort_anew(queue_, config_.order, &record::key);
  if (two_orders() && keys_change(config_.backfill_order))
    sort_anew(backfill_, config_.backfill_order, &record::backfill_key);
}

void easy_pool::sort_anew(waiting_list& list, queue_order order, double record::*key) {
  list.change_all([&](waiting_job& job) {
    auto& known = jobs_[job.number];
    known.*key = job.key = order_key(order, as_ordered(known.job), now_);
  });
}

waiting_job easy_pool::entry(const record& job, double key) {
  return {key, job.job.number, job.job.processors, job.job.estimate};
}

std::optional<pool_promise> easy_pool::promise() const {
  if (!blocked_)
    return std::nullopt;
  return pool_promise{blocked_->number, reservation_.at()};
}

// -- what easy_pass sees --------------------------------------------------------------------------

std::optional<waiting_job> easy_pool::head() const {
  if (queue_.empty())
    return std::nullopt;
  return queue_.front();
}

bool easy_pool::start(const waiting_job& job, bool backfilled) {
  auto& known = jobs_[job.number];
  leave_queues(known);
  known.start = now_;
  known.end = end_if_started(job);
  bound_.started(known.job, now_);
  machine_.start({known.end, job.number, job.processors});
  starts_->push_back({job.number, backfilled});
  return true;
}

void easy_pool::leave_queues(const record& job) {
  auto& list = backfill_list();
  auto there = list.find(entry(job, two_orders() ? job.backfill_key : job.key));
  auto next = list.erase(there);
  if (looked_at_cursor_ && there == cursor_) {
    cursor_ = next;
    looked_at_cursor_ = false;
  }
  if (two_orders())
    queue_.erase(queue_.find(entry(job, job.key)));
}

bool easy_pool::backfills() const {
  return config_.policy != pool_policy::fcfs;
}

processor_reservation& easy_pool::reserve(const waiting_job& job) {
  blocked_ = job;
  reservation_ = machine_.reserve(job.processors);
  cursor_ = backfill_list().begin();
  looked_at_cursor_ = false;
  return reservation_;
}

std::optional<waiting_job> easy_pool::candidate(const processor_reservation& beside) {
  if (scans_new_jobs_) {
    if (next_scanned_ == scanned_.size())
      return std::nullopt;
    return scanned_[next_scanned_++];
  }
  // Exactly what the policy asks, so that blocks without anyone for it are passed over at once.
  auto worth_a_look = [&](const auto& wanted) {
    return wanted.processors <= machine_.free() &&
           (wanted.processors <= beside.spare() ||
            gone_by(later(now_, wanted.estimate), beside.at()));
  };
  const auto& list = backfill_list();
  if (looked_at_cursor_)
    cursor_ = list.next(cursor_);
  cursor_ = list.search(cursor_, worth_a_look, worth_a_look);
  looked_at_cursor_ = cursor_ != list.end();
  if (!looked_at_cursor_)
    return std::nullopt;
  return list.at(cursor_);
}

} // namespace troupe::plan
