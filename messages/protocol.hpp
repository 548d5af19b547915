// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/client_messages.hpp"
#include "messages/cluster_messages.hpp"
#include "messages/job_messages.hpp"

// Every interface of Troupe. The messages stand in the order in which one job meets them:
// messages/client_messages.hpp (session, submission, ledger, questions, steering), then
// messages/job_messages.hpp (planning, a job's life, its node), messages/cluster_messages.hpp (the
// cluster as a whole). Above each message: what it asks,
// and what comes back (`answer`). A message travels as request<M>, with the verified capability it
// is sent under; messages/policies.hpp says who may send it. Nothing here is ever serialised by
// CAF.
//
//   client ──open_session──▶ authority            who the connection speaks for
//   client ──request_warrants──▶ authority        the authority's word that a job was asked for
//   client ──submit_jobs──▶ scheduler ──append_entries──▶ ledger      durable, then answered
//   scheduler ──plan_changes──▶ planner ──place_jobs──▶ scheduler     never waited for
//   scheduler ──start_units──▶ job ──append_entries──▶ ledger         `starting`, durable
//   job ──sign_orders──▶ authority                orders, sealed against the warrant
//   job ──launch_orders──▶ node ──▶ agent ──▶ launcher ──▶ troupe-launcher ──▶ ranks
//   ranks' ends ──▶ launcher ──report_records──▶ agent ──▶ node ──▶ job
//   job ──append_entries──▶ ledger                `ended`, durable
//   job ──acknowledge_records──▶ node, ──job_progress──▶ scheduler ──▶ whoever waits

namespace troupe {

using auth::protocol;

using observed = protocol<get_status>;

using authority_actor =
    protocol<get_status, tick, open_session, note_refusal, note_admission, describe_caller,
             request_warrants, amend_warrant, warrant_step, sign_orders, release_orders, forget_job,
             list_keys, tail_audit, verify_audit, revoke_capabilities>;

using ledger_actor = protocol<get_status, tick, append_entries, fetch_submission, find_request,
                              query_history, query_estimates, query_job, query_rows, query_ends,
                              locate_element, await_step, await_spawned>;

/// What is asked of the ledger's past goes on to this one, which reads beside it.
using history_actor = protocol<get_status, query_history, query_estimates, query_job, query_rows,
                               query_ends, locate_element, await_step, await_spawned>;

using scheduler_actor =
    protocol<get_status, tick, submit_jobs, cancel_jobs, hold_jobs, release_jobs, modify_jobs,
             signal_jobs, check_job, list_queue, show_job, why_job, locate_element, await_jobs,
             attach_job, detach_follower, start_step, await_step, await_spawned, signal_step,
             pause_starts, end_running, list_nodes, set_nodes, list_queues, make_reservation,
             drop_reservation, list_reservations, apply_config, place_jobs, job_progress,
             report_inventory, get_summary>;

/// Events since the last time, in order. No answer; decisions come to `reply_to` when they are
/// made.
struct plan_changes {
  std::uint64_t sequence = 0;
  std::vector<plan_event> events;
  scheduler_actor reply_to;
  using answer = void;
};

using planner_actor =
    protocol<get_status, tick, plan_changes, why_job, expect_starts, check_job, list_nodes>;

using estimator_actor = protocol<get_status, estimate_queue>;

using job_actor =
    protocol<get_status, tick, start_units, preempt_units, allow_refill, cancel_elements,
             stop_elements, signal_elements, get_job_view, locate_element, start_step, await_step,
             await_spawned, signal_step, report_records, reconcile_job, hear_shepherd>;

/// News of `job` from a node goes to `to`, until its group is forgotten. No answer.
struct route_job {
  job_id job = 0;
  job_actor to;
  using answer = void;
};

/// What starts, signals and ends things on a node: `node` for Troupe's own agents.
using executor_actor =
    protocol<get_status, launch_orders, signal_group, end_group, revoke_group, acknowledge_records,
             forget_group, read_output, write_input, tell_shepherd>;

using agent_actor = executor_actor::extend_with<
    protocol<report_records, report_inventory, take_stream, hear_shepherd, lend_again>>;

/// A node's agent is there, and the scheduler hears of it. No answer.
struct join_node {
  agent_actor agent;
  scheduler_actor scheduler;
  using answer = void;
};

using node_actor =
    executor_actor::extend_with<protocol<route_job, join_node, finish_recovery, report_records,
                                         report_inventory, hear_shepherd>>;

/// A node as jobs know it: where it is reached, what it offers, the launcher's present instance,
/// and how often the node had compared inventories when that was learnt.
struct node_entry {
  node_actor actor;
  launcher_instance instance{};
  std::uint64_t comparison = 0;
  std::shared_ptr<node_inventory const> offers;
};

/// A stream's spool file has grown to `bytes`, or the stream has ended; or it waits, and `trouble`
/// says for what. No answer.
struct note_output {
  std::uint64_t stream = 0;
  std::uint64_t bytes = 0;
  bool ended = false;
  std::string trouble;
  using answer = void;
};

/// A stream of input has been read further, or nobody reads it any more. No answer.
struct note_input {
  std::uint64_t stream = 0;
  using answer = void;
};

using task_actor = protocol<get_status, tick, read_output, write_input, take_stream, note_output,
                            note_input, forget_group>;

/// The agent's side of one shepherd.
using shepherd_actor =
    protocol<get_status, tell_shepherd, take_stream, take_shepherd_frame, forget_group>;

using launcher_actor =
    protocol<get_status, tick, launch_orders, signal_group, end_group, revoke_group,
             acknowledge_records, forget_group, drop_stream, lend_again>;

using observer_actor = protocol<get_status, list_actors, show_actor>;

/// Reads the configuration's file.
using config_actor = protocol<get_status, show_config, reload_config>;

/// Looks after the ledger of a cluster that is up.
using keeper_actor = protocol<get_status, check_ledger, backup_ledger>;

using cluster_actor = protocol<get_status, tick, stop_cluster>;

} // namespace troupe

#include "messages/policies.hpp"
