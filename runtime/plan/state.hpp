// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/easy.hpp"
#include "runtime/plan/future.hpp"
#include "runtime/plan/planner.hpp"
#include "runtime/plan/queue.hpp"
#include "runtime/plan/slots.hpp"

#include <unordered_map>

namespace troupe::plan {

/// What `planner_core` is made of. Its verbs are spread over planner.cpp (events), pass.cpp
/// (decisions), why.cpp (explanations) and audit.cpp.
struct planner_core::state {
  explicit state(planner_config c) : config(c), queue(pool) {}

  planner_config config;
  node_pool pool;
  job_queue queue; ///< refers to `pool`
  slot_table slots;
  std::unordered_map<job_id, job_record> jobs;
  std::uint64_t units_pending = 0;

  instant now = 0;     ///< of the latest pass
  bool changed = true; ///< since the latest pass, so that another decision is possible
  std::uint64_t pass_number = 0;
  std::optional<reservation> head;
  std::vector<job_id> leases; ///< reported as allowed; in queue order
  chooser choose;

  job_record* find(job_id id);
  const job_record* find(job_id id) const;
  duration effective_limit(duration asked) const;
  void set_pending(job_record& job, std::uint32_t pending);
  void forget_if_done(job_id id, job_record& job);
  void submit(const job_request& request);
  void close_slot(job_record& job, slot_id id);

  // pass.cpp
  struct easy_view;
  void start_unit(job_record& job, bool backfilled, instant end, pass_result& result);
  void report_leases(pass_result& result);
  bool may_refill(const job_record& job) const;
  reservation describe(const job_record& job, const reserved_future& future) const;
};

std::string describe_impossible(const job_shape& shape, const node_pool& pool, bool only_up);

} // namespace troupe::plan
