// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/walk.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace troupe::plan {

namespace {

/// So many classes are sorted at first: those that may have reservations, and some.
constexpr std::size_t sorted_at_first = 256;

} // namespace

queue_key ordering::key_at(queue_key key, const order_view& view, instant now) const {
  if (is_static())
    return key;
  bool overdue = bound != overtaking::free && now >= view.overdue_at;
  key.overdue = overdue && bound == overtaking::bounded;
  if (key.overdue)
    key.points = key.score = 0;
  else if (overdue)
    key.score = -std::numeric_limits<double>::infinity();
  else if (computed)
    key.score = score(view, now);
  key.points = by_priority ? key.points : 0;
  return key;
}

queue_walk::queue_walk(const job_queue& queue, const ordering& by, instant now,
                       std::vector<ranked_class>& ranks)
    : queue_(&queue), by_(by), now_(now), fresh_(queue.heads().begin()), ranks_(&ranks) {}

/// The queue's own order has equal priorities side by side: they are counted, the rest is compared.
void queue_walk::rank_all() {
  auto& ranks = *ranks_;
  ranks.clear();
  ranks.reserve(queue_->heads().size());
  std::uint64_t above = 0, points = 1;
  queue_key before;
  queue_->heads().each([&](const class_head& head) {
    if (head.key.priority != before.priority && !ranks.empty())
      ++above;
    points += by_.by_priority && head.key.points != before.points ? 1 : 0;
    before = head.key;
    auto key = by_.key_at(head.key, head.view, now_);
    ranks.push_back({above << 32 | (key.overdue ? 0 : points), key.score, key.seq, head.group,
                     head.limit, head.least});
    return true;
  });
}

void queue_walk::narrow(const room_bounds& free, const failed_needs& failed) {
  if (by_.is_static())
    return;
  if (!std::exchange(ranked_, true))
    rank_all();
  failed_ = &failed;
  leave_out([&](const ranked_class& each) { return !free.may_hold(each.least); });
}

/// Of those that have not come yet.
template <class F>
void queue_walk::leave_out(F&& unwanted) {
  auto from = ranks_->begin() + static_cast<std::ptrdiff_t>(next_);
  ranks_->erase(std::remove_if(from, ranks_->end(), unwanted), ranks_->end());
  sorted_ = next_;
  has_row_ = false;
}

/// Sorts as many as it has sorted so far, and more.
void queue_walk::sort_on() {
  if (failed_ != nullptr)
    leave_out(
        [&](const ranked_class& each) { return failed_->turns_down(each.least, each.limit); });
  auto& ranks = *ranks_;
  auto first = ranks.begin() + static_cast<std::ptrdiff_t>(next_);
  auto many = std::min(std::max(next_, sorted_at_first), ranks.size() - next_);
  auto last = first + static_cast<std::ptrdiff_t>(many);
  if (last != ranks.end())
    std::nth_element(first, last, ranks.end());
  std::sort(first, last);
  sorted_ += many;
}

const class_head* queue_walk::fresh() {
  if (by_.is_static())
    return fresh_ == queue_->heads().end() ? nullptr : &queue_->heads().at(fresh_);
  if (!std::exchange(ranked_, true))
    rank_all();
  auto& ranks = *ranks_;
  if (next_ == sorted_)
    sort_on();
  // Since it was sorted, others may have failed.
  while (failed_ != nullptr && !has_row_ && next_ < sorted_ &&
         failed_->turns_down(ranks[next_].least, ranks[next_].limit))
    if (++next_ == sorted_)
      sort_on();
  if (next_ == ranks.size())
    return nullptr;
  if (!std::exchange(has_row_, true)) {
    row_ = job_queue::head_of(*ranks[next_].group);
    row_.key = by_.key_at(row_.key, row_.view, now_);
  }
  return &row_;
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
  if (by_.is_static()) {
    fresh_ = queue_->heads().next(fresh_);
  } else {
    ++next_;
    has_row_ = false;
  }
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
  kept_.push_back({by_.key_at(at->key, at->job->view, now_), head, at});
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
