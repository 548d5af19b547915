// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/plan_codec.hpp"
#include "actors/plan_time.hpp"
#include "actors/queue_numbers.hpp"
#include "actors/shares.hpp"
#include "actors/shell.hpp"
#include "runtime/plan/planner.hpp"

#include <map>
#include <string>

namespace troupe::actors {

/// Runs runtime/plan over the events the scheduler sends. Detached and never waited for: events are
/// taken as they come, one pass follows what has gathered, its decisions go back with the sequence
/// number of the last event it had seen.
class planner_state {
public:
  using interface = planner_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "planner";

  planner_state(self_pointer self, world& around, verified_capability cap,
                estimator_actor estimator);

  /// Where decisions go; before the first message.
  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  enum timer : std::uint8_t { timer_pass, timer_wakeup, timer_estimate, timer_clock };

  void take(plan_changes& what);
  void apply(const plan_event& event);
  expected<void> apply_changed(const plan_event& event);
  expected<void> submit(const plan_event& event, std::uint32_t pending);
  expected<void> enter(job_id job, utc_ns begin, const plan::job_request& as);
  expected<void> apply_restored(const plan_event& event);
  void note_refusal(const plan_event& event, const error& why);
  bool follow_clock();
  void watch_clock();
  void watch_clock_later();
  plan::instant predicted_end(const plan_event& event) const;
  plan::job_request request_of(const plan_event& event, std::uint32_t pending);
  expected<void> add_node(const plan_event& event);
  void pass();
  void send_decisions(const plan::pass_result& from);
  // planner_policy.cpp
  expected<void> configure(const std::shared_ptr<cluster_config const>& from);
  expected<void> reserve(const plan_event& event);
  expected<void> enter_reservation(const plan::advance_reservation& what);
  void share_out();
  void estimate();
  void take_estimates(const std::shared_ptr<plan::start_estimates const>& estimates);
  job_expectations expect(const expect_starts& what) const;
  start_forecast forecast(const check_job& what);
  plan::wording words() const;
  utc_ns told_start(const std::optional<plan::instant>& expected) const;
  void wake_at(plan::instant when);
  // planner_look.cpp
  expected<why_view> why(request<why_job>& what) const;
  node_rows nodes() const;
  status_report status(status_verbosity verbosity) const;
  std::uint64_t core_slot(std::uint64_t unit) const;
  std::uint64_t unit_of(plan::slot_id slot) const;

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  scheduler_actor scheduler_;
  plan::planner_core core_;
  std::map<std::uint64_t, std::uint64_t> restored_; ///< unit of a recovered job → core's slot
  estimator_actor estimator_;
  plan_time time_;
  std::map<job_id, utc_ns> begins_; ///< of jobs that are not to start before, in wall time
  /// Those that have not been given up, with their times by the wall clock.
  std::map<plan::reservation_id, plan::advance_reservation> reservations_;
  std::map<job_id, std::string> unplanned_; ///< what the core does not take, and why
  plan_names names_;
  std::map<std::uint32_t, std::string> node_names_; ///< also of nodes that leave
  std::map<job_id, std::string> missing_nodes_;     ///< that jobs ask for by name
  std::shared_ptr<cluster_config const> config_;
  queue_numbers queues_;
  share_table shares_;
  bool shares_changed_ = false;
  plan::instant shares_next_ = 0;
  bool estimates_due_ = false; ///< something has changed since the last ones
  bool estimates_under_way_ = false;
  bool estimate_timer_ = false;
  bool clock_timer_ = false;
  plan::instant estimates_next_ = 0;
  std::uint64_t sequence_ = 0;
  bool pass_due_ = false;
  plan::instant wakeup_ = plan::never;
  std::uint64_t passes_ = 0, decisions_ = 0, events_ = 0, refused_events_ = 0;
  std::int64_t pass_ns_max_ = 0;
};

} // namespace troupe::actors
