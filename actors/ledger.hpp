// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/past_work.hpp"
#include "actors/shell.hpp"
#include "base/passed_time.hpp"
#include "runtime/ledger/store.hpp"

#include <deque>
#include <map>
#include <unordered_map>

namespace troupe::actors {

/// Owns the store; detached, because every commit waits for the disk. What arrives while a commit
/// runs goes into the next one: one sync for all of it.
class ledger_state {
public:
  using interface = ledger_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "ledger";

  ledger_state(self_pointer self, world& around, std::shared_ptr<ledger::store> store,
               history_actor history);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  enum timer : std::uint8_t { timer_commit, timer_idle };

  struct waiting_append {
    append_entries what;
    caf::typed_response_promise<entries_kept> promise;
  };

  caf::result<entries_kept> append(request<append_entries>& what);
  void commit();
  bool commit_together(std::vector<waiting_append>& batch, bool essential);
  void commit_alone(waiting_append& one, bool essential);
  void note_failure(const error& why);
  void remember(const append_entries& what);
  expected<submission_found> fetch(job_id job);
  expected<request_found> find(const request<find_request>& what);
  template <class M>
  caf::result<typename M::answer> read_past(request<M>& what);
  expected<void> forget_and_gather();
  status_report status() const;
  void idle();

  self_pointer self_;
  world& world_;
  passed_time passed_{world_.clock};
  std::shared_ptr<ledger::store> store_;
  history_actor history_;
  std::vector<waiting_append> waiting_;
  bool commit_due_ = false;
  std::uint64_t commits_ = 0, events_ = 0, failures_ = 0;
  std::uint64_t failures_untold_ = 0;
  boot_ns failure_told_again_ = 0; ///< not before
  std::uint64_t commits_at_idle_ = 0;
  std::uint64_t commits_tidied_ = 0; ///< so many had been made when the log was last moved
  std::optional<past_work_book> past_;
  boot_ns tidy_at_ = 0; ///< not before
  boot_ns tidy_pause_ = 0;
  /// The last submissions, so that a job that starts at once needs no read.
  std::unordered_map<job_id, std::shared_ptr<submitted_event const>> recent_;
  std::deque<job_id> recent_order_;
};

} // namespace troupe::actors
