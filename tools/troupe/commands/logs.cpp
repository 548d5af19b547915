// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/output.hpp"
#include "tools/troupe/output_path.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <array>
#include <chrono>
#include <fcntl.h>
#include <memory>
#include <optional>

// Output that is streamed comes from the cluster; files are read here, as the caller, who may read
// them or not.

namespace troupe::cli {

namespace {

using std::chrono::milliseconds;

constexpr auto file_poll = milliseconds{100};

struct logs_options {
  std::string id;
  bool follow = false;
  bool errors = false;
  bool label = false;
  std::string task = "0";
};

class log_reader {
public:
  log_reader(const invocation& run, const logs_options& options, session to, job_and_element which,
             std::uint32_t step)
      : run_{run}, options_{options}, to_{std::move(to)}, which_{which}, step_{step} {
    if (options.label)
      writer_.label_lines();
  }

  int read(std::uint32_t task) {
    auto answer = to_.call(calls::show{which_.job, which_.element});
    if (!answer)
      return report(run_, answer.error());
    const auto& view = answer->value.job;
    if (view.spec.cwd.empty())
      return report(run_, {errc::refused,
                           "only its owner may see the output of job " + format_id(which_.job)});
    if (step_ == 0 && view.spec.array && which_.element == no_element)
      return report_usage(
          run_,
          "job " + format_id(which_.job) + " is an array; name one element, such as " +
              format_id(which_.job, static_cast<std::uint32_t>(view.spec.array->ranges[0].first)));
    auto place = place_of(view, which_.element);
    if (step_ != 0) {
      auto of_step = place_of_step(view, step_);
      if (!of_step)
        return report(run_,
                      {errc::not_found, "job " + format_id(which_.job) + " shows no step " +
                                            std::to_string(step_) + "; 'troupe show' lists them"});
      place = std::move(*of_step);
      which_.element = place.element;
    }
    const bool separate = options_.errors && !place.merge_stderr;
    const auto& pattern = separate ? place.stderr_path : place.stdout_path;
    if (pattern.empty())
      return report(run_, {errc::not_found, "the output of " + what() + " is not kept anywhere"});
    if (pattern == "|")
      return follow_stream();
    return follow_file(expand_output_path(place, task, pattern));
  }

private:
  std::string what() const {
    return step_ == 0 ? "job " + format_id(which_.job) : "step " + format_step({which_, step_});
  }

  calls::follow request(bool output) const {
    calls::follow what;
    what.job = which_.job;
    what.element = which_.element;
    what.step = step_;
    what.output = output;
    what.until_end = options_.follow;
    if (output)
      what.from = writer_.positions();
    return what;
  }

  /// Starts again from the byte that was reached; only who follows has that much patience.
  expected<void> go_on_after(const error& why, bool output) {
    if (!options_.follow)
      return tl::unexpected{why};
    if (auto again = to_.go_on_after(why); !again)
      return again;
    goes_on_ = output && !writer_.positions().empty();
    return to_.start_stream(request(output));
  }

  /// The next news, decoded; nothing when the stream has ended.
  expected<std::optional<answered<calls::follow::reply>>> next(bool& ended) {
    auto received = to_.wire().receive();
    if (!received)
      return tl::unexpected{received.error()};
    if (received->failed)
      return fail(received->failed->code, received->failed->message);
    ended = !received->continues;
    auto news = session::decode<calls::follow::reply>(std::move(received->parameters));
    if (!news)
      return tl::unexpected{news.error()};
    return std::optional{std::move(*news)};
  }

  int follow_stream() {
    if (auto sent = to_.start_stream(request(true)); !sent)
      return report(run_, sent.error());
    for (bool ended = false; !ended;) {
      auto news = next(ended);
      if (!news) {
        if (auto again = go_on_after(news.error(), true); !again)
          return report(run_, again.error());
        ended = false;
        continue;
      }
      if (run_.json) {
        if (!print((*news)->json + "\n"))
          return exit_code::failed;
        continue;
      }
      const auto& [state, output, end] = (*news)->value;
      const bool goes_on = state && std::exchange(goes_on_, false);
      if (state && writer_.begin_run(state->incarnation) && goes_on) {
        // It was asked for from where the run before had been.
        const error again{errc::unreachable, what() + " runs again"};
        if (auto asked = go_on_after(again, true); !asked)
          return report(run_, asked.error());
        ended = false;
        continue;
      }
      if (output && writer_.write(*output) == output_writer::outcome::nobody_reads)
        return exit_code::failed;
      if (end)
        break;
    }
    writer_.finish();
    return exit_code::done;
  }

  int follow_file(const std::string& path) {
    if (options_.follow)
      if (auto sent = to_.start_stream(request(false)); !sent)
        return report(run_, sent.error());
    bool ended = !options_.follow;
    unique_fd file;
    while (true) {
      // Looked at before the file is read: what was written until then is there now.
      bool last = ended;
      if (!file)
        file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      if (!file && (last || errno != ENOENT))
        return report(
            run_, {errc::not_found, "cannot read " + path + ": " + varlink::system_message(errno)});
      if (file && !copy(file.get()))
        return exit_code::failed;
      if (last)
        return exit_code::done;
      auto happened = to_.wire().wait_for(-1, file_poll);
      if (happened && *happened != varlink::client::event::reply)
        continue;
      auto news = happened ? next(ended) : tl::unexpected{happened.error()};
      if (news) {
        ended = ended || (*news)->value.end.has_value();
        continue;
      }
      ended = false;
      if (auto again = go_on_after(news.error(), false); !again)
        return report(run_, again.error());
    }
  }

  static bool copy(int from) {
    std::array<char, 64 * 1024> buffer;
    while (true) {
      auto got = ::read(from, buffer.data(), buffer.size());
      if (got <= 0)
        return got == 0;
      if (!print({buffer.data(), static_cast<std::size_t>(got)}))
        return false;
    }
  }

  const invocation& run_;
  const logs_options& options_;
  session to_;
  job_and_element which_;
  std::uint32_t step_; ///< 0: the job's own output
  output_writer writer_;
  bool goes_on_ = false; ///< the stream was asked for from somewhere in its middle
};

int print_logs(const invocation& run, const logs_options& options) {
  auto step = parse_step(options.id);
  if (!step)
    return report_usage(run, step.error().text);
  auto which = *step ? expected<job_and_element>{(*step)->of} : parse_one_job(options.id);
  if (!which)
    return report_usage(run, which.error().text);
  auto task = parse_number(options.task, 0, tasks_max);
  if (!task)
    return report_usage(run, "--task: " + task.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  return log_reader{run, options, std::move(*to), *which, *step ? (*step)->step : 0}.read(
      static_cast<std::uint32_t>(*task));
}

} // namespace

void define_logs(CLI::App& app, invocation& run) {
  auto options = std::make_shared<logs_options>();
  app.add_option("ID", options->id,
                 "the job, one element of an array, or a step: 812, 812_7, 812.1")
      ->type_name("")
      ->required();
  app.add_flag("-f,--follow", options->follow, "go on until the job has ended");
  app.add_flag("-e,--error", options->errors,
               "what went to standard error, where that has a file of its own");
  app.add_flag("--label", options->label, "begin each streamed line with its task's number");
  app.add_option("--task", options->task, "which task's file, where each has its own (0)")
      ->type_name("N");
  run.act = [&run, options] { return print_logs(run, *options); };
}

} // namespace troupe::cli
