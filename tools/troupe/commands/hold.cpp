// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"

namespace troupe::cli {

namespace {

int hold(const invocation& run, const job_choice& choice) {
  auto selector = to_deliberate_selector(choice);
  if (!selector)
    return report_usage(run, selector.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::hold{*selector});
  if (!answer)
    return report(run, answer.error());
  return tell_change(run, answer->value, answer->json, "held");
}

} // namespace

void define_hold(CLI::App& app, invocation& run) {
  app.footer(
      "Held jobs stay in the queue until 'troupe release'; what runs goes on. Elements of an array "
      "are not held one by one.");
  auto choice = define_job_choice(app);
  app.add_flag("--all", choice->all, "every job that you may hold");
  run.act = [&run, choice] { return hold(run, *choice); };
}

} // namespace troupe::cli
