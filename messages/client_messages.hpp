// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/common_messages.hpp"
#include "messages/scheduling.hpp"

// Part of messages/protocol.hpp: from a connection to a submitted job, and what clients ask.

namespace troupe {

struct cluster_config; // config/cluster_config.hpp

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

/// A peer proved that it holds a capability from an earlier session: put it into the audit chain.
/// No answer.
struct note_admission {
  std::uint32_t uid = 0;
  std::string peer;
  std::string serial; ///< in hexadecimal, like the next
  std::string parent; ///< of the capability that it was made from; "" if it is no delegation
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

/// Asks for the account of whoever asks, as a warrant for it would name it.
struct caller_described;
struct describe_caller {
  using answer = caller_described;
};
struct caller_described {
  job_identity identity;
  using answer_tag = void;
};

/// Asks for a new warrant for a waiting job whose spec is changed: what is executed stays, what it
/// may use is the new spec's. Answers the job as it then is, not yet durable.
struct warrant_amended;
struct amend_warrant {
  job_id job = 0;
  std::shared_ptr<submitted_event const> event; ///< as it is
  std::shared_ptr<job_spec const> spec;         ///< as it shall be
  using answer = warrant_amended;
};
struct warrant_amended {
  std::shared_ptr<submitted_event const> event;
  using answer_tag = void;
};

/// A job that the authority says was asked for; what `submitted` will hold. One without a number
/// was asked for before, by the same request: nothing is made for it, the ledger knows what became
/// of it.
struct warranted_job {
  job_id job = 0;
  fixed_bytes<16> request_id{};
  std::shared_ptr<submitted_event const> event;
};
struct warrants_issued {
  std::vector<expected<warranted_job>> jobs;
  using answer_tag = void;
};

/// Asks which job was submitted with this request. Answers its number, or 0 where there is none.
struct request_found;
struct find_request {
  fixed_bytes<16> request_id{};
  using answer = request_found;
};
struct request_found {
  job_id job = 0;
  using answer_tag = void;
};

/// Asks the scheduler to take warranted jobs. Answers, once they are durable, an id or an error
/// each.
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
    submitted,
    held,
    released,
    starting,
    running,
    ended,
    requeued,
    cancelled,
    node_changed,
    finished,
    step_started,
    step_ended,
    modified,
    reservation_changed,
    preempted
  } what = kind::submitted;
  bytes encoded;
  std::optional<fixed_bytes<16>> request_id; ///< of submitted
  std::optional<job_row> row;                ///< the job's row as it is after this event
  std::optional<element_view> element_end;   ///< of ended
  bool finishes = false;                     ///< the job has ended with this; `row` is there
  std::uint32_t uid = 0;
  utc_ns first_promised_utc_ns = 0; ///< of starting: when it had been expected; 0: it had not been
  utc_ns last_promised_utc_ns = 0;
  /// Of submitted and modified: kept at hand for its start.
  std::shared_ptr<submitted_event const> submitted;
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

/// Asks for a page of ended jobs' rows, newest first: of jobs with lower numbers than `before`. A
/// page may be empty though more come.
struct job_rows;
struct query_history {
  job_selector selector;
  utc_ns since_utc_ns = 0;
  utc_ns until_utc_ns = 0;
  std::uint32_t rows_max = 1000;
  std::uint64_t before = ~std::uint64_t{0};
  using answer = job_rows;
};
struct job_rows {
  std::vector<job_row> rows;
  bool more = false;
  std::uint64_t before = 0; ///< of a history with `more`: where the next page begins
  using answer_tag = void;
};

/// Asks for a page of the promised starts of jobs that have started, newest first: of starts with
/// lower sequence numbers than `before`. A page may be empty though more come.
struct estimates_found;
struct query_estimates {
  job_selector selector;
  utc_ns since_utc_ns = 0;
  std::uint32_t rows_max = 1000;
  std::uint64_t before = ~std::uint64_t{0};
  using answer = estimates_found;
};
struct estimates_found {
  std::vector<estimate_row> rows;
  std::uint64_t before = 0; ///< where the next page begins; 0: this was the last
  using answer_tag = void;
};

/// Asks for all the ledger knows of a job that may have ended, or of one of its elements. Answers
/// its view, or not_found.
struct query_job {
  job_id job = 0;
  std::uint32_t element = no_element;
  using answer = job_view;
};

/// Asks for the rows of jobs by their numbers: few of them. Answers a row or an error each, in the
/// order asked for.
struct rows_found;
struct query_rows {
  std::vector<job_id> jobs; ///< at most `jobs_max`
  static constexpr std::size_t jobs_max = 1024;
  using answer = rows_found;
};
struct rows_found {
  std::vector<expected<job_row>> rows;
  using answer_tag = void;
};

/// Asks which of the jobs [first, last], or which `elements` of the array `first`, have ended, and
/// how; from number `from` on, a page at a time. Answers not_found for a job or elements that never
/// were, and every element of an array that is over.
struct ends_found;
struct query_ends {
  job_id first = 0;
  job_id last = 0;
  std::optional<number_range> elements;
  std::uint64_t from = 0; ///< the job, or the element, to begin with
  static constexpr std::uint64_t jobs_per_page = 1000;
  static constexpr std::uint64_t elements_per_page = 10'000;
  using answer = ends_found;
};
struct job_end {
  job_id job = 0;
  std::uint32_t element = no_element;
  exit_report exit;
  double core_seconds = 0; ///< that it used
  utc_ns ended_utc_ns = 0;
  utc_ns started_utc_ns = 0;
};
struct ends_found {
  std::vector<job_end> ends;         ///< of jobs, or of elements
  std::vector<job_id> unfinished;    ///< jobs of the page that have not ended
  std::optional<std::uint64_t> next; ///< where the next page begins; nothing: this was the last
  /// Of elements: those of the range that the array has.
  std::vector<number_range> elements;
  using answer_tag = void;
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

/// Changes what pending jobs ask for. Answers as cancel does.
struct modify_jobs {
  job_selector selector;
  job_changes changes;
  using answer = jobs_changed;
};

/// Asks when and where a job of this user would start; nothing is submitted. The scheduler answers
/// what it would refuse with an error, and asks the planner the rest.
struct check_job {
  std::shared_ptr<job_spec const> spec;
  job_identity identity;
  using answer = start_forecast;
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
  /// So many jobs and elements can be waited for at once.
  static constexpr std::uint64_t named_max = 100'000;
  using answer = job_ends;
};
struct job_ends {
  std::vector<job_end> ends;
  using answer_tag = void;
};

/// Starts a step in a running job's allocation. Answers its number once its start is durable: it
/// waits while other steps have the cores. Asked again with the same request, it answers the same.
struct step_begun;
struct start_step {
  job_id job = 0;
  submission what;
  using answer = step_begun;
};
struct step_begun {
  std::uint32_t step = 0;
  using answer_tag = void;
};

/// Asks for the end of a step. Answers when it is durable.
struct step_over;
struct await_step {
  job_id job = 0;
  std::uint32_t step = 0;
  using answer = step_over;
};
struct step_over {
  exit_report exit;
  using answer_tag = void;
};

/// Asks for the next step, after `after`, that ranks of step `root` (or those they spawned) have
/// spawned. Answers when there is one, or 0 when there will be none any more.
struct step_spawned;
struct await_spawned {
  job_id job = 0;
  std::uint32_t element = no_element;
  std::uint32_t root = 0;
  std::uint32_t after = 0;
  using answer = step_spawned;
};
struct step_spawned {
  std::uint32_t step = 0;
  using answer_tag = void;
};

/// Sends a signal to a step's ranks, or ends it. Answers whether there was such a step.
struct signal_step {
  job_id job = 0;
  std::uint32_t step = 0;
  std::int32_t signal = 0; ///< 0: end it
  std::string reason;      ///< of an end
  using answer = jobs_changed;
};

/// One of those who follow a job; no two are ever the same.
struct follower {
  std::uint64_t client = 0;
  std::uint64_t number = 0;
  bool operator==(const follower&) const = default;
};

/// A client now follows a job that ends with its client. No answer.
struct attach_job {
  job_id job = 0;
  follower by;
  using answer = void;
};

/// It does not any more, whatever became of its capability meanwhile. No answer.
struct detach_follower {
  job_id job = 0;
  follower by;
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

// == Queues, reservations, configuration ==========================================================

/// Asks for the queues and what is in them.
struct queue_rows;
struct list_queues {
  using answer = queue_rows;
};
struct queue_rows {
  std::vector<queue_row> queues;
  using answer_tag = void;
};

/// Keeps nodes for some jobs for a time. Answers, once durable, all reservations.
struct reservation_rows;
struct make_reservation {
  reservation_row what;
  using answer = reservation_rows;
};

/// Gives a reservation up. Answers, once durable, those that are left.
struct drop_reservation {
  std::string name;
  using answer = reservation_rows;
};

/// Asks for the reservations that have not ended.
struct list_reservations {
  using answer = reservation_rows;
};
struct reservation_rows {
  std::vector<reservation_row> reservations;
  using answer_tag = void;
};

/// Asks for the configuration in force.
struct config_shown;
struct show_config {
  using answer = config_shown;
};

/// Reads the configuration's file again. Answers what is in force then: all of it, or an error and
/// what was in force before.
struct reload_config {
  using answer = config_shown;
};
struct config_shown {
  std::string path; ///< "" without a file
  std::string text; ///< TOML, complete with what was left to its default
  using answer_tag = void;
};

/// A configuration that was read and is whole: take it, or refuse it as it stands against the jobs.
struct config_applied;
struct apply_config {
  std::shared_ptr<cluster_config const> config;
  using answer = config_applied;
};
struct config_applied {
  using answer_tag = void;
};

// == Steering and looking ========================================================================

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

} // namespace troupe
