// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/protocol.hpp"

// Who may send what: one line per message. A message without a line here does not compile into any
// behaviour. `own` verbs reach what the subject owns; `any` verbs reach everything.

namespace troupe {

/// People, and jobs that act for them.
inline constexpr kind_set people = auth::kinds(auth::subject_kind::user, auth::subject_kind::job);
inline constexpr kind_set roles = auth::kinds(auth::subject_kind::role);
inline constexpr kind_set jobs_or_roles =
    auth::kinds(auth::subject_kind::job, auth::subject_kind::role);

} // namespace troupe

namespace troupe::auth {

template <>
struct policy<get_status>
    : allow<verb::console_read, kinds(subject_kind::user, subject_kind::role)> {};
template <>
struct policy<tick> : allow<verb::supervise, troupe::roles> {};

template <>
struct policy<open_session> : allow<verb::session_open, troupe::roles> {};
template <>
struct policy<note_refusal> : allow<verb::session_open, troupe::roles> {};
template <>
struct policy<note_admission> : allow<verb::session_open, troupe::roles> {};
template <>
struct policy<request_warrants> : allow<verb::job_submit, troupe::people> {};
template <>
struct policy<describe_caller> : allow<verb::job_submit, troupe::people> {};
template <>
struct policy<amend_warrant>
    : allow_own_or_any<verb::job_modify, verb::job_modify_any, troupe::people> {
  static resource_ref resource(const amend_warrant& message) {
    return resource_ref::job(message.job);
  }
};
template <>
struct policy<sign_orders> : allow<verb::order_sign, troupe::jobs_or_roles> {};
template <>
struct policy<release_orders> : allow<verb::order_sign, troupe::jobs_or_roles> {
  static resource_ref resource(const release_orders& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<forget_job> : allow<verb::order_sign, troupe::jobs_or_roles> {};
template <>
struct policy<list_keys> : allow<verb::keys_read, troupe::people> {};
template <>
struct policy<tail_audit> : allow<verb::audit_read, troupe::people> {};
template <>
struct policy<verify_audit> : allow<verb::audit_read, troupe::people> {};
template <>
struct policy<revoke_capabilities> : allow<verb::capability_revoke, troupe::people> {};

template <>
struct policy<append_entries> : allow<verb::ledger_write, troupe::jobs_or_roles> {};
template <>
struct policy<fetch_submission> : allow<verb::ledger_read, troupe::jobs_or_roles> {};
template <>
struct policy<query_history>
    : allow_own_or_any<verb::history_read, verb::history_read_any, troupe::people> {};
template <>
struct policy<query_estimates>
    : allow_own_or_any<verb::history_read, verb::history_read_any, troupe::people> {};
template <>
struct policy<query_job>
    : allow_own_or_any<verb::history_read, verb::history_read_any, troupe::people> {
  static resource_ref resource(const query_job& message) { return resource_ref::job(message.job); }
};
template <>
struct policy<query_rows>
    : allow_own_or_any<verb::history_read, verb::history_read_any, troupe::people> {};
template <>
struct policy<query_ends>
    : allow_own_or_any<verb::history_read, verb::history_read_any, troupe::people> {};

template <>
struct policy<find_request> : allow<verb::job_submit, troupe::people> {};
template <>
struct policy<submit_jobs> : allow<verb::job_submit, troupe::people> {};
template <>
struct policy<cancel_jobs>
    : allow_own_or_any<verb::job_cancel, verb::job_cancel_any, troupe::people> {};
template <>
struct policy<hold_jobs> : allow_own_or_any<verb::job_hold, verb::job_hold_any, troupe::people> {};
template <>
struct policy<release_jobs> : allow_own_or_any<verb::job_hold, verb::job_hold_any, troupe::people> {
};
template <>
struct policy<modify_jobs>
    : allow_own_or_any<verb::job_modify, verb::job_modify_any, troupe::people> {};
template <>
struct policy<check_job> : allow<verb::job_submit, troupe::people> {};
template <>
struct policy<signal_jobs>
    : allow_own_or_any<verb::job_signal, verb::job_signal_any, troupe::people> {};
template <>
struct policy<list_queue> : allow<verb::queue_read, troupe::people> {};
template <>
struct policy<show_job> : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {
  static resource_ref resource(const show_job& message) { return resource_ref::job(message.job); }
};
template <>
struct policy<why_job>
    : allow_own_or_any<verb::job_read, verb::job_read_any,
                       kinds(subject_kind::user, subject_kind::job, subject_kind::role)> {
  static resource_ref resource(const why_job& message) { return resource_ref::job(message.job); }
};
template <>
struct policy<await_jobs> : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {};
template <>
struct policy<start_step> : allow<verb::job_submit, troupe::people> {
  static resource_ref resource(const start_step& message) { return resource_ref::job(message.job); }
};
template <>
struct policy<await_step> : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {
  static resource_ref resource(const await_step& message) { return resource_ref::job(message.job); }
};
template <>
struct policy<await_spawned>
    : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {
  static resource_ref resource(const await_spawned& message) {
    return resource_ref::job(message.job);
  }
};
template <>
struct policy<signal_step>
    : allow_own_or_any<verb::job_signal, verb::job_signal_any, troupe::people> {
  static resource_ref resource(const signal_step& message) {
    return resource_ref::job(message.job);
  }
};
template <>
struct policy<warrant_step> : allow_own_or_any<verb::job_submit, verb::step_speak, troupe::people> {
};
template <>
struct policy<attach_job> : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {
  static resource_ref resource(const attach_job& message) { return resource_ref::job(message.job); }
};
template <>
struct policy<detach_follower> : allow<verb::session_open, troupe::roles> {};
template <>
struct policy<list_nodes>
    : allow<verb::node_read, kinds(subject_kind::user, subject_kind::job, subject_kind::role)> {};
template <>
struct policy<set_nodes> : allow<verb::node_write, troupe::people> {};

template <>
struct policy<list_queues> : allow<verb::queue_read, troupe::people> {};
template <>
struct policy<make_reservation> : allow<verb::reservation_write, troupe::people> {};
template <>
struct policy<drop_reservation> : allow<verb::reservation_write, troupe::people> {};
template <>
struct policy<list_reservations> : allow<verb::queue_read, troupe::people> {};
template <>
struct policy<show_config> : allow<verb::queue_read, troupe::people> {};
template <>
struct policy<reload_config> : allow<verb::config_write, troupe::people> {};
template <>
struct policy<apply_config> : allow<verb::config_write, troupe::people> {};

template <>
struct policy<plan_changes> : allow<verb::plan_decide, troupe::roles> {};
template <>
struct policy<place_jobs> : allow<verb::plan_decide, troupe::roles> {};

template <>
struct policy<estimate_queue> : allow<verb::plan_decide, troupe::roles> {};
template <>
struct policy<expect_starts> : allow<verb::plan_decide, troupe::roles> {};

template <>
struct policy<preempt_units> : allow<verb::job_start, troupe::roles> {};
template <>
struct policy<start_units> : allow<verb::job_start, troupe::roles> {};
template <>
struct policy<allow_refill> : allow<verb::job_start, troupe::roles> {};
template <>
struct policy<cancel_elements>
    : allow_own_or_any<verb::job_cancel, verb::job_cancel_any,
                       kinds(subject_kind::user, subject_kind::job, subject_kind::role)> {};
template <>
struct policy<stop_elements> : allow<verb::job_start, troupe::roles> {};
template <>
struct policy<signal_elements>
    : allow_own_or_any<verb::job_signal, verb::job_signal_any, troupe::people> {};
template <>
struct policy<get_job_view> : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {
};
template <>
struct policy<job_progress> : allow<verb::job_start, troupe::jobs_or_roles> {};
template <>
struct policy<reconcile_job> : allow<verb::node_report, troupe::roles> {};

template <>
struct policy<locate_element>
    : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {
  static resource_ref resource(const locate_element& message) {
    return resource_ref::job(message.job);
  }
};
template <>
struct policy<route_job> : allow<verb::node_launch, troupe::jobs_or_roles> {
  static resource_ref resource(const route_job& message) { return resource_ref::job(message.job); }
};
template <>
struct policy<join_node> : allow<verb::supervise, troupe::roles> {};
template <>
struct policy<finish_recovery> : allow<verb::node_launch, troupe::roles> {};

template <>
struct policy<launch_orders> : allow<verb::node_launch, troupe::jobs_or_roles> {};
template <>
struct policy<signal_group> : allow<verb::node_launch, troupe::jobs_or_roles> {
  static resource_ref resource(const signal_group& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<end_group> : allow<verb::node_launch, troupe::jobs_or_roles> {
  static resource_ref resource(const end_group& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<revoke_group> : allow<verb::node_launch, troupe::jobs_or_roles> {
  static resource_ref resource(const revoke_group& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<acknowledge_records> : allow<verb::node_launch, troupe::jobs_or_roles> {};
template <>
struct policy<forget_group> : allow<verb::node_launch, troupe::jobs_or_roles> {
  static resource_ref resource(const forget_group& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<report_records> : allow<verb::node_report, troupe::roles> {};
template <>
struct policy<report_inventory> : allow<verb::node_report, troupe::roles> {};
template <>
struct policy<read_output> : allow_own_or_any<verb::job_read, verb::job_read_any, troupe::people> {
  static resource_ref resource(const read_output& message) {
    return resource_ref::job(message.group.job);
  }
};
/// What it reads it may do: only the owner, who may run anything, writes to it.
template <>
struct policy<write_input> : allow<verb::job_submit, troupe::people> {
  static resource_ref resource(const write_input& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<tell_shepherd> : allow<verb::node_launch, troupe::jobs_or_roles> {
  static resource_ref resource(const tell_shepherd& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<hear_shepherd> : allow<verb::step_speak, troupe::jobs_or_roles> { // no role has it
  static resource_ref resource(const hear_shepherd& message) {
    return resource_ref::job(message.group.job);
  }
};
template <>
struct policy<take_shepherd_frame> : allow<verb::node_report, troupe::roles> {};
template <>
struct policy<take_stream> : allow<verb::node_report, troupe::roles> {};
template <>
struct policy<note_output> : allow<verb::node_report, troupe::roles> {};
template <>
struct policy<note_input> : allow<verb::node_report, troupe::roles> {};
template <>
struct policy<drop_stream> : allow<verb::node_launch, troupe::jobs_or_roles> {};
template <>
struct policy<lend_again> : allow<verb::node_launch, troupe::jobs_or_roles> {};

template <>
struct policy<list_actors> : allow<verb::console_read, troupe::people> {};
template <>
struct policy<show_actor> : allow<verb::console_read, troupe::people> {};
template <>
struct policy<pause_starts> : allow<verb::supervise, troupe::roles> {};
template <>
struct policy<end_running> : allow<verb::supervise, troupe::roles> {};
template <>
struct policy<check_ledger> : allow<verb::ledger_keep, troupe::people> {};
template <>
struct policy<backup_ledger> : allow<verb::ledger_keep, troupe::people> {};
template <>
struct policy<stop_cluster> : allow<verb::cluster_stop, troupe::people> {};
template <>
struct policy<get_summary>
    : allow<verb::queue_read, kinds(subject_kind::user, subject_kind::job, subject_kind::role)> {};

} // namespace troupe::auth
