// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/exec_spec.hpp"
#include "auth/job_request.hpp"
#include "messages/types.hpp"

namespace troupe {

/// The part of a spec that is executed: what the launcher gets, byte for byte.
inline auth::exec_spec to_exec_spec(const job_spec& spec) {
  auth::exec_spec exec;
  exec.merge_stderr = spec.merge_stderr;
  exec.append = spec.append;
  exec.outlives_ranks = spec.notify_failures;
  exec.has_shepherd = spec.mpi != mpi_mode::none;
  exec.has_terminal = spec.terminal.has_value();
  if (spec.terminal) {
    exec.rows = spec.terminal->rows;
    exec.columns = spec.terminal->columns;
  }
  exec.cwd = spec.cwd;
  exec.stdin_path = spec.stdin_path;
  exec.stdout_path = spec.stdout_path;
  exec.stderr_path = spec.stderr_path;
  exec.script = spec.script;
  exec.argv = spec.argv;
  exec.env = spec.env;
  return exec;
}

/// Which elements a spec asks for, as job requests and warrants name them.
inline auth::element_summary summary_of_elements(const job_spec& spec) {
  if (spec.step_of != 0)
    return {1, spec.step_of_element, spec.step_of_element};
  if (!spec.array)
    return {};
  auth::element_summary summary;
  summary.count = element_count(spec);
  summary.first = static_cast<std::uint32_t>(spec.array->ranges.front().first);
  summary.last = static_cast<std::uint32_t>(spec.array->ranges.back().last);
  return summary;
}

/// Whether ranks of it may start further ones: those of an MPI program may (MPI_Comm_spawn), its
/// own ones or those of a script's steps.
inline bool may_spawn(const job_spec& spec) {
  return spec.mpi != mpi_mode::none || spec.batch;
}

/// How often an element may get a new incarnation. Nothing runs twice without `requeue`; new ones
/// are needed for elements that were withdrawn from a launcher before they started, or that could
/// not be started for want of something.
inline std::uint32_t incarnations_max(const job_spec&) {
  return 1000;
}

} // namespace troupe
