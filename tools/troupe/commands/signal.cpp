// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

namespace troupe::cli {

namespace {

struct signal_options {
  std::shared_ptr<job_choice> choice;
  std::string signal;
};

int signal_jobs(const invocation& run, const signal_options& options) {
  auto number = parse_signal(options.signal);
  if (!number)
    return report_usage(run, number.error().text);
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
  const auto code =
      change_steps(run, *to, *steps, *number, {}, "sent " + signal_name(*number) + " to");
  if (only_steps || code != exit_code::done)
    return code;
  auto answer = to->call(calls::signal{*selector, *number});
  if (!answer)
    return report(run, answer.error());
  return tell_change(run, answer->value, answer->json,
                     ("sent " + signal_name(*number) + " to").c_str());
}

} // namespace

void define_signal(CLI::App& app, invocation& run) {
  app.footer("The signal goes to every task of the running jobs and of all their steps, by name "
             "(TERM, SIGUSR1) or\nnumber. 812.1 is a step of job 812: it gets it alone.");
  auto options = std::make_shared<signal_options>();
  app.add_option("SIGNAL", options->signal, "the signal")->type_name("")->required();
  options->choice = define_job_choice(app);
  app.add_flag("--all", options->choice->all, "every job that you may signal");
  run.act = [&run, options] { return signal_jobs(run, *options); };
}

} // namespace troupe::cli
