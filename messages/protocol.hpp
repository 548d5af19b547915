// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/guard.hpp"
#include "messages/events.hpp"
#include "messages/types.hpp"

#include <map>
#include <memory>
#include <vector>

// Every message of Troupe, in the order in which one job meets them, and the interface of every
// actor. Above each message: what it asks, and what comes back (`answer`). A message travels as
// request<M>, with the verified capability it is sent under; policy<M> names the verbs and subjects
// that may send it. Nothing here is ever serialised by CAF.

namespace troupe {

using auth::kind_set;
using auth::request;
using auth::verb;
using bytes = std::vector<std::uint8_t>;
using launcher_instance = fixed_bytes<16>;

/// What every client request may come from; jobs are peers inside a job.
inline constexpr kind_set people = auth::kinds(auth::subject_kind::user, auth::subject_kind::job);
inline constexpr kind_set roles = auth::kinds(auth::subject_kind::role);
inline constexpr kind_set jobs_or_roles =
  auth::kinds(auth::subject_kind::job, auth::subject_kind::role);

// == Everybody ==================================================================================

/// Asks any actor how it is. Answers names and values; more of them with more verbosity.
struct get_status {
  status_verbosity verbosity = status_verbosity::info;
  using answer = status_report;
};

/// A timer of the actor's own has fired.
struct tick {
  std::uint32_t timer = 0;
  using answer = void;
};

// == A session: client → authority ==============================================================

/// A peer that the kernel has named asks for a capability held by `holder`. Answers its bytes.
struct session_opened;
struct open_session {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int32_t pid = 0;
  fixed_bytes<32> holder{};
  std::string mechanism; ///< "native"
  std::string role;      ///< "user", "operator", "admin"; "" is the highest the uid may have
  using answer = session_opened;
};
struct session_opened {
  bytes capability;
  std::string role;
  using answer_tag = void;
};

/// A proof or capability was refused at the edge: put it into the audit chain. No answer.
struct note_refusal {
  std::uint32_t uid = 0;
  std::string peer;
  std::string action;
  auth::reason reason{};
  using answer = void;
};

// == Submitting: client → authority → client → scheduler → ledger ================================

/// One spec as a client sent it, with the request its holder signed.
struct submission {
  std::shared_ptr<job_spec const> spec;
  signed_request request;
};

/// Asks for warrants for signed job requests. Answers one warrant, or one error, per submission.
struct warrants_issued;
struct request_warrants {
  std::vector<submission> submissions;
  using answer = warrants_issued;
};

/// A job that the authority says was asked for; what `submitted` will hold.
struct warranted_job {
  job_id job = 0;
  fixed_bytes<16> request_id{};
  std::shared_ptr<submitted_event const> event;
};
struct warrants_issued {
  std::vector<expected<warranted_job>> jobs;
  using answer_tag = void;
};

/// Asks the scheduler to take warranted jobs. Answers, once they are durable, an id or an error each.
struct jobs_submitted;
struct submit_jobs {
  std::vector<warranted_job> jobs;
  using answer = jobs_submitted;
};
struct jobs_submitted {
  std::vector<expected<job_id>> jobs;
  using answer_tag = void;
};

// == The ledger ==================================================================================

/// One event to keep; `encoded` is the CBOR of the kind's struct in messages/events.hpp.
struct ledger_entry {
  job_id job = 0;
  std::uint32_t element = no_element;
  std::uint32_t incarnation = 0;
  enum class kind : std::uint8_t {
    submitted, held, released, starting, running, ended, requeued, cancelled, node_changed, finished
  } what = kind::submitted;
  bytes encoded;
  std::optional<fixed_bytes<16>> request_id; ///< of submitted
  std::optional<job_row> row;                ///< the job's row as it is after this event
  std::optional<element_view> element_end;   ///< of ended
  bool finishes = false;                     ///< the job has ended with this; `row` is there
  std::uint32_t uid = 0;
  std::shared_ptr<submitted_event const> submitted; ///< of submitted: kept at hand for its start
};

/// Asks for entries to be kept. Answers when they are on the disk: all of them, or none.
struct entries_kept;
struct append_entries {
  std::vector<ledger_entry> entries;
  bool essential = false; ///< the end of something that ran: may use the ledger's last reserve
  using answer = entries_kept;
};
struct entries_kept {
  std::uint64_t first_sequence = 0;
  utc_ns at_utc_ns = 0;
  using answer_tag = void;
};

/// Asks for what was submitted as `job`. Answers it, or not_found.
struct submission_found;
struct fetch_submission {
  job_id job = 0;
  using answer = submission_found;
};
struct submission_found {
  std::shared_ptr<submitted_event const> event;
  using answer_tag = void;
};

/// Asks for ended jobs' rows, newest first.
struct job_rows;
struct query_history {
  job_selector selector;
  utc_ns since_utc_ns = 0;
  utc_ns until_utc_ns = 0;
  std::uint32_t rows_max = 1000;
  using answer = job_rows;
};
struct job_rows {
  std::vector<job_row> rows;
  bool more = false;
  using answer_tag = void;
};

/// Asks for all the ledger knows of a job that may have ended. Answers its view, or not_found.
struct query_job {
  job_id job = 0;
  using answer = job_view;
};

// == What clients ask of jobs: client → scheduler ================================================

struct jobs_changed {
  std::uint64_t jobs = 0;
  std::uint64_t elements = 0;
  std::vector<error> refused; ///< at most 16 of them
  using answer_tag = void;
};

/// Ends or withdraws jobs or elements. Answers, once durable, how many it meant.
struct cancel_jobs {
  job_selector selector;
  std::string reason;
  using answer = jobs_changed;
};

/// Keeps pending jobs from starting. Answers as cancel does.
struct hold_jobs {
  job_selector selector;
  using answer = jobs_changed;
};

/// Lets held jobs start. Answers as cancel does.
struct release_jobs {
  job_selector selector;
  using answer = jobs_changed;
};

/// Sends a signal to every rank of running jobs. Answers how many elements it went to.
struct signal_jobs {
  job_selector selector;
  std::int32_t signal = 0;
  using answer = jobs_changed;
};

/// Asks for unfinished jobs' rows in queue order, from after `after` on.
struct list_queue {
  job_selector selector;
  job_id after = 0;
  std::uint32_t rows_max = 2000;
  using answer = job_rows;
};

/// Asks for all of one job, or of one of its elements. Answers its view, or not_found.
struct show_job {
  job_id job = 0;
  std::uint32_t element = no_element;
  using answer = job_view;
};

/// Asks why a job waits. Answers a sentence and its parts.
struct why_job {
  job_id job = 0;
  using answer = why_view;
};

/// Asks for the ends of jobs. Answers when the last of them has ended, durably.
struct job_ends;
struct await_jobs {
  std::vector<job_selector::target> targets;
  using answer = job_ends;
};
struct job_end {
  job_id job = 0;
  std::uint32_t element = no_element;
  exit_report exit;
};
struct job_ends {
  std::vector<job_end> ends;
  using answer_tag = void;
};

/// A client now follows (or no longer follows) a job that ends with its client. No answer.
struct attach_job {
  job_id job = 0;
  bool attached = true;
  using answer = void;
};

/// Asks for the nodes' rows.
struct node_rows;
struct list_nodes {
  using answer = node_rows;
};
struct node_rows {
  std::vector<node_row> nodes;
  using answer_tag = void;
};

/// Takes nodes out of use once their work has ended (`draining`), or back (`up`). Answers, once
/// durable, their rows.
struct set_nodes {
  std::vector<std::string> nodes;
  node_state state = node_state::draining;
  std::string reason;
  using answer = node_rows;
};

// == Planning: scheduler → planner → scheduler ===================================================

/// A change the planner must know of; the events of runtime/plan.
struct plan_event {
  enum class kind : std::uint8_t {
    node_added, node_changed, submitted, held, released, removed, pending_changed, ended, given_back, refilled,
    restored
  } what = kind::removed;
  job_id job = 0;
  std::uint64_t unit = 0;      ///< of ended, refilled, restored
  std::uint32_t elements = 0;  ///< taken by refilled; what is left, of pending_changed
  utc_ns predicted_end_ns = 0; ///< of refilled and restored; 0: unknown
  std::shared_ptr<job_spec const> spec;       ///< of submitted
  std::uint32_t pending_elements = 0;         ///< of submitted
  std::shared_ptr<node_inventory const> node; ///< of node_added
  std::uint32_t node_id = 0;
  node_state state = node_state::up;
  std::vector<placement_part> parts; ///< of restored
};

/// A place for one element of a job: the planner's decision, the job's allocation until given back.
struct placed_unit {
  std::uint64_t unit = 0;
  std::vector<placement_part> parts;
};

/// The planner's decisions, made from what it had seen at `sequence`. No answer.
struct place_jobs {
  struct placement {
    job_id job = 0;
    std::vector<placed_unit> units;
  };
  struct lease {
    job_id job = 0;
    bool allowed = false; ///< it may start its next element where one has ended, without asking
  };
  std::uint64_t sequence = 0;
  std::vector<placement> placements;
  std::vector<lease> leases;
  using answer = void;
};

// == A job's life: scheduler ⇄ job ⇄ authority, ledger, node =====================================

/// Asks where an element runs or ran. Answers when it has been placed or has ended; not_found if there
/// is no such element.
struct element_location;
struct locate_element {
  job_id job = 0;
  std::uint32_t element = no_element;
  using answer = element_location;
};
struct element_location {
  job_state state = job_state::pending;
  std::uint32_t incarnation = 0;
  std::vector<placement_part> parts;
  bool streams_output = false;
  bool streams_errors = false;
  std::optional<exit_report> exit; ///< when it has ended
  using answer_tag = void;
};

/// Starts one element per unit, on these nodes. No answer; progress comes as job_progress.
struct node_entry;
struct start_units {
  std::vector<placed_unit> units;
  std::vector<std::shared_ptr<node_entry const>> nodes;
  using answer = void;
};

/// Whether elements may follow each other in a unit without asking the planner. No answer.
struct allow_refill {
  bool allowed = false;
  using answer = void;
};

/// Ends running elements and withdraws unstarted ones in these ranges (none: all). Answers when the
/// withdrawal is durable.
struct cancel_elements {
  std::vector<number_range> ranges;
  std::uint32_t by_uid = 0;
  std::string reason;
  using answer = jobs_changed;
};

/// Sends a signal to running elements in these ranges (none: all).
struct signal_elements {
  std::vector<number_range> ranges;
  std::int32_t signal = 0;
  using answer = jobs_changed;
};

/// Asks a job for its view.
struct get_job_view {
  std::uint32_t element = no_element;
  using answer = job_view;
};

/// What changed in a job, for the scheduler's row, its watchers and the planner. No answer.
struct job_progress {
  job_id job = 0;
  job_row row;
  std::vector<plan_event> events;
  std::vector<job_end> ends; ///< of elements, durable
  bool finished = false;     ///< the job's own end is durable; the actor is about to go
  using answer = void;
};

/// A launch order to be signed, with the warrant it is signed against.
struct order_draft {
  bytes order;
  std::shared_ptr<submitted_event const> event;
};

/// Asks for signatures over orders. Answers a seal per order, or the reason why none is signed.
struct orders_signed;
struct sign_orders {
  std::vector<order_draft> orders;
  using answer = orders_signed;
};
struct orders_signed {
  std::vector<bytes> seals;
  using answer_tag = void;
};

/// The job has ended: the authority forgets what it signed for it. No answer.
struct forget_job {
  job_id job = 0;
  using answer = void;
};

// == The executor: job → node ⇄ agent ⇄ task, launcher ===========================================

/// A launch group: the elements of one step of one incarnation of a job on a node.
struct group_key {
  job_id job = 0;
  std::uint32_t incarnation = 0;
  std::uint32_t step = 0;
  auto operator<=>(group_key const&) const = default;
};

struct sealed_order {
  group_key group;
  bytes order;
  bytes seal;
  bytes spec; ///< canonical exec spec
};

/// Executor: start what the sealed orders say. No answer; records come as report_records.
struct launch_orders {
  std::vector<sealed_order> orders;
  using answer = void;
};

/// Executor: send a signal to running elements [first, last] of a group. No answer.
struct signal_group {
  group_key group;
  std::uint32_t element_first = 0;
  std::uint32_t element_last = no_element;
  std::int32_t signal = 0;
  using answer = void;
};

/// Executor: end elements [first, last] of a group: SIGTERM, grace, SIGKILL; unstarted ones never
/// start. No answer; their ends come as records.
struct end_group {
  group_key group;
  std::uint32_t element_first = 0;
  std::uint32_t element_last = no_element;
  std::uint32_t grace_s = 10;
  using answer = void;
};

/// Executor: elements of a group from `element_from` on that have not started shall not. The record
/// `revoked` tells which.
struct revoke_group {
  group_key group;
  std::uint32_t element_from = 0;
  using answer = void;
};

/// What a node's launcher says of one element there; numbered by the launcher.
struct element_record {
  enum class kind : std::uint8_t { started, exited, start_failed, refused, revoked } what{};
  std::uint64_t sequence = 0;
  group_key group;
  std::uint32_t element = no_element;
  std::uint32_t element_last = no_element; ///< of revoked and refused: the range's end
  std::uint32_t slot = 0;
  std::uint32_t rank = 0; ///< the first that failed
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  bool timed_out = false;
  std::uint32_t leftovers_ended = 0;
  std::int32_t pid = 0;
  utc_ns started_utc_ns = 0;
  utc_ns ended_utc_ns = 0;
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t max_rss_bytes = 0;
  std::string text; ///< why it did not start
};

/// Executor's news of a group, from agent by node to job. No answer; acknowledged once durable.
struct report_records {
  std::uint32_t node = 0;
  std::vector<element_record> records;
  using answer = void;
};

/// The records with these numbers are durable: the launcher may forget them. No answer.
struct acknowledge_records {
  std::vector<std::uint64_t> sequences;
  using answer = void;
};

/// All of a group has ended and is durable: the launcher forgets it. No answer.
struct forget_group {
  group_key group;
  using answer = void;
};

/// What a launcher has: said by the agent when it has (re)connected. No answer.
struct report_inventory {
  struct running_element {
    std::uint32_t element = no_element;
    std::uint32_t slot = 0;
    utc_ns started_utc_ns = 0;
  };
  struct running_group {
    group_key group;
    std::vector<running_element> running;
    std::vector<number_range> queued; ///< accepted, not started
  };
  std::uint32_t node = 0;
  bool connected = false;
  launcher_instance instance{};
  std::shared_ptr<node_inventory const> offers;
  std::vector<running_group> groups;
  std::vector<element_record> unacknowledged;
  using answer = void;
};

/// What a node's launcher has of this job, after either of them was away. Sent by node to job; the
/// job compares it with what it knows (actors/job/reconcile.cpp). No answer.
struct reconcile_job {
  std::uint32_t node = 0;
  launcher_instance instance{};
  std::vector<report_inventory::running_group> groups;
  std::vector<element_record> unacknowledged;
  using answer = void;
};

/// Every job that may have something on this node has been routed: inventories may be compared.
struct finish_recovery {
  using answer = void;
};

/// Asks for a rank's streamed output from `offset` on. Answers bytes; waits until there are some or
/// the stream has ended.
struct output_chunk;
struct read_output {
  group_key group;
  std::uint32_t element = no_element;
  std::uint32_t rank = 0;
  bool error_stream = false;
  std::uint64_t offset = 0;
  std::uint32_t bytes_max = 65'536;
  bool wait = true; ///< false: what is there now
  using answer = output_chunk;
};
struct output_chunk {
  bytes data;
  std::uint64_t offset = 0; ///< of the first byte of `data`
  bool ended = false;       ///< nothing will follow
  using answer_tag = void;
};

/// A rank's stream has arrived from the launcher: `descriptor` is the read end, now the task's.
struct take_stream {
  group_key group;
  std::uint64_t stream = 0;
  std::uint32_t element = no_element;
  std::uint32_t rank = 0;
  bool error_stream = false;
  int descriptor = -1;
  using answer = void;
};

/// The task has read a stream to its end: the launcher may close it. No answer.
struct drop_stream {
  std::uint64_t stream = 0;
  using answer = void;
};

// == Steering and looking ========================================================================

/// The role capability, verified, and the address of every actor; handed out by `cluster` at start.
struct directory;

/// Asks for all actors with their counters.
struct actor_rows;
struct list_actors {
  using answer = actor_rows;
};
struct actor_rows {
  std::vector<actor_row> actors;
  using answer_tag = void;
};

/// Asks one actor, by number or name, for its status.
struct show_actor {
  std::string actor;
  status_verbosity verbosity = status_verbosity::detailed;
  using answer = status_report;
};

/// Asks for the keyring.
struct key_rows;
struct list_keys {
  using answer = key_rows;
};
struct key_rows {
  std::vector<key_row> keys;
  std::uint32_t version = 0;
  using answer_tag = void;
};

/// Asks for the last lines of the audit chain.
struct audit_lines;
struct tail_audit {
  std::uint32_t lines = 20;
  using answer = audit_lines;
};
struct audit_lines {
  std::vector<std::string> lines;
  using answer_tag = void;
};

/// Asks whether the audit chain is whole. Answers a sentence, and the first broken record if not.
struct audit_verdict;
struct verify_audit {
  using answer = audit_verdict;
};
struct audit_verdict {
  bool whole = false;
  std::uint64_t records = 0;
  std::uint64_t broken_record = 0;
  std::string sentence;
  using answer_tag = void;
};

/// Ends capabilities before their time, by serial, uid or job. Answers the new epoch.
struct capabilities_revoked;
struct revoke_capabilities {
  std::string serial; ///< 32 hexadecimal digits, or ""
  std::optional<std::uint32_t> uid;
  std::optional<job_id> job;
  using answer = capabilities_revoked;
};
struct capabilities_revoked {
  std::uint64_t epoch = 0;
  using answer_tag = void;
};

/// Ends the cluster; with `end_jobs` what runs is ended first, else it goes on under the launcher.
struct cluster_stopping;
struct stop_cluster {
  bool end_jobs = true;
  using answer = cluster_stopping;
};
struct cluster_stopping {
  std::vector<job_row> running;
  std::uint64_t pending = 0;
  using answer_tag = void;
};

/// Asks for the cluster's own summary.
struct cluster_summary;
struct get_summary {
  using answer = cluster_summary;
};
struct cluster_summary {
  std::string name;
  std::string version;
  std::string state;
  std::uint32_t pid = 0;
  utc_ns started_utc_ns = 0;
  std::uint32_t nodes = 0;
  std::uint32_t cores = 0;
  std::uint64_t pending = 0;
  std::uint64_t running = 0;
  bool oversubscribed = false;
  using answer_tag = void;
  static constexpr auto fields() {
    using s = cluster_summary;
    return field_list(field<1>("name", &s::name), field<2>("version", &s::version),
                      field<3>("state", &s::state), field<4>("pid", &s::pid),
                      field<5>("started_utc_ns", &s::started_utc_ns), field<6>("nodes", &s::nodes),
                      field<7>("cores", &s::cores), field<8>("pending", &s::pending),
                      field<9>("running", &s::running),
                      field<10>("oversubscribed", &s::oversubscribed));
  }
};

// == Interfaces ==================================================================================

using auth::protocol;

using observed = protocol<get_status>;

using authority_actor =
  protocol<get_status, tick, open_session, note_refusal, request_warrants, sign_orders, forget_job,
           list_keys, tail_audit, verify_audit, revoke_capabilities>;

using ledger_actor = protocol<get_status, tick, append_entries, fetch_submission, query_history,
                              query_job, locate_element>;

using scheduler_actor =
  protocol<get_status, tick, submit_jobs, cancel_jobs, hold_jobs, release_jobs, signal_jobs,
           list_queue, show_job, why_job, locate_element, await_jobs, attach_job, list_nodes, set_nodes, place_jobs,
           job_progress, report_inventory, get_summary>;

/// Events since the last time, in order. No answer; decisions come to `reply_to` when they are made.
struct plan_changes {
  std::uint64_t sequence = 0;
  std::vector<plan_event> events;
  scheduler_actor reply_to;
  using answer = void;
};

using planner_actor = protocol<get_status, tick, plan_changes, why_job, list_nodes>;

using job_actor =
  protocol<get_status, tick, start_units, allow_refill, cancel_elements, signal_elements, get_job_view,
           locate_element, report_records, reconcile_job>;

/// News of `job` from a node goes to `to`, until its group is forgotten. No answer.
struct route_job {
  job_id job = 0;
  job_actor to;
  using answer = void;
};

/// What starts, signals and ends things on a node: `node` for Troupe's own agents.
using executor_actor = protocol<get_status, launch_orders, signal_group, end_group, revoke_group,
                                acknowledge_records, forget_group, read_output>;

using agent_actor =
  executor_actor::extend_with<protocol<report_records, report_inventory, take_stream>>;

/// A node's agent is there, and the scheduler hears of it. No answer.
struct join_node {
  agent_actor agent;
  scheduler_actor scheduler;
  using answer = void;
};

using node_actor = executor_actor::extend_with<
  protocol<route_job, join_node, finish_recovery, report_records, report_inventory>>;

/// A node as jobs know it: where it is reached, what it offers, the launcher's present instance.
struct node_entry {
  node_actor actor;
  launcher_instance instance{};
  std::shared_ptr<node_inventory const> offers;
};

/// A stream's spool file has grown to `bytes`, or the stream has ended. No answer.
struct note_output {
  std::uint64_t stream = 0;
  std::uint64_t bytes = 0;
  bool ended = false;
  using answer = void;
};

using task_actor =
  protocol<get_status, tick, read_output, take_stream, note_output, forget_group>;

using launcher_actor =
  protocol<get_status, tick, launch_orders, signal_group, end_group, revoke_group,
           acknowledge_records, forget_group, drop_stream>;

using observer_actor = protocol<get_status, list_actors, show_actor>;

using cluster_actor = protocol<get_status, tick, stop_cluster>;

} // namespace troupe

#include "messages/policies.hpp"
