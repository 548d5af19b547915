// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "runtime/plan/planner.hpp"

#include <map>

namespace troupe::actors {

/// Runs runtime/plan over the events the scheduler sends. Detached and never waited for: events are
/// taken as they come, one pass follows what has gathered, its decisions go back with the sequence
/// number of the last event it had seen.
class planner_state {
public:
  using interface = planner_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "planner";

  planner_state(self_pointer self, world& around, verified_capability cap);

  /// Where decisions go; before the first message.
  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  void take(plan_changes& what);
  void apply(const plan_event& event);
  expected<void> submit(const plan_event& event, std::uint32_t pending);
  expected<void> apply_restored(const plan_event& event);
  expected<void> add_node(const plan_event& event);
  void pass();
  void wake_at(plan::instant when);
  expected<why_view> why(request<why_job>& what) const;
  node_rows nodes() const;
  status_report status(status_verbosity verbosity) const;
  std::uint64_t core_slot(std::uint64_t unit) const;

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  scheduler_actor scheduler_;
  plan::planner_core core_;
  std::map<std::uint64_t, std::uint64_t> restored_; ///< unit of a recovered job → core's slot
  std::map<std::string, std::uint32_t, std::less<>> node_ids_;
  std::uint64_t sequence_ = 0;
  bool pass_due_ = false;
  plan::instant wakeup_ = plan::never;
  std::uint64_t passes_ = 0, decisions_ = 0, events_ = 0, refused_events_ = 0;
  std::int64_t pass_ns_max_ = 0;
};

} // namespace troupe::actors
