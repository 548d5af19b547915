// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"

namespace troupe::cli {

namespace {

struct cancel_options {
  std::shared_ptr<job_choice> choice;
  std::string reason;
};

int cancel(const invocation& run, const cancel_options& options) {
  auto steps = take_steps(*options.choice);
  if (!steps)
    return report_usage(run, steps.error().text);
  const bool only_steps = !steps->empty() && is_empty(*options.choice);
  auto selector = only_steps ? job_selector{} : to_deliberate_selector(*options.choice);
  if (!selector)
    return report_usage(run, selector.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  const auto code = change_steps(run, *to, *steps, 0, options.reason, "cancelled");
  if (only_steps || code != exit_code::done)
    return code;
  auto answer = to->call(calls::cancel{*selector, options.reason});
  if (!answer)
    return report(run, answer.error());
  return tell_change(run, answer->value, answer->json, "cancelled");
}

} // namespace

void define_cancel(CLI::App& app, invocation& run) {
  app.footer("Running jobs get SIGTERM, after their grace time SIGKILL; pending ones never start. "
             "The answer comes when\n"
             "that is durable, not when the last process has ended: 'troupe wait' waits for that.\n"
             "812.1 is a step of job 812: it is ended alone.");
  auto options = std::make_shared<cancel_options>();
  options->choice = define_job_choice(app);
  app.add_flag("--all", options->choice->all, "every job that you may cancel");
  app.add_option("--reason", options->reason, "why; shown by 'troupe show'")->type_name("TEXT");
  run.act = [&run, options] { return cancel(run, *options); };
}

} // namespace troupe::cli
