// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/foreground.hpp"
#include "tools/troupe/jobs.hpp"

#include <cstdlib>
#include <memory>
#include <unistd.h>

// Purpose: look at a running job from within.
// Action:  starts a step of it that shares the cores of the others: a shell on a terminal, or a
//          command.

namespace troupe::cli {

namespace {

/// Which job's, or which element's.
expected<void> become_step_of(const std::string& id, job_spec& spec) {
  auto one = parse_one_job(id);
  if (!one)
    return tl::unexpected{one.error()};
  spec.step_of = one->job;
  spec.step_of_element = one->element;
  return {};
}

int attach(const invocation& run, const std::vector<given_option>& given) {
  if (run.words.empty())
    return report_usage(run, "no job is given; 'troupe queue' lists those that run");
  auto inner = run;
  inner.words.erase(inner.words.begin());
  const bool is_shell = inner.words.empty();
  if (is_shell) {
    const char* shell = std::getenv("SHELL");
    inner.words.emplace_back(shell == nullptr || *shell == '\0' ? "/bin/sh" : shell);
  }
  auto job = make_job(inner, given);
  if (!job)
    return report(run, job.error());
  job->spec.overlap = true;
  job->pty = job->pty || (is_shell && ::isatty(STDIN_FILENO) != 0);
  if (auto lent = lend_streams(*job); !lent)
    return report(run, lent.error());
  if (auto inside = become_step_of(run.words.front(), job->spec); !inside)
    return report_usage(run, inside.error().text);
  return run_in_foreground(run, std::move(*job));
}

} // namespace

void define_attach(CLI::App& app, invocation& run) {
  app.footer("Starts COMMAND (your shell, on a terminal) in the allocation of a running job of "
             "yours, beside its\nown tasks and on their cores: on its first node, elsewhere with "
             "-w. Its exit code is this one's.");
  auto given = std::make_shared<std::vector<given_option>>();
  define_spec_options(app, *given);
  run.act = [&run, given] { return attach(run, *given); };
}

} // namespace troupe::cli
