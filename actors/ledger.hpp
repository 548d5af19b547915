// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "runtime/ledger/store.hpp"

#include <deque>
#include <unordered_map>

namespace troupe::actors {

/// Owns the store; detached, because every commit waits for the disk. What arrives while a commit
/// runs goes into the next one: one sync for all of it.
class ledger_state {
public:
  using interface = ledger_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "ledger";

  ledger_state(self_pointer self, world& around, std::shared_ptr<ledger::store> store);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  enum timer : std::uint8_t { timer_commit, timer_idle, timer_history };

  struct known_job {
    job_row row;
    std::shared_ptr<submitted_event const> event;
  };
  struct unfinished_history {
    job_rows found;
    std::size_t next = 0; ///< the first row that does not tell what was asked
    caf::typed_response_promise<job_rows> promise;
  };
  struct waiting_append {
    append_entries what;
    caf::typed_response_promise<entries_kept> promise;
  };

  caf::result<entries_kept> append(request<append_entries>& what);
  void commit();
  bool commit_together(std::vector<waiting_append>& batch, bool essential);
  void commit_alone(waiting_append& one, bool essential);
  void remember(const append_entries& what);
  expected<submission_found> fetch(job_id job);
  caf::result<job_rows> history(request<query_history>& what);
  void add_some_of_what_was_asked();
  void add_what_was_asked(job_row& row);
  expected<estimates_found> estimates(request<query_estimates>& what);
  caf::result<job_view> job(request<query_job>& what);
  expected<element_location> locate_step(job_id job, std::uint32_t number);
  caf::result<step_over> await(request<await_step>& what);
  caf::result<step_spawned> spawned(request<await_spawned>& what);
  caf::result<element_location> locate(request<locate_element>& what);
  caf::expected<known_job> look_up(const verified_capability& cap, job_id job, verb own, verb any);
  status_report status() const;
  void idle();

  self_pointer self_;
  world& world_;
  std::shared_ptr<ledger::store> store_;
  std::vector<waiting_append> waiting_;
  std::deque<unfinished_history> histories_;
  bool commit_due_ = false;
  std::uint64_t commits_ = 0, events_ = 0, failures_ = 0;
  std::uint64_t commits_at_idle_ = 0;
  std::uint64_t commits_tidied_ = 0; ///< so many had been made when the log was last moved
  /// The last submissions, so that a job that starts at once needs no read.
  std::unordered_map<job_id, std::shared_ptr<submitted_event const>> recent_;
  std::deque<job_id> recent_order_;
};

} // namespace troupe::actors
