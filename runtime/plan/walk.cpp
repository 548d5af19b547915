// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/walk.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace troupe::plan {

queue_key ordering::key_at(const job_record& job, instant now) const {
  auto key = job.key;
  if (is_static())
    return key;
  key.overdue = bounded && now >= job.overdue_at;
  if (key.overdue) {
    key.tier = 0;
    key.score = 0;
  } else if (!by_priority) {
    key.tier = counts->queue(job.queue).priority;
    const auto& kind = job.group->kind;
    auto cores = static_cast<std::uint32_t>(std::min<std::uint64_t>(job.unit_cores(), ~0u));
    order_view view{kind.expected / second, cores, job.submitted / second, never};
    key.score = order_key(order, view, now / second);
  }
  return key;
}

queue_walk::queue_walk(const job_queue& queue, const ordering& by, instant now)
    : queue_(&queue), by_(by), now_(now), fresh_(queue.heads().begin()) {
  if (by_.is_static())
    return;
  sorted_.reserve(queue.heads().size());
  queue.heads().each([&](class_head head) {
    head.key = by_.key_at(*head.group->waiting.begin()->job, now_);
    sorted_.push_back(head);
    return true;
  });
  std::sort(sorted_.begin(), sorted_.end());
}

const class_head* queue_walk::fresh() const {
  if (by_.is_static())
    return fresh_ == queue_->heads().end() ? nullptr : &queue_->heads().at(fresh_);
  return next_sorted_ == sorted_.size() ? nullptr : &sorted_[next_sorted_];
}

const class_head* queue_walk::next() {
  const auto* first = fresh();
  at_first_ = kept_.empty() || (first != nullptr && first->key < kept_.front().key);
  if (!at_first_) {
    std::pop_heap(kept_.begin(), kept_.end());
    current_ = kept_.back().head;
    at_ = kept_.back().at;
    kept_.pop_back();
    return &current_;
  }
  if (first == nullptr)
    return nullptr;
  current_ = *first;
  if (by_.is_static())
    fresh_ = queue_->heads().next(fresh_);
  else
    ++next_sorted_;
  return &current_;
}

job_record& queue_walk::job() {
  if (std::exchange(at_first_, false))
    at_ = current_.group->waiting.begin();
  return *at_->job;
}

void queue_walk::push(const class_head& head, cursor at) {
  if (at == head.group->waiting.end())
    return;
  kept_.push_back({by_.key_at(*at->job, now_), head, at});
  std::push_heap(kept_.begin(), kept_.end());
}

void queue_walk::keep_class() {
  job();
  push(current_, std::next(at_));
}

void queue_walk::started() {
  // The class has moved to its new first job, which is not before the one that started.
  if (by_.is_static())
    fresh_ = queue_->heads().lower_bound(class_head{current_.key});
  else
    push(current_, current_.group->waiting.begin());
}

} // namespace troupe::plan
