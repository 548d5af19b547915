// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"

#include <fmt/format.h>

namespace troupe::actors {

scheduler_state::scheduler_state(self_pointer self, world& around, verified_capability cap,
                                 peers to, scheduler_start start)
    : self_{self}, world_{around}, cap_{std::move(cap)}, to_{std::move(to)} {
  started_utc_ns_ = world_.clock.utc();
  begin(std::move(start));
}

scheduler_actor::behavior_type scheduler_state::make_behavior(auth::guard_observer& guard) {
  guard_ = &guard;
  tick_later(self_, world_, std::chrono::seconds(5));
  if (!doomed_.empty())
    tick_later(self_, world_, std::chrono::seconds(0), 1);
  return secure_behavior<scheduler_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>& what) {
        if (what.msg.timer == 0)
          check_unattended();
        end_doomed();
        forget_ended_reservations();
      }),
      on<submit_jobs>([this](request<submit_jobs>& what) { return submit(what); }),
      on<cancel_jobs>([this](request<cancel_jobs>& what) { return cancel(what); }),
      on<hold_jobs>(
          [this](request<hold_jobs>& what) { return set_held(what.cap, what.msg.selector, true); }),
      on<release_jobs>([this](request<release_jobs>& what) {
        return set_held(what.cap, what.msg.selector, false);
      }),
      on<modify_jobs>([this](request<modify_jobs>& what) { return modify(what); }),
      on<check_job>([this](request<check_job>& what) { return check(what); }),
      on<list_queues>([this](request<list_queues>&) { return queues(); }),
      on<make_reservation>([this](request<make_reservation>& what) { return reserve(what); }),
      on<drop_reservation>([this](request<drop_reservation>& what) { return unreserve(what); }),
      on<list_reservations>([this](request<list_reservations>&) { return reservations(); }),
      on<apply_config>([this](request<apply_config>& what) { return apply(what); }),
      on<signal_jobs>([this](request<signal_jobs>& what) { return signal(what); }),
      on<list_queue>([this](request<list_queue>& what) { return queue(what); }),
      on<show_job>([this](request<show_job>& what) { return show(what); }),
      on<why_job>([this](request<why_job>& what) { return why(what); }),
      on<locate_element>([this](request<locate_element>& what) { return locate(what); }),
      on<await_jobs>([this](request<await_jobs>& what) { return await(what); }),
      on<troupe::start_step>(
          [this](request<troupe::start_step>& what) { return start_step(what); }),
      on<troupe::await_step>(
          [this](request<troupe::await_step>& what) { return await_step(what); }),
      on<troupe::await_spawned>(
          [this](request<troupe::await_spawned>& what) { return await_spawned(what); }),
      on<troupe::signal_step>(
          [this](request<troupe::signal_step>& what) { return signal_step(what); }),
      on<pause_starts>([this](request<pause_starts>& what) { pause(what.msg.on); }),
      on<troupe::end_running>(
          [this](request<troupe::end_running>& what) { return end_running(what); }),
      on<attach_job>([this](request<attach_job>& what) { attach(what); }),
      on<detach_follower>([this](request<detach_follower>& what) { detach(what.msg); }),
      on<list_nodes>([this](request<list_nodes>& what) { return list(what); }),
      on<set_nodes>([this](request<set_nodes>& what) { return set(what); }),
      on<place_jobs>([this](request<place_jobs>& what) { place(what.msg); }),
      on<job_progress>([this](request<job_progress>& what) { take_progress(what.msg); }),
      on<report_inventory>([this](request<report_inventory>& what) { take_inventory(what.msg); }),
      on<get_summary>([this](request<get_summary>&) { return summary(); }));
}

status_report scheduler_state::status() const {
  status_report report;
  report.actor = name;
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  std::uint64_t live = 0;
  for (const auto& [id, job] : jobs_)
    live += static_cast<bool>(job.actor);
  add("jobs unfinished", jobs_.size());
  add("of them with an actor", live);
  add("submitted since start", submitted_);
  add("finished since start", finished_);
  add("clients waiting for ends", waiters_.size());
  add("clients waiting for a place", parked_.size());
  add("nodes", nodes_.size());
  add("sequence told to the planner", plan_sequence_);
  return report;
}

cluster_summary scheduler_state::summary() const {
  cluster_summary result;
  result.name = world_.config.cluster_name;
  result.version = world_.config.version;
  result.started_utc_ns = started_utc_ns_;
  auto ready = true;
  for (const auto& [id, node] : nodes_) {
    if (node.leaving)
      continue;
    ++result.nodes;
    result.cores += static_cast<std::uint32_t>(node.entry->offers->cores.size());
    result.oversubscribed = result.oversubscribed || node.entry->offers->oversubscribed;
    ready = ready && node.connected;
  }
  for (const auto& [id, job] : jobs_) {
    if (job.row.state == job_state::pending)
      ++result.pending;
    else
      ++result.running;
  }
  result.state = paused_ ? "stopping" : ready ? "ready" : "starting";
  return result;
}

} // namespace troupe::actors
