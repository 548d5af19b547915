// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <algorithm>

namespace troupe::cli {

namespace {

int wait_for(const invocation& run, const std::vector<std::string>& ids) {
  calls::wait request;
  for (const auto& id : ids) {
    auto targets = parse_job_ids(id);
    if (!targets)
      return report_usage(run, targets.error().text);
    request.targets.insert(request.targets.end(), targets->begin(), targets->end());
  }
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(request);
  while (!answer) {
    if (auto again = to->go_on_after(answer.error()); !again)
      return report(run, again.error());
    answer = to->call(request);
  }
  const auto& ends = answer->value.ends;
  std::string text = run.json ? answer->json + "\n" : std::string{};
  for (const auto& one : ends)
    if (!run.json)
      text += format_id(one.job, one.element) + " " +
              describe_end(one.exit.state, one.exit.exit_code, one.exit.signal) +
              (one.exit.reason.empty() ? "" : ": " + one.exit.reason) + "\n";
  if (!print(text))
    return exit_code::failed;
  bool all_completed = std::all_of(ends.begin(), ends.end(), [](const calls::end_row& one) {
    return one.exit.state == job_state::completed;
  });
  return all_completed ? exit_code::done : exit_code::failed;
}

} // namespace

void define_wait(CLI::App& app, invocation& run) {
  app.footer(
      "Prints how each of them ended. Exit code 0 when all completed, else 1. At most 100000 jobs "
      "and elements\n"
      "can be waited for at once; an array that is named as a whole counts as one.");
  auto ids = std::make_shared<std::vector<std::string>>();
  app.add_option("ID", *ids, "jobs: 812, 812-900, 812_7, 812_[1-9]")->type_name("")->required();
  run.act = [&run, ids] { return wait_for(run, *ids); };
}

} // namespace troupe::cli
