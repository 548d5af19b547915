// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"

namespace troupe::cli {

namespace {

int release(const invocation& run, const job_choice& choice) {
  auto selector = to_deliberate_selector(choice);
  if (!selector)
    return report_usage(run, selector.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::release{*selector});
  if (!answer)
    return report(run, answer.error());
  return tell_change(run, answer->value, answer->json, "released");
}

} // namespace

void define_release(CLI::App& app, invocation& run) {
  app.footer("Lets held jobs start.");
  auto choice = define_job_choice(app);
  app.add_flag("--all", choice->all, "every job that you may release");
  run.act = [&run, choice] { return release(run, *choice); };
}

} // namespace troupe::cli
