// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/pool_planner.hpp"
#include "runtime/plan/profile.hpp"
#include "runtime/plan/waiting_list.hpp"

#include <set>

namespace troupe::plan {

/// Conservative backfill (Mu'alem and Feitelson, "Utilization, predictability, workloads, and user
/// runtime estimates in scheduling the IBM SP2 with backfilling", 2001): every job is promised a
/// start when it is submitted. When a job ends, each waiting job in queue order is moved to the
/// earliest time that the others' promises leave; with correct predictions never to a later one.
class conservative_pool final : public pool_planner {
public:
  explicit conservative_pool(const pool_config& config);

  expected<void> submit(const pool_job& job) override;
  std::size_t submitted() const override { return jobs_.size(); }
  void ended(std::uint32_t number, instant now) override;
  void set_predicted_end(std::uint32_t number, instant end) override;
  void pass(instant now, std::vector<pool_start>& starts) override;
  instant next_start() const override;
  instant promised_start(std::uint32_t number) const override { return jobs_[number].start; }

private:
  struct record {
    pool_job job;
    double key = 0;
    instant start = never; ///< promised, or when it did
    instant end = never;   ///< predicted
    std::uint64_t promise = 0;
  };
  /// Starts at one time happen in the order in which they were promised.
  struct promised {
    instant at = never;
    std::uint64_t promise = 0;
    std::uint32_t number = 0;
    bool operator<(const promised& other) const {
      return at != other.at ? at < other.at : promise < other.promise;
    }
  };

  static waiting_job entry(const record& job);
  void queue_new_jobs();
  void sort_anew();
  void withdraw(record& job);
  void place(record& job, instant start);
  void compress();
  void replan();
  void start_due(std::vector<pool_start>& starts);
  template <class F>
  void each_waiting(F&& f);

  pool_config config_;
  profile profile_; ///< of what runs and what is promised
  std::vector<record> jobs_;
  waiting_list queue_;
  std::set<promised> promised_;
  std::vector<waiting_job> new_jobs_; ///< since the latest pass, placed by the next
  std::uint64_t promises_ = 0;

  instant now_ = 0;
  bool ended_ = false;    ///< something has, since the latest pass
  bool settled_ = true;   ///< moving every job once more would move none
  bool outlived_ = false; ///< a prediction was too short: promises may not hold
};

} // namespace troupe::plan
