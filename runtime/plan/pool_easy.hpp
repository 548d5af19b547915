// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/easy.hpp"
#include "runtime/plan/overtake_bound.hpp"
#include "runtime/plan/pool_planner.hpp"
#include "runtime/plan/processors.hpp"
#include "runtime/plan/waiting_list.hpp"

namespace troupe::plan {

/// First come first served and EASY over interchangeable processors: the view that `easy_pass`
/// takes of them, and what spares it work without changing what it decides.
///
/// Between two passes without an end, time alone lets nothing start: what would end after the
/// shadow time ends later still, and the shadow time stays. So after mere submissions only the new
/// jobs are looked at, beside the reservation that was made before.
class easy_pool final : public pool_planner {
public:
  explicit easy_pool(const pool_config& config);

  expected<void> submit(const pool_job& job) override;
  std::size_t submitted() const override { return jobs_.size(); }
  void ended(std::uint32_t number, instant now) override;
  void set_predicted_end(std::uint32_t number, instant end) override;
  void pass(instant now, std::vector<pool_start>& starts) override;
  std::optional<pool_promise> promise() const override;

  // -- what easy_pass sees ----------------------------------------------------------------------

  std::optional<waiting_job> head() const;
  bool fits_now(const waiting_job& job) const { return job.processors <= machine_.free(); }
  bool start(const waiting_job& job, bool backfilled);
  bool backfills() const;
  processor_reservation& reserve(const waiting_job& job);
  std::optional<waiting_job> candidate(const processor_reservation& beside);
  instant end_if_started(const waiting_job& job) const { return later(now_, job.estimate); }
  bool fits_beside(const processor_reservation& beside, const waiting_job& job) const {
    return job.processors <= std::min(machine_.free(), beside.spare());
  }
  void take_spare(processor_reservation& beside, const waiting_job& job) {
    beside.take(job.processors);
  }
  void passed_over(const waiting_job&) const {}

private:
  struct record {
    pool_job job;
    double key = 0, backfill_key = 0;
    instant start = never; ///< of a running job
    instant end = never;   ///< predicted, of a running job
  };

  bool two_orders() const { return config_.backfill_order != config_.order; }
  static waiting_job entry(const record& job, double key);
  void limit_overtaking(pool_job& job);
  bool keys_change(queue_order order) const {
    return changes_with_time(order) || config_.overtake_limit > 0;
  }
  waiting_list& backfill_list() { return two_orders() ? backfill_ : queue_; }
  void sort_anew(waiting_list& list, queue_order order, double record::*key);
  void sort_anew();
  bool anybody_fits() const;
  bool only_new_jobs_matter() const;
  void queue_new_jobs();
  void pass_of_new_jobs();
  void leave_queues(const record& job);

  pool_config config_;
  processors machine_;
  overtake_bound bound_;     ///< with slowdown
  std::vector<record> jobs_; ///< by number
  waiting_list queue_;
  waiting_list backfill_;             ///< the same jobs in backfill order, where that is another
  std::vector<waiting_job> new_jobs_; ///< since the latest pass, in no queue yet

  instant now_ = 0;
  bool freed_ = false; ///< something ended or is to end at another time, since the latest pass
  std::optional<waiting_job> blocked_; ///< who has `reservation_`
  processor_reservation reservation_;
  waiting_list::position cursor_; ///< of the backfill scan
  bool looked_at_cursor_ = false;
  std::vector<waiting_job> scanned_; ///< instead of the whole list: new jobs
  std::size_t next_scanned_ = 0;
  bool scans_new_jobs_ = false;
  std::vector<pool_start>* starts_ = nullptr; ///< during a pass
};

} // namespace troupe::plan
