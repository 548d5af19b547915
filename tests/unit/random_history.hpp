// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/unit/actor_world.hpp"

namespace troupe::test {

/// Histories of jobs as they could have been, written by the real events: each job goes its random
/// way through starts, ends, requeues, preemptions, cancels, holds, changes and steps, and is cut
/// off anywhere. What the launchers have of it then is drawn, too, within what is possible.
class random_history {
public:
  explicit random_history(actor_world& world);

  /// So many jobs, in a world whose queue is empty. The daemon has to be there, for its authority
  /// makes the warrants.
  void make(std::uint32_t jobs);
  /// One event of one job is spoilt: a byte of it, or it is missing, or there a second time, or
  /// changes places with the next one. Answers the job.
  job_id damage();
  const std::vector<ledger::event>& events() const { return events_; }
  /// Puts orders, running elements and records into the launchers.
  void fill_launchers();

private:
  struct element_model {
    std::uint32_t incarnation = 1;
    bool placed = false, over = false, cancelled = false;
  };
  struct chunk_model {
    std::uint32_t incarnation = 1;
    starting_event starting;
    interval_set open; ///< placed and not over
  };
  struct step_model {
    step_started_event started;
    std::uint32_t element = no_element, incarnation = 1;
    bool over = false;
  };
  struct job_model {
    job_id id = 0;
    std::shared_ptr<submitted_event const> asked;
    job_row row;
    std::map<std::uint32_t, element_model> elements;
    std::vector<chunk_model> chunks;
    std::map<std::uint32_t, std::vector<placement_part>> slots; ///< of single elements, by node
    std::vector<step_model> steps;
    bool live = false, held = false, over = false;

    const job_spec& spec() const { return asked->spec; }
    bool is_wide() const { return spec().nodes > 1 || spec().mpi != mpi_mode::none; }
  };

  job_spec random_spec(std::uint32_t number);
  void warrant(const std::vector<job_spec>& specs);
  void act(job_model& job);
  void submit(job_model& job);
  void place(job_model& job);
  void place_lone(job_model& job, std::uint32_t element);
  void place_wide(job_model& job, std::uint32_t element);
  void end(job_model& job);
  void requeue(job_model& job);
  void preempt(job_model& job);
  void cancel(job_model& job);
  void hold(job_model& job);
  void modify(job_model& job);
  void start_step(job_model& job);
  void end_step(job_model& job);
  void finish_element(job_model& job, std::uint32_t element, job_state state, bool told);
  void give_back(job_model& job);
  std::optional<std::uint32_t> any(const job_model& job, bool placed) const;
  void put(job_model& job, ledger_entry entry);
  ledger_entry entry_of(const job_model& job, ledger_entry::kind what, std::uint32_t element,
                        std::uint32_t incarnation, bytes encoded) const;
  std::optional<placement_part> take_cores(std::uint32_t node, std::uint32_t tasks);
  sealed_order order_of(const job_model& job, const chunk_model& chunk, std::size_t part,
                        std::uint32_t first, std::uint32_t last) const;
  void fill_with(const job_model& job, const chunk_model& chunk);

  actor_world& world_;
  dice& random_;
  std::vector<job_model> jobs_;
  std::map<std::uint32_t, std::set<std::uint32_t>> free_; ///< cores, by node
  std::vector<ledger::event> events_;
  std::vector<job_id> owners_; ///< of `events_`
};

} // namespace troupe::test
