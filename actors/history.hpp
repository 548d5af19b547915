// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "runtime/ledger/reads.hpp"

#include <map>
#include <unordered_map>

namespace troupe::actors {

/// Answers what is asked of the past, on a connection and a thread of its own: nobody who appends
/// waits for it, and what it answers itself is bounded.
class history_state {
public:
  using interface = history_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "history";

  history_state(self_pointer self, world& around, std::shared_ptr<ledger::reader> from);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  struct known_job {
    job_row row;
    std::shared_ptr<submitted_event const> event;
  };
  struct known_user {
    std::string name;
    boot_ns until = 0;
  };

  caf::result<job_rows> history(request<query_history>& what);
  expected<ledger::filter> filter_of(const request<query_history>& what);
  void add_what_was_asked(job_row& row);
  caf::result<estimates_found> estimates(request<query_estimates>& what);
  expected<void> add_older_estimates(const ledger::filter& which, estimates_found& to,
                                     std::uint64_t before);
  caf::result<job_view> job(request<query_job>& what);
  // history_ends.cpp
  rows_found rows(request<query_rows>& what);
  caf::result<ends_found> ends(request<query_ends>& what);
  caf::result<ends_found> ends_of_jobs(request<query_ends>& what);
  caf::result<ends_found> ends_of_elements(request<query_ends>& what);
  expected<std::map<std::uint32_t, exit_report>> read_ends(job_id job, number_range page);
  expected<element_location> locate_step(job_id job, std::uint32_t number);
  caf::result<step_over> await(request<await_step>& what);
  caf::result<step_spawned> spawned(request<await_spawned>& what);
  caf::result<element_location> locate(request<locate_element>& what);
  caf::expected<known_job> look_up(const verified_capability& cap, job_id job, verb own, verb any);
  const std::string& user_of(std::uint32_t uid);
  status_report status() const;

  self_pointer self_;
  world& world_;
  std::shared_ptr<ledger::reader> from_;
  std::unordered_map<std::uint32_t, known_user> users_;
  std::uint64_t pages_ = 0;
};

} // namespace troupe::actors
