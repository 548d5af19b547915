// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <memory>

namespace troupe::cli {

namespace {

int tell_why(const invocation& run, const std::string& id) {
  auto job = parse_one_job(id);
  if (!job)
    return report_usage(run, job.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  if (job->element != no_element) // elements wait as their job does, those that there are
    if (auto shown = to->call(calls::show{job->job, job->element}); !shown)
      return report(run, shown.error());
  auto answer = to->call(calls::why{job->job});
  if (!answer)
    return report(run, answer.error());
  if (run.json)
    return print(answer->json + "\n") ? exit_code::done : exit_code::failed;
  const auto& why = answer->value.why;
  auto text =
      "job " + format_id(why.job) + " is " + to_string(why.state) + ": " + why.sentence + "\n";
  if (why.position > 0)
    text += "  position in the queue: " + std::to_string(why.position) + "\n";
  if (why.expected_start_utc_ns > 0)
    text += "  expected to start: " + format_time(why.expected_start_utc_ns) + "\n";
  for (const auto& reason : why.reasons)
    text += "  " + reason + "\n";
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_why(CLI::App& app, invocation& run) {
  auto id = std::make_shared<std::string>();
  app.add_option("ID", *id, "the job")->type_name("")->required();
  run.act = [&run, id] { return tell_why(run, *id); };
}

} // namespace troupe::cli
