// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

namespace troupe::cli {

namespace {

struct modify_options {
  std::shared_ptr<job_choice> choice;
  job_changes changes;
  std::vector<std::string> problems; ///< of values, met while parsing
};

int modify(const invocation& run, const modify_options& options) {
  if (!options.problems.empty())
    return report_usage(run, options.problems.front());
  if (options.changes == job_changes{})
    return report_usage(run, "nothing to change is given; see 'troupe modify --help'");
  auto selector = to_deliberate_selector(*options.choice);
  if (!selector)
    return report_usage(run, selector.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::modify{*selector, options.changes});
  if (!answer)
    return report(run, answer.error());
  return tell_change(run, answer->value, answer->json, "modified");
}

/// Defines --NAME, whose value `parse` reads into `to`.
template <class To, class Parse>
void change(CLI::App& app, const std::shared_ptr<modify_options>& options, const char* name,
            const char* metavar, const char* help, std::optional<To> job_changes::*to,
            Parse parse) {
  app.add_option_function<std::string>(
         name,
         [options, name, to, parse](const std::string& text) {
           auto value = parse(text);
           if (value)
             options->changes.*to = static_cast<To>(*value);
           else
             options->problems.push_back(std::string{name} + ": " + value.error().text);
         },
         help)
      ->type_name(metavar);
}

auto number(std::uint64_t least, std::uint64_t most) {
  return [=](const std::string& text) { return parse_number(text, least, most); };
}

expected<std::string> as_it_is(const std::string& text) {
  return text;
}

/// "none" lifts a limit.
template <class Value, expected<Value> (*Parse)(std::string_view)>
expected<Value> or_none(const std::string& text) {
  return text == "none" ? expected<Value>{Value{0}} : Parse(text);
}

} // namespace

void define_modify(CLI::App& app, invocation& run) {
  app.footer("Only what waits can be changed. The answer comes when the change is durable.");
  auto options = std::make_shared<modify_options>();
  options->choice = std::make_shared<job_choice>();
  app.add_option("ID", options->choice->ids, "jobs: 812, 812-900")
      ->type_name("")
      ->required()
      ->allow_extra_args();
  using c = job_changes;
  change(app, options, "--time", "TIME", "time limit, or none", &c::time_limit_s,
         or_none<std::uint32_t, parse_duration_s>);
  change(app, options, "--queue", "QUEUE", "the queue to wait in", &c::queue, as_it_is);
  change(app, options, "--nice", "N", "go behind others: the higher, the later", &c::nice,
         [](const std::string& text) { return parse_nice(text); });
  change(app, options, "--nodes", "N", "nodes; 0: as many as are needed", &c::nodes,
         number(0, nodes_max));
  change(app, options, "--tasks", "N", "tasks (ranks)", &c::tasks, number(1, tasks_max));
  change(app, options, "--cores", "N", "cores of each task", &c::cores_per_task, number(1, 4096));
  change(app, options, "--gpus", "N", "GPUs of each task", &c::gpus_per_task,
         number(0, gpus_per_node_max));
  change(app, options, "--mem", "SIZE", "memory on each node, or none", &c::memory_bytes,
         or_none<std::uint64_t, parse_memory>);
  change(app, options, "--begin", "T", "do not start before", &c::begin_utc_ns,
         [](const std::string& text) {
           return parse_point_in_time(text, system_clock_source{}.utc());
         });
  change(app, options, "--name", "NAME", "the job's name", &c::name, as_it_is);
  change(app, options, "--account", "ACCOUNT", "the account to charge", &c::account, as_it_is);
  change(app, options, "--reservation", "NAME", "run in this reservation; '' for none",
         &c::reservation, as_it_is);
  run.act = [&run, options] { return modify(run, *options); };
}

} // namespace troupe::cli
