// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/order.hpp"
#include "runtime/sim/replay.hpp"

#include <algorithm>
#include <map>
#include <set>

/// Replays of a log written to be read, not to be fast: every sum is computed anew from the list of
/// jobs, second by second where a policy speaks of times to come. Small workloads only.
namespace troupe::plan::pool_reference {

struct played_job {
  sim::workload_job is;
  duration estimate = 0, first_estimate = 0, expected = 0;
  instant overdue_at = never;
  std::uint32_t corrections = 0;
  instant start = never; ///< or promised, while `waits` and the policy is conservative
  std::uint64_t order = 0;
  enum { to_come, waits, runs, over } state = to_come;

  instant predicted_end() const { return start + estimate; }
};

class world {
public:
  world(const std::vector<sim::workload_job>& jobs, const sim::replay_options& options)
      : options_(options) {
    for (const auto& job : jobs)
      jobs_.push_back({job, 0, 0, 0, never, 0, never, 0, played_job::to_come});
  }

  std::vector<instant> play() {
    for (now_ = 0; left() > 0; ++now_)
      second();
    std::vector<instant> starts;
    for (const auto& job : jobs_)
      starts.push_back(job.start);
    return starts;
  }

private:
  bool each() const { return options_.events == sim::event_mode::each; }
  std::int64_t left() const {
    return std::count_if(jobs_.begin(), jobs_.end(),
                         [](const auto& job) { return job.state != played_job::over; });
  }

  void second() {
    bool any = false;
    for (auto& job : jobs_)
      if (job.state == played_job::runs && job.predicted_end() == now_ &&
          job.start + job.is.run > now_) {
        correct(job);
        any = true;
      }
    for (std::size_t i = 0; i < jobs_.size(); ++i)
      if (jobs_[i].is.submit == now_) {
        submit(jobs_[i]);
        any = true;
        if (each())
          pass();
      }
    for (auto* job : by_start()) {
      if (job->start + job->is.run != now_)
        continue;
      job->state = played_job::over;
      runs_[job->is.user].push_back(job->is.run);
      similar_[{job->is.user, job->is.request}].push_back(job->is.run);
      ended_ = any = true;
      if (each())
        pass();
    }
    if ((any && !each()) || promised_now())
      pass();
  }

  std::vector<played_job*> by_start() {
    std::vector<played_job*> out;
    for (auto& job : jobs_)
      if (job.state == played_job::runs)
        out.push_back(&job);
    std::sort(out.begin(), out.end(), [](auto* a, auto* b) { return a->order < b->order; });
    return out;
  }

  bool conservative() const { return options_.machine.policy == pool_policy::conservative; }
  bool promised_now() const {
    return conservative() && std::any_of(jobs_.begin(), jobs_.end(), [this](const auto& job) {
             return job.state == played_job::waits && job.start == now_;
           });
  }

  void correct(played_job& job) {
    const std::vector<duration> minutes{1, 5, 15, 30, 60, 120, 300, 600, 1200, 3000, 6000};
    auto step = job.corrections++;
    bool to_request = options_.correction == correction::request || step >= minutes.size();
    job.estimate = to_request ? job.is.request
                              : std::min(job.is.request, job.first_estimate + 60 * minutes[step]);
    outlived_ = true;
  }

  void submit(played_job& job) {
    job.estimate = job.is.request;
    const auto& known = runs_[job.is.user];
    if (options_.estimates == estimates::actual)
      job.estimate = job.is.run;
    else if (options_.estimates == estimates::user_average && known.size() >= 2)
      job.estimate = std::min(job.is.request, (known.back() + known[known.size() - 2]) / 2);
    job.first_estimate = job.expected = job.estimate;
    if (options_.machine.policy == pool_policy::slowdown)
      bound_overtaking(job);
    else if (!conservative() && options_.machine.overtake_limit > 0)
      job.overdue_at = now_ + options_.machine.overtake_limit;
    job.state = played_job::waits;
  }

  void bound_overtaking(played_job& job) {
    const auto& same = similar_[{job.is.user, job.is.request}];
    const auto& known = same.size() >= 2 ? same : runs_[job.is.user];
    if (options_.estimates != estimates::actual && known.size() >= 2)
      job.expected = std::min(job.is.request, (known.back() + known[known.size() - 2]) / 2);
    else if (options_.estimates != estimates::actual)
      job.expected = job.is.request;
    std::int64_t ahead = 0;
    for (const auto& other : jobs_) {
      bool waiting = other.state == played_job::waits;
      if (waiting || other.state == played_job::runs)
        ahead +=
            (waiting ? other.expected : other.start + other.expected - now_) * other.is.processors;
    }
    longest_ = std::max(longest_, job.estimate);
    auto limit = options_.machine.overtake_limit;
    if (limit == 0)
      limit = std::max<std::int64_t>(ahead, 0) / options_.machine.processors + longest_;
    job.overdue_at = now_ + limit;
  }

