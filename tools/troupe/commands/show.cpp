// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/table.hpp"
#include "tools/troupe/values.hpp"

#include <algorithm>
#include <memory>

namespace troupe::cli {

namespace {

/// Lines "name:  value", values in one column.
class description {
public:
  void add(std::string name, std::string value) {
    if (!value.empty() && value != "-")
      lines_.emplace_back(std::move(name), std::move(value));
  }
  void add_count(const std::string& name, std::uint64_t value) {
    if (value > 0)
      add(name, std::to_string(value));
  }
  std::string text() const {
    std::size_t width = 0;
    for (const auto& [name, value] : lines_)
      width = std::max(width, name.size());
    std::string out;
    for (const auto& [name, value] : lines_)
      out += name + ":" + std::string(width - name.size() + 2, ' ') + printable(value) + "\n";
    return out;
  }

private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

std::string joined(const std::vector<std::string>& words, char separator) {
  std::string out;
  for (const auto& word : words)
    out += (out.empty() ? "" : std::string(1, separator)) + word;
  return out;
}

std::string output_of(const std::string& path) {
  return path == "|" ? "streamed" : path;
}

std::string array_of(const array_spec& array) {
  std::string out;
  for (const auto& range : array.ranges)
    out += (out.empty() ? "" : ",") + std::to_string(range.first) +
           (range.last == range.first ? "" : "-" + std::to_string(range.last));
  return array.running_max == 0 ? out : out + ", " + std::to_string(array.running_max) + " at once";
}

std::string state_of(const job_row& row) {
  if (is_final(row.state))
    return describe_end(row.state, row.exit_code, row.signal);
  return row.held ? "held" : to_string(row.state);
}

std::string describe(const job_view& view) {
  const auto& row = view.row;
  const auto& spec = view.spec;
  description out;
  out.add("job", format_id(row.job));
  out.add("name", row.name);
  out.add("user", row.user);
  out.add("queue", row.queue);
  out.add("account", spec.account);
  out.add("state", state_of(row));
  out.add("reason", row.reason);
  out.add("command", joined(spec.argv, ' '));
  out.add("directory", spec.cwd);
  out.add("output", output_of(spec.stdout_path));
  out.add("errors", spec.merge_stderr ? "with the output" : output_of(spec.stderr_path));
  out.add_count("nodes", row.nodes);
  out.add_count("tasks", row.tasks);
  out.add_count("cores per task", row.cores_per_task);
  out.add("memory per node", format_memory(row.memory_bytes));
  out.add("time limit", row.time_limit_s == 0 ? "" : format_duration(row.time_limit_s));
  if (spec.array)
    out.add("array", array_of(*spec.array));
  out.add_count("elements pending", row.elements_pending);
  out.add_count("elements running", row.elements_running);
  out.add_count("elements failed", row.elements_failed);
  out.add("not before", format_time(spec.begin_utc_ns));
  out.add("submitted", format_time(row.submitted_utc_ns));
  out.add("started", format_time(row.started_utc_ns));
  out.add("ended", format_time(row.ended_utc_ns));
  out.add("where", row.nodelist);
  return out.text();
}

std::string describe_elements(const job_view& view) {
  if (view.elements.empty() ||
      (view.elements.size() == 1 && view.elements[0].element == no_element &&
       view.elements[0].cpus.empty()))
    return {};
  table rows{
      {{"ELEMENT"}, {"STATE"}, {"STARTED"}, {"TIME", table::align::right}, {"CORES"}, {"REASON"}}};
  for (const auto& one : view.elements) {
    auto until = one.ended_utc_ns > 0 ? one.ended_utc_ns : system_clock_source{}.utc();
    rows.add({format_id(view.row.job, one.element),
              describe_end(one.state, one.exit_code, one.signal), format_time(one.started_utc_ns),
              one.started_utc_ns == 0
                  ? "-"
                  : format_duration(std::max<utc_ns>(until - one.started_utc_ns, 0) / ns_per_s),
              one.cpus, one.reason});
  }
  return "\n" + rows.text(terminal_width());
}

std::string describe_steps(const job_view& view) {
  if (view.steps.empty())
    return {};
  table rows{{{"STEP"},
              {"STATE"},
              {"TASKS", table::align::right},
              {"STARTED"},
              {"TIME", table::align::right},
              {"NAME"},
              {"CORES"},
              {"REASON"}}};
  for (const auto& one : view.steps) {
    auto until = one.ended_utc_ns > 0 ? one.ended_utc_ns : system_clock_source{}.utc();
    rows.add({format_id(view.row.job, one.element) + "." + std::to_string(one.step),
              describe_end(one.state, one.exit_code, one.signal), std::to_string(one.tasks),
              format_time(one.started_utc_ns),
              one.started_utc_ns == 0
                  ? "-"
                  : format_duration(std::max<utc_ns>(until - one.started_utc_ns, 0) / ns_per_s),
              one.name, one.cpus, one.reason});
  }
  return "\n" + rows.text(terminal_width());
}

int show_job(const invocation& run, const std::string& id) {
  auto job = parse_one_job(id);
  if (!job)
    return report_usage(run, job.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::show{job->job, job->element});
  if (!answer)
    return report(run, answer.error());
  const auto& view = answer->value.job;
  return print(run.json ? answer->json + "\n"
                        : describe(view) + describe_elements(view) + describe_steps(view))
             ? exit_code::done
             : exit_code::failed;
}

} // namespace

void define_show(CLI::App& app, invocation& run) {
  auto id = std::make_shared<std::string>();
  app.add_option("ID", *id, "the job, or one element of it: 812, 812_7")->type_name("")->required();
  run.act = [&run, id] { return show_job(run, *id); };
}

} // namespace troupe::cli
