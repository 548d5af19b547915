// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/limits.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

bool limits(const run_limits& most) {
  return most.units > 0 || most.cores > 0;
}

} // namespace

void run_counts::note_limits() {
  any_ = limits(default_limits_) || std::any_of(own_limits_.begin(), own_limits_.end(),
                                                [](const auto& own) { return limits(own.second); });
  preempting_ = false;
  for (const auto& [index, entry] : queues_) {
    any_ = any_ || limits(entry.config.all) || limits(entry.config.per_user);
    preempting_ = preempting_ || !entry.config.preempts.empty();
  }
}

void run_counts::enter(running_count& count) {
  count.row = static_cast<std::uint32_t>(rows_.size());
  rows_.push_back(&count);
}

std::vector<running_count> run_counts::all() const {
  std::vector<running_count> out;
  out.reserve(rows_.size());
  for (const auto* each : rows_)
    out.push_back(*each);
  return out;
}

run_counts::queue_entry& run_counts::entry_of(queue_index queue) {
  auto [at, fresh] = queues_.try_emplace(queue);
  if (fresh)
    enter(at->second.running);
  return at->second;
}

running_count& run_counts::count_of(user_id user) {
  auto [at, fresh] = users_.try_emplace(user);
  if (fresh) {
    at->second.most = default_limits_;
    enter(at->second);
  }
  return at->second;
}

void run_counts::set_queue(queue_index queue, const queue_config& config) {
  auto& entry = entry_of(queue);
  entry.config = config;
  entry.running.most = config.all;
  for (auto& [user, running] : entry.users)
    running.most = config.per_user;
  note_limits();
}

void run_counts::set_user(user_id user, const run_limits& own) {
  own_limits_[user] = own;
  count_of(user).most = own;
  note_limits();
}

void run_counts::set_default_user(const run_limits& most) {
  default_limits_ = most;
  for (auto& [user, running] : users_)
    if (!own_limits_.contains(user))
      running.most = most;
  note_limits();
}

void run_counts::forget_users() {
  own_limits_.clear();
  set_default_user(default_limits_);
}

const queue_config& run_counts::queue(queue_index queue) const {
  static const queue_config none;
  auto known = queues_.find(queue);
  return known == queues_.end() ? none : known->second.config;
}

limit_group run_counts::group_of(queue_index queue, user_id user) {
  auto& entry = entry_of(queue);
  auto [in_queue, fresh] = entry.users.try_emplace(user);
  if (fresh) {
    in_queue->second.most = entry.config.per_user;
    enter(in_queue->second);
  }
  return {queue, &entry.running, &count_of(user), &in_queue->second};
}

bool run_counts::may_preempt(queue_index asking, queue_index running) const {
  const auto& preempts = queue(asking).preempts;
  return std::find(preempts.begin(), preempts.end(), running) != preempts.end();
}

} // namespace troupe::plan
