// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/job_request.hpp"
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"

#include <memory>

namespace troupe::cli {

namespace {

/// Where output goes when nobody said so: files beside each other in the job's directory.
void default_output(job_options& job) {
  auto& spec = job.spec;
  if (!job.stdout_given)
    spec.stdout_path = spec.array ? "troupe-%j_%a.out" : "troupe-%j.out";
  spec.merge_stderr = !job.stderr_given;
}

int submit(const invocation& run, const std::vector<given_option>& given) {
  auto job = make_job(run, given);
  if (!job)
    return report(run, job.error());
  if (job->label || job->show_binding || job->pty)
    return report_usage(run, "--label, --show-binding and --pty belong to 'troupe run'");
  default_output(*job);
  job->spec.batch = !job->spec.script.empty();
  if (auto valid = validate(job->spec); !valid)
    return report(run, valid.error());
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  calls::submit request;
  request.check_only = job->dry_run;
  request.jobs.push_back(std::move(job->spec));
  auto requests = to->sign(request.jobs);
  if (!requests)
    return report(run, requests.error());
  request.requests = std::move(*requests);
  auto answer = to->submit(request);
  if (!answer)
    return report(run, answer.error());
  if (answer->value.jobs.size() != 1)
    return report(run,
                  {errc::internal, "the cluster answered for another number of jobs than one"});
  const auto& result = answer->value.jobs.front();
  if (result.error)
    return report(run, {errc::refused, result.error->message});
  if (run.json)
    return print(answer->json + "\n") ? exit_code::done : exit_code::failed;
  auto text = request.check_only ? describe_forecast(result.forecast.value_or(start_forecast{}))
                                 : format_id(result.job) + "\n";
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_submit(CLI::App& app, invocation& run) {
  app.footer(
      "A script begins with #! and runs once, on the first node of its allocation; 'troupe run' "
      "in it starts\nsteps that use all of it. Lines in it that begin with #TROUPE hold options as "
      "above. "
      "Output goes to\n"
      "troupe-JOB.out (troupe-JOB_ELEMENT.out for arrays) in the job's directory unless -o "
      "or -e is given.");
  auto given = std::make_shared<std::vector<given_option>>();
  define_spec_options(app, *given);
  run.act = [&run, given] { return submit(run, *given); };
}

} // namespace troupe::cli
