// SPDX-License-Identifier: Apache-2.0
#include "runtime/sim/replay.hpp"

#include <algorithm>
#include <queue>

namespace troupe::sim {

namespace {

using plan::instant;
using plan::never;

/// Every so many ends the caller hears of it.
constexpr std::size_t progress_step = 16384;

/// Something that happens to a started job; at one time in the order of the starts.
struct job_event {
  instant at = never;
  std::uint64_t order = 0;
  std::uint32_t job = 0;
  bool operator>(const job_event& other) const {
    return at != other.at ? at > other.at : order > other.order;
  }
};
using event_queue = std::priority_queue<job_event, std::vector<job_event>, std::greater<>>;

/// One replay: the events of a second in the order that docs/scheduling.md fixes.
class player {
public:
  player(const std::vector<workload_job>& jobs, const replay_options& options,
         plan::pool_planner& planner)
      : jobs_(jobs), options_(options), planner_(planner), starts_(jobs.size(), never),
        estimates_(jobs.size()), corrections_(jobs.size()),
        by_slowdown_(options.machine.policy == plan::pool_policy::slowdown) {}

  expected<std::vector<instant>> play(const replay_progress& progress) {
    for (auto now = next_time(); now != never; now = next_time()) {
      correct_outlived(now);
      if (auto fine = submit_due(now); !fine)
        return tl::unexpected<error>{fine.error()};
      end_due(now);
      if (options_.events == event_mode::instant || planner_.next_start() <= now)
        pass(now);
      if (progress && ended_ / progress_step != told_ / progress_step)
        progress(told_ = ended_);
    }
    return std::move(starts_);
  }

private:
  instant next_time() const {
    auto at = next_ < jobs_.size() ? jobs_[next_].submit : never;
    if (!ends_.empty())
      at = std::min(at, ends_.top().at);
    if (!outlived_.empty())
      at = std::min(at, outlived_.top().at);
    return std::min(at, planner_.next_start());
  }

  /// Decides nothing yet: a longer prediction is no reason to start anybody.
  void correct_outlived(instant now) {
    while (!outlived_.empty() && outlived_.top().at == now) {
      auto event = outlived_.top();
      outlived_.pop();
      const auto& job = jobs_[event.job];
      auto estimate = plan::corrected(options_.correction, estimates_[event.job],
                                      ++corrections_[event.job], job.request);
      event.at = starts_[event.job] + estimate;
      planner_.set_predicted_end(event.job, event.at);
      if (estimate < job.run)
        outlived_.push(event);
    }
  }

  expected<void> submit_due(instant now) {
    for (; next_ < jobs_.size() && jobs_[next_].submit == now; ++next_) {
      const auto& job = jobs_[next_];
      estimates_[next_] = estimate(job);
      auto number = static_cast<std::uint32_t>(next_);
      if (auto fine = planner_.submit(
              {number, job.processors, estimates_[next_], job.submit, expected_run(job)});
          !fine)
        return fine;
      if (options_.events == event_mode::each)
        pass(now);
    }
    return {};
  }

  /// Knowing the future, a policy goes by it.
  plan::duration expected_run(const workload_job& job) const {
    if (options_.estimates == plan::estimates::actual)
      return job.run;
    return by_slowdown_ ? similar_.predict(job.user, job.request) : 0;
  }

  plan::duration estimate(const workload_job& job) const {
    switch (options_.estimates) {
    case plan::estimates::request: return job.request;
    case plan::estimates::actual: return job.run;
    case plan::estimates::user_average: return users_.predict(job.user, job.request);
    }
    return job.request;
  }

  void end_due(instant now) {
    while (!ends_.empty() && ends_.top().at == now) {
      auto number = ends_.top().job;
      ends_.pop();
      ++ended_;
      const auto& job = jobs_[number];
      if (options_.estimates == plan::estimates::user_average)
        users_.learn(job.user, job.run);
      if (by_slowdown_)
        similar_.learn(job.user, job.request, job.run);
      planner_.ended(number, now);
      if (options_.events == event_mode::each)
        pass(now);
    }
  }

  void pass(instant now) {
    decided_.clear();
    planner_.pass(now, decided_);
    for (const auto& start : decided_) {
      const auto& job = jobs_[start.number];
      starts_[start.number] = now;
      ends_.push({now + job.run, ++order_, start.number});
      if (estimates_[start.number] < job.run)
        outlived_.push({now + estimates_[start.number], order_, start.number});
    }
  }

  const std::vector<workload_job>& jobs_;
  const replay_options& options_;
  plan::pool_planner& planner_;
  std::vector<instant> starts_;
  std::vector<plan::duration> estimates_; ///< at submission
  std::vector<std::uint8_t> corrections_; ///< how many so far
  plan::user_average users_;
  plan::similar_jobs similar_; ///< with the policy slowdown
  std::size_t next_ = 0;       ///< to be submitted
  event_queue ends_;
  event_queue outlived_; ///< predictions that end before their jobs do
  std::uint64_t order_ = 0;
  std::size_t ended_ = 0, told_ = 0;
  std::vector<plan::pool_start> decided_;
  bool by_slowdown_;
};

} // namespace

expected<std::vector<instant>> replay(const std::vector<workload_job>& jobs,
                                      const replay_options& options,
                                      const replay_progress& progress) {
  auto planner = plan::make_pool_planner(options.machine);
  if (!planner)
    return tl::unexpected<error>{planner.error()};
  return player{jobs, options, **planner}.play(progress);
}

} // namespace troupe::sim
