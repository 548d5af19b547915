// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/scheduler/scheduler.hpp"
#include "runtime/ledger/event.hpp"

namespace troupe::actors {

/// One unfinished job's events, folded in their order into what its actor is made from. What cannot
/// be read, or cannot have happened after what came before, is no failure of the fold: the job is
/// set aside, with a sentence that says why (`recovered_job::aside`), and nothing of it is guessed.
class job_story {
public:
  explicit job_story(job_id job) { job_.birth.job = job; }

  void take(const ledger::stored_event& stored);
  recovered_job finish();

private:
  expected<void> fold(const ledger::stored_event& stored);
  expected<void> submitted(const ledger::stored_event& stored);
  expected<void> modified(const ledger::stored_event& stored);
  expected<void> starting(const ledger::stored_event& stored);
  expected<void> ended(const ledger::stored_event& stored);
  expected<void> requeued(const ledger::stored_event& stored);
  expected<void> preempted(const ledger::stored_event& stored);
  expected<void> cancelled(const ledger::stored_event& stored);
  expected<void> step_started(const ledger::stored_event& stored);
  expected<void> step_ended(const ledger::stored_event& stored);

  template <class T>
  expected<T> read(const ledger::stored_event& stored) const;
  bool has(std::uint32_t first, std::uint32_t last) const;
  void withdraw(std::uint32_t first, std::uint32_t last);
  void close(std::uint32_t incarnation, std::uint32_t first, std::uint32_t last);
  expected<void> check_order(std::uint32_t incarnation, std::uint32_t first,
                             std::uint32_t last) const;
  void apply_cancels();

  recovered_job job_;
  interval_set elements_; ///< all that the job has
  interval_set over_;     ///< that have ended
  std::vector<std::pair<number_range, std::string>> cancels_;
  std::map<std::uint32_t, std::size_t> steps_; ///< where each is in `birth.steps`
};

} // namespace troupe::actors
