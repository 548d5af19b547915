// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"

#include "tools/troupe/rows.hpp"
#include "tools/troupe/values.hpp"

namespace troupe::cli {

std::shared_ptr<job_choice> define_job_choice(CLI::App& app) {
  auto choice = std::make_shared<job_choice>();
  app.add_option("ID", choice->ids, "jobs: 812, 812-900, 812_7, 812_[1-9]")
      ->type_name("")
      ->allow_extra_args();
  app.add_option("-u,--user", choice->user, "jobs of this user")->type_name("USER");
  app.add_option("-J,--name", choice->name, "jobs with this name")->type_name("NAME");
  app.add_option("-q,--queue", choice->queue, "jobs in this queue")->type_name("QUEUE");
  app.add_option("-s,--state", choice->states,
                 "jobs in this state, such as pending or running; may be repeated")
      ->type_name("STATE")
      ->allow_extra_args(false);
  return choice;
}

expected<job_selector> to_selector(const job_choice& from) {
  job_selector selector;
  for (const auto& id : from.ids) {
    auto targets = parse_job_ids(id);
    if (!targets)
      return tl::unexpected{targets.error()};
    selector.targets.insert(selector.targets.end(), targets->begin(), targets->end());
  }
  for (const auto& name : from.states) {
    job_state state{};
    if (!from_string(name, state))
      return fail(errc::invalid, "--state: '" + name.substr(0, 80) +
                                     "' is no state; write pending, starting, running, "
                                     "completing, completed, failed, cancelled, timed_out or lost");
    selector.states.push_back(state);
  }
  selector.all = from.all;
  selector.user = from.user;
  selector.name = from.name;
  selector.queue = from.queue;
  return selector;
}

bool is_empty(const job_choice& choice) {
  return choice.ids.empty() && choice.user.empty() && choice.name.empty() && choice.queue.empty() &&
         choice.states.empty() && !choice.all;
}

expected<std::vector<job_step_id>> take_steps(job_choice& from) {
  std::vector<job_step_id> steps;
  std::vector<std::string> others;
  for (auto& id : from.ids) {
    auto step = parse_step(id);
    if (!step)
      return tl::unexpected{step.error()};
    if (*step)
      steps.push_back(**step);
    else
      others.push_back(std::move(id));
  }
  from.ids = std::move(others);
  return steps;
}

int change_steps(const invocation& run, session& to, const std::vector<job_step_id>& steps,
                 std::int32_t number, const std::string& reason, const std::string& done) {
  int code = exit_code::done;
  for (const auto& each : steps) {
    auto answer = to.call(calls::signal_step{each.of.job, each.step, number, reason});
    if (!answer) {
      code = report(run, answer.error());
      continue;
    }
    const auto told = run.json ? answer->json : done + " step " + format_step(each);
    if (!print(told + "\n"))
      return exit_code::failed;
  }
  return code;
}

expected<job_selector> to_deliberate_selector(const job_choice& from) {
  if (is_empty(from))
    return fail(errc::invalid, "no job is named; give ids, a filter such as --name, or --all");
  return to_selector(from);
}

int tell_change(const invocation& run, const calls::change_reply& what, const std::string& json,
                const char* done) {
  if (run.json && !print(json + "\n"))
    return exit_code::failed;
  if (!run.json) {
    auto count = [](std::uint64_t number, const char* one) {
      return std::to_string(number) + " " + one + (number == 1 ? "" : "s");
    };
    std::string line = std::string{done} + " " + count(what.jobs, "job");
    if (what.elements > what.jobs)
      line += ", " + count(what.elements, "element");
    if ((what.jobs > 0 || what.refused.empty()) && !print(line + "\n"))
      return exit_code::failed;
  }
  for (const auto& one : what.refused)
    notice(run, one.message);
  return what.refused.empty() ? exit_code::done : exit_code::failed;
}

std::string describe_forecast(const start_forecast& what) {
  std::string text = "nothing was submitted; the job " + what.sentence + "\n";
  if (what.expected_start_utc_ns != 0)
    text += "  expected to start: " + format_time(what.expected_start_utc_ns) + "\n";
  if (!what.nodes.empty())
    text += "  on: " + joined(what.nodes) + "\n";
  return text;
}

std::string describe_end(job_state state, std::int32_t exit_code, std::int32_t signal) {
  std::string text = to_string(state);
  if (signal != 0)
    return text + ", " + signal_name(signal);
  if (exit_code != 0)
    return text + ", exit code " + std::to_string(exit_code);
  return text;
}

} // namespace troupe::cli
