// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/future.hpp"

namespace troupe::plan {

namespace {

std::uint32_t cores_taken(const unit_need& need, const task_share& share,
                          std::uint32_t cores_of_node) {
  return need.exclusive ? cores_of_node : share.tasks * need.cores_per_task;
}

} // namespace

future::future(const node_pool& pool, const slot_table& slots, instant now)
    : slots_(slots), at_(now), next_(slots.by_end().begin()) {
  rooms_.reserve(pool.all().size());
  for (const auto& node : pool.all())
    rooms_.push_back({node.room(), node.units, node.state == node_state::up});
}

bool future::advance_until_fits(const unit_need& need) {
  fit_counter counter(need);
  each([&](std::uint32_t node, const node_room& room) {
    counter.change(node, 0, tasks_in(need, room));
    return true;
  });
  while (!counter.fits())
    if (!release_next(need, counter))
      return false;
  return true;
}

/// Frees everything that ends at the next instant, or one unit of those without a known end. A unit
/// beyond its predicted end may end any time.
bool future::release_next(const unit_need& need, fit_counter& counter) {
  bool running = next_ != slots_.by_end().end();
  if (!running && started_.empty())
    return false;
  auto end = running ? next_->end : never;
  if (!started_.empty())
    end = std::min(end, started_.top().end);
  at_ = std::max(at_, end);
  if (running && at_ == never) {
    release_running(need, counter);
    return true;
  }
  while (next_ != slots_.by_end().end() && next_->end <= at_)
    release_running(need, counter);
  while (!started_.empty() && started_.top().end <= at_) {
    const auto& ended = started_.top();
    for (std::size_t i = 0; i < ended.held.size(); ++i)
      give(need, counter, ended.held[i].node, ended.cores[i], ended.held[i].memory_bytes);
    started_.pop();
  }
  return true;
}

void future::release_running(const unit_need& need, fit_counter& counter) {
  for (const auto& held : slots_.at(next_->index).held)
    give(need, counter, held.node, static_cast<std::uint32_t>(held.cores.size()),
         held.memory_bytes);
  last_ended_ = *next_++;
}

void future::give(const unit_need& need, fit_counter& counter, std::uint32_t node,
                  std::uint32_t cores, std::uint64_t memory_bytes) {
  auto& entry = rooms_[node];
  auto before = tasks_in(need, entry.room);
  entry.room.cores += cores;
  entry.room.memory_bytes += memory_bytes;
  entry.room.idle = --entry.units == 0;
  if (entry.up)
    counter.change(node, before, tasks_in(need, entry.room));
}

void future::start(const unit_need& need, const std::vector<task_share>& shares, instant end) {
  end_of_started unit{end, ++order_, {}, {}};
  for (const auto& share : shares) {
    auto& entry = rooms_[share.node];
    auto cores = cores_taken(need, share, entry.room.cores_all);
    entry.room.cores -= cores;
    entry.room.memory_bytes -= need.memory_bytes;
    entry.room.idle = false;
    ++entry.units;
    unit.held.push_back({share.node, need.memory_bytes, {}});
    unit.cores.push_back(cores);
  }
  started_.push(std::move(unit));
}

reserved_future::reserved_future(const node_pool& pool, const slot_table& slots, instant now,
                                 const unit_need& need)
    : pool_(pool) {
  future then(pool, slots, now);
  then.advance_until_fits(need);
  at_ = then.at();
  last_ended_ = then.last_ended();
  chooser choose;
  choose.choose(need, then);
  shares_ = choose.shares();
  spare_.resize(pool.all().size());
  for (std::uint32_t i = 0; i < spare_.size(); ++i)
    spare_[i] = {then.room(i).cores, then.room(i).memory_bytes};
  take_spare(need, shares_);
}

void reserved_future::take_spare(const unit_need& need, const std::vector<task_share>& shares) {
  for (const auto& share : shares) {
    auto& left = spare_[share.node];
    left.cores -= cores_taken(need, share, pool_.at(share.node).cores);
    left.memory_bytes -= need.memory_bytes;
  }
}

} // namespace troupe::plan
