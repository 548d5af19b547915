// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/client_messages.hpp"

// Part of messages/protocol.hpp: from the planner's decision to a rank's exit.

namespace troupe::shepherd {
struct to_shepherd; // messages/shepherd.hpp
struct to_agent;
} // namespace troupe::shepherd

namespace troupe::plan {
struct queue_snapshot; // runtime/plan/estimates.hpp
struct start_estimates;
} // namespace troupe::plan

namespace troupe {

// == Planning: scheduler → planner → scheduler ===================================================

/// A change the planner must know of; the events of runtime/plan.
struct plan_event {
  enum class kind : std::uint8_t {
    node_added,
    node_changed,
    submitted,
    held,
    released,
    removed,
    pending_changed,
    ended,
    given_back,
    refilled,
    restored,
    changed,    ///< what a waiting job asks for
    configured, ///< queues, weights, limits
    reserved,
    unreserved,
    used, ///< cores for a time, by a user under an account
    ran   ///< a job of a user to its own end, or its limit
  } what = kind::removed;
  job_id job = 0;
  std::uint64_t unit = 0;      ///< of ended, refilled, restored; a reservation's number
  std::uint32_t elements = 0;  ///< taken by refilled; what is left, of pending_changed
  utc_ns predicted_end_ns = 0; ///< of refilled and restored; 0: unknown
  /// Of submitted; of pending_changed and restored for a planner that has forgotten the job, as it
  /// does when none of its elements waits or runs.
  std::shared_ptr<job_spec const> spec;
  std::uint32_t pending_elements = 0;         ///< of submitted
  std::shared_ptr<node_inventory const> node; ///< of node_added
  std::uint32_t node_id = 0;
  node_state state = node_state::up;
  std::vector<placement_part> parts; ///< of restored
  std::string user;                  ///< of submitted, changed, used and ran
  std::string account;               ///< of submitted, changed and used
  std::shared_ptr<cluster_config const> config;
  std::shared_ptr<reservation_row const> reservation;
  double core_seconds = 0;
  utc_ns at_utc_ns = 0;           ///< of submitted and changed: the submission; of used: its end
  utc_ns started_utc_ns = 0;      ///< of restored
  std::int64_t run_ns = 0;        ///< of ran
  std::uint32_t time_limit_s = 0; ///< of ran: that it had
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
    utc_ns first_promised_utc_ns = 0; ///< 0: it was never told to wait
    utc_ns last_promised_utc_ns = 0;
  };
  /// A unit that is to end, and to wait again, for a job that comes before it.
  struct preemption {
    job_id job = 0;
    std::uint64_t unit = 0;
    job_id by = 0;
    std::uint32_t grace_s = 0;
  };
  struct lease {
    job_id job = 0;
    bool allowed = false; ///< it may start its next element where one has ended, without asking
  };
  std::uint64_t sequence = 0;
  std::vector<placement> placements;
  std::vector<lease> leases;
  std::vector<preemption> preemptions;
  using answer = void;
};

/// Asks for expected starts of all that waits; detached, because it may take a second. Answers
/// them.
struct queue_estimated;
struct estimate_queue {
  std::shared_ptr<plan::queue_snapshot const> queue;
  using answer = queue_estimated;
};
struct queue_estimated {
  std::shared_ptr<plan::start_estimates const> estimates;
  using answer_tag = void;
};

/// Asks what each of these jobs waits for, and when it is expected to start.
struct job_expectations;
struct expect_starts {
  std::vector<job_id> jobs;
  using answer = job_expectations;
};
struct job_expectation {
  job_id job = 0;
  std::string reason; ///< a few words
  utc_ns expected_start_utc_ns = 0;
};
struct job_expectations {
  std::vector<job_expectation> jobs; ///< those that wait, in the order asked for
  using answer_tag = void;
};

// == A job's life: scheduler ⇄ job ⇄ authority, ledger, node =====================================

/// Asks where an element runs or ran. Answers when it has been placed or has ended; not_found if
/// there is no such element.
struct element_location;
struct locate_element {
  job_id job = 0;
  std::uint32_t element = no_element;
  std::uint32_t step = 0; ///< not 0: where this step of it is
  using answer = element_location;
};
struct element_location {
  job_state state = job_state::pending;
  std::uint32_t incarnation = 0;
  std::vector<placement_part> parts;
  bool streams_output = false;
  bool streams_errors = false;
  bool streams_input = false;
  map_mode map_by = map_mode::slot;
  bool may_spawn = false;          ///< its ranks may start further steps
  std::optional<exit_report> exit; ///< when it has ended
  using answer_tag = void;
};

/// Starts one element per unit, on these nodes. No answer; progress comes as job_progress.
struct node_entry;
struct start_units {
  std::vector<placed_unit> units;
  std::vector<std::shared_ptr<node_entry const>> nodes;
  utc_ns first_promised_utc_ns = 0; ///< of the job's first start
  utc_ns last_promised_utc_ns = 0;
  using answer = void;
};