  double key(queue_order order, const played_job& job) const {
    return order_key(order, {job.expected, job.is.processors, job.is.submit, job.overdue_at}, now_);
  }

  std::vector<played_job*> waiting(queue_order order) {
    std::vector<played_job*> out;
    for (auto& job : jobs_)
      if (job.state == played_job::waits)
        out.push_back(&job);
    std::stable_sort(out.begin(), out.end(),
                     [&](auto* a, auto* b) { return key(order, *a) < key(order, *b); });
    return out;
  }

  std::int64_t free_at(instant at) const {
    std::int64_t free = options_.machine.processors;
    for (const auto& job : jobs_)
      if (job.state == played_job::runs && job.predicted_end() > at)
        free -= job.is.processors;
    return free;
  }

  void start(played_job& job) {
    job.start = now_;
    job.state = played_job::runs;
    job.order = ++order_;
  }

  void pass() { conservative() ? conservative_pass() : easy_pass(); }

  void easy_pass() {
    bool ours = options_.machine.policy == pool_policy::slowdown;
    auto queue = waiting(ours ? queue_order::slowdown : options_.machine.order);
    std::size_t first = 0;
    for (; first < queue.size() && free_at(now_) >= queue[first]->is.processors; ++first)
      start(*queue[first]);
    if (first == queue.size() || options_.machine.policy == pool_policy::fcfs)
      return;
    auto* head = queue[first];
    auto shadow = now_;
    while (free_at(shadow) < head->is.processors)
      ++shadow;
    auto spare = free_at(shadow) - head->is.processors;
    for (auto* job : waiting(ours ? queue_order::slowdown : options_.machine.backfill_order)) {
      bool gone = now_ + job->estimate <= shadow;
      if (job == head || free_at(now_) < job->is.processors ||
          (!gone && spare < job->is.processors))
        continue;
      if (!gone)
        spare -= job->is.processors;
      start(*job);
    }
  }

  /// Beside all that runs and all that is promised, but for the job itself.
  bool fits(const played_job& job, instant from) const {
    for (auto at = from; at < from + job.estimate; ++at) {
      auto free = free_at(at);
      for (const auto& other : jobs_)
        if (&other != &job && other.state == played_job::waits && other.start != never &&
            other.start <= at && other.predicted_end() > at)
          free -= other.is.processors;
      if (free < job.is.processors)
        return false;
    }
    return true;
  }

  void promise(played_job& job) {
    auto at = now_;
    while (!fits(job, at))
      ++at;
    if (at != job.start)
      job.order = ++order_;
    job.start = at;
  }

  void conservative_pass() {
    auto queue = waiting(options_.machine.order);
    std::vector<played_job*> fresh;
    for (auto* job : queue)
      if (job->start == never)
        fresh.push_back(job);
    std::map<played_job*, instant> before;
    for (auto* job : queue)
      if (outlived_ && before.emplace(job, job->start).second)
        job->start = never;
    for (auto* job : queue) {
      bool is_fresh = std::find(fresh.begin(), fresh.end(), job) != fresh.end();
      if (outlived_ && !is_fresh)
        promise_anew(*job, before[job]);
      else if (ended_ && !is_fresh && job->start > now_)
        promise(*job);
    }
    for (auto* job : fresh)
      promise(*job);
    ended_ = outlived_ = false;
    std::sort(queue.begin(), queue.end(), [](auto* a, auto* b) { return a->order < b->order; });
    for (auto* job : queue)
      if (job->start == now_)
        start(*job);
  }

  void promise_anew(played_job& job, instant before) {
    auto order = job.order;
    promise(job);
    if (job.start == before)
      job.order = order;
  }

  sim::replay_options options_;
  std::vector<played_job> jobs_;
  std::map<std::int64_t, std::vector<duration>> runs_; ///< of each user, in order of their ends
  std::map<std::pair<std::int64_t, duration>, std::vector<duration>> similar_; ///< and request
  duration longest_ = 0;
  instant now_ = 0;
  std::uint64_t order_ = 0;
  bool ended_ = false, outlived_ = false;
};

} // namespace troupe::plan::pool_reference
