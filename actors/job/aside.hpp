// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/job/job.hpp"

namespace troupe::actors {

/// What is known of a job whose story the ledger cannot tell.
struct aside_birth {
  job_id job = 0;
  std::uint32_t uid = 0;
  job_row row;        ///< its reason says why
  job_spec spec;      ///< empty where the ledger does not have it
  std::string ending; ///< it was cancelled before: why
  /// Places that something of it may still have: they are not given to others meanwhile.
  std::vector<placed_chunk> placed;
  std::vector<std::shared_ptr<node_entry const>> nodes;
};

/// A job that was set aside: nothing of it is started, judged or given back. What its launchers run
/// is left alone until somebody cancels the job: then it is ended, and when nothing of it is left
/// the job's end is written.
class aside_job {
public:
  using interface = job_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "job";

  aside_job(self_pointer self, world& around, verified_capability cap, job_links links,
            aside_birth birth);

  interface::behavior_type make_behavior(auth::guard_observer& guard);
  std::string display_name() const;

private:
  caf::result<jobs_changed> cancel(request<cancel_elements>& what);
  caf::result<job_view> view(const request<get_job_view>& what) const;
  caf::error refusal() const;
  job_agreed reconcile(const reconcile_job& what);
  void take_records(const report_records& what);
  void end_all();
  void finish_if_over();
  void publish(bool finished);
  void hold_places();

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  job_links links_;
  aside_birth birth_;
  std::map<std::uint32_t, job_node> nodes_;
  std::set<std::uint32_t> unasked_; ///< nodes that have not said what they have
  std::map<std::uint32_t, std::map<group_key, interval_set>> running_; ///< or queued; by node
  std::vector<plan_event> plan_events_;
  std::uint64_t units_ = 0; ///< that the planner holds for it
  bool held_ = false, writing_ = false, finished_ = false;
};

} // namespace troupe::actors