/// Ends what runs in these units after a grace time; it waits again, in its next incarnation. No
/// answer.
struct preempt_units {
  std::vector<std::uint64_t> units;
  std::uint32_t grace_s = 10;
  std::string reason;
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

/// The cluster stops: what runs is ended as by a cancel, what was placed and does not run yet waits
/// again, and nothing more is started. May be asked again: answers what is left until then.
struct elements_stopping;
struct stop_elements {
  std::uint32_t by_uid = 0;
  std::string reason;
  using answer = elements_stopping;
};
struct elements_stopping {
  std::uint64_t running = 0;    ///< elements of which something runs, or may
  std::uint64_t unrecorded = 0; ///< that are over, but their end is not on the disk yet
  using answer_tag = void;
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
  /// Elements that were cancelled before they started, durably; and what for.
  std::vector<number_range> withdrawn{};
  std::string withdrawn_reason{};
  bool finished = false; ///< the job's own end is durable; the actor is about to go
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

/// Asks for a warrant for a step of a job: under the capability of whoever signed the request, or,
/// for a spawn, under the job's own and without a request, where the job's warrant allows that.
struct step_warranted;
struct warrant_step {
  std::shared_ptr<submitted_event const> job_event;
  std::uint32_t step = 0;
  std::uint32_t incarnation = 0;
  submission what;
  using answer = step_warranted;
};
struct step_warranted {
  std::shared_ptr<submitted_event const> event; ///< the step's spec and warrant
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

/// A launcher did not take the order for these elements, or it never left: another one may be
/// signed for them. No answer.
struct release_orders {
  group_key group;
  std::uint32_t node = 0;
  std::uint32_t element_first = no_element;
  std::uint32_t element_last = no_element;
  using answer = void;
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
  /// Of refused and start_failed: nothing of it ran here, and what stood in its way may pass.
  bool passes = false;
  bool launcher_ends = false; ///< of refused: this start of the launcher takes nothing more
};

/// Executor's news of a group, from agent by node to job. No answer; acknowledged once durable.
struct report_records {
  std::uint32_t node = 0;
  std::vector<element_record> records;
  using answer = void;
};

/// The records with these numbers are durable: the launcher that gave them may forget them. No
/// answer.
struct acknowledge_records {
  std::vector<std::uint64_t> sequences;
  launcher_instance instance{};
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
  std::uint64_t comparison = 0; ///< counted by the node, when it has compared this
  std::shared_ptr<node_inventory const> offers;
  std::vector<running_group> groups;
  std::vector<element_record> unacknowledged;
  bool uncertain = false; ///< what an earlier start of this launcher ran may still be running
  using answer = void;
};

/// What a node's launcher has of this job, after either of them was away. Sent by node to job; the
/// job compares it with what it knows (actors/job/reconcile.cpp), and answers when the planner is
/// being told what it holds there: the node takes no starts before.
struct job_agreed;
struct reconcile_job {
  std::uint32_t node = 0;
  launcher_instance instance{};
  std::uint64_t comparison = 0; ///< counted by the node
  std::vector<report_inventory::running_group> groups;
  std::vector<element_record> unacknowledged;
  /// Of what an earlier start of this launcher ran, something may still be running.
  bool uncertain = false;
  using answer = job_agreed;
};
struct job_agreed {
  std::uint32_t placed_there = 0; ///< elements of it on this node
  using answer_tag = void;
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

/// Gives the first rank of an element or step bytes for its standard input, those that follow the
/// first `offset` ones; what had come before is passed over. Answers when they have been kept and,
/// where they are the last ones, read; waits while much has not been read.
struct input_taken;
struct write_input {
  group_key group;
  std::uint32_t element = no_element;
  std::uint64_t offset = 0;
  bytes data;
  bool ends = false; ///< nothing will follow
  std::optional<terminal_size> size;
  using answer = input_taken;
};
struct input_taken {
  std::uint64_t offset = 0; ///< how many have come
  bool closed = false;      ///< nobody reads any more
  using answer_tag = void;
};

/// A rank's stream has arrived from the launcher: `descriptor` is the read end, now the task's; of
/// input it is the end to write, with its `store`; of a shepherd the agent's end of its socket.
struct take_stream {
  enum class kind : std::uint8_t { output, errors, shepherd, input };
  group_key group;
  std::uint64_t stream = 0;
  std::uint32_t element = no_element;
  std::uint32_t rank = 0;
  kind what = kind::output;
  std::uint32_t uid = 0; ///< its job's user, as the launcher knows it
  int descriptor = -1;
  int store = -1;
  using answer = void;
};

/// Executor: something that the shepherd of this element's MPI ranks on the node is to know; kept
/// until the shepherd is there. No answer; what it says comes as hear_shepherd.
struct tell_shepherd {
  group_key group;
  std::uint32_t element = no_element;
  std::shared_ptr<shepherd::to_shepherd const> what;
  using answer = void;
};

/// What the shepherd of an element's MPI ranks on `node` says, or (`what` empty) that it is gone,
/// and whether another one is in its place already.
/// Sent by agent over node to job, under the job's own warrant: it can be about nothing else.
struct hear_shepherd {
  std::uint32_t node = 0;
  group_key group;
  std::uint32_t element = no_element;
  std::shared_ptr<shepherd::to_agent const> what;
  bool replaced = false;
  using answer = void;
};

/// A frame from a shepherd's socket; an empty one is its end. No answer.
struct take_shepherd_frame {
  std::uint64_t stream = 0;
  bytes frame;
  bool ended = false;
  using answer = void;
};

/// The descriptors of a stream could not be taken, or not be used, for want of something that may
/// come back: the launcher is asked for it again in a while. No answer.
struct lend_again {
  std::uint64_t stream = 0;
  using answer = void;
};

/// The task has read a stream to its end: the launcher may close it. No answer.
struct drop_stream {
  std::uint64_t stream = 0;
  using answer = void;
};

} // namespace troupe
