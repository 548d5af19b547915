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

void run_counts::set_queue(queue_index queue, const queue_config& config) {
  auto& entry = queues_[queue];
  entry.config = config;
  entry.running.most = config.all;
  for (auto& [user, running] : entry.users)
    running.most = config.per_user;
  note_limits();
}

void run_counts::set_user(user_id user, const run_limits& own) {
  own_limits_[user] = own;
  users_[user].most = own;
  note_limits();
}

void run_counts::set_default_user(const run_limits& most) {
  default_limits_ = most;
  for (auto& [user, running] : users_)
    if (!own_limits_.contains(user))
      running.most = most;
  note_limits();
}

const queue_config& run_counts::queue(queue_index queue) const {
  static const queue_config none;
  auto known = queues_.find(queue);
  return known == queues_.end() ? none : known->second.config;
}

limit_group run_counts::group_of(queue_index queue, user_id user) {
  auto& entry = queues_[queue];
  auto [in_queue, new_in_queue] = entry.users.try_emplace(user);
  if (new_in_queue)
    in_queue->second.most = entry.config.per_user;
  auto [in_all, new_in_all] = users_.try_emplace(user);
  if (new_in_all)
    in_all->second.most = default_limits_;
  return {queue, &entry.running, &in_all->second, &in_queue->second};
}

bool run_counts::may_preempt(queue_index asking, queue_index running) const {
  const auto& preempts = queue(asking).preempts;
  return std::find(preempts.begin(), preempts.end(), running) != preempts.end();
}

} // namespace troupe::plan
