// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/foreground.hpp"
#include "tools/troupe/values.hpp"

#include <cstdlib>
#include <memory>

namespace troupe::cli {

namespace {

/// Inside a job it is a step of that job: its variables say whose.
expected<void> become_step(job_spec& spec) {
  const auto number_in = [](const char* variable) -> expected<std::uint64_t> {
    const char* text = std::getenv(variable);
    if (text == nullptr || *text == '\0')
      return 0;
    auto number = parse_number(text, 0, UINT64_MAX);
    if (!number)
      return fail(errc::invalid, std::string{variable} + ": " + number.error().text);
    return *number;
  };
  auto job = number_in("TROUPE_JOB_ID");
  auto element = number_in("TROUPE_ELEMENT");
  if (!job || !element)
    return tl::unexpected{job ? element.error() : job.error()};
  spec.step_of = *job;
  if (*job != 0 && std::getenv("TROUPE_ELEMENT") != nullptr)
    spec.step_of_element = static_cast<std::uint32_t>(*element);
  return {};
}

int run_job(const invocation& run, const std::vector<given_option>& given) {
  auto job = make_job(run, given);
  if (!job)
    return report(run, job.error());
  if (auto lent = lend_streams(*job); !lent)
    return report(run, lent.error());
  if (auto inside = become_step(job->spec); !inside)
    return report(run, inside.error());
  return run_in_foreground(run, std::move(*job));
}

} // namespace

void define_run(CLI::App& app, invocation& run) {
  app.footer(
      "Inside a job (TROUPE_JOB_ID is set) it is a step in that job's allocation: on cores that "
      "no other step\nhas; it waits while others have them. What could never fit is refused.\n"
      "Output appears here as it is written, and the exit code is the job's: 128 + N when "
      "signal N ended it.\n"
      "What this command reads goes to the first task; 'troupe run … </dev/null' keeps it.\n"
      "SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 go to the job; a second SIGINT within a "
      "second cancels it.");
  auto given = std::make_shared<std::vector<given_option>>();
  define_spec_options(app, *given);
  run.act = [&run, given] { return run_job(run, *given); };
}

} // namespace troupe::cli
