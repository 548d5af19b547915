// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/foreground.hpp"

#include "base/unique_fd.hpp"
#include "tools/troupe/input.hpp"
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/output.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/signals.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <poll.h>
#include <unistd.h>
#include <utility>

// Purpose: a job that feels like a command started here: its input and output, its exit code, our
// signals.
// Action: submits the job with its streams lent to us, follows it, passes signals on over a second
// connection (the first one carries the stream) and input over a third. When the cluster goes away
// meanwhile, it comes back to the byte it had. Caveats: a job that nobody follows ends after a
// minute, so a run that is killed does not leave one behind for long.

namespace troupe::cli {

namespace {

using std::chrono::milliseconds;
using clock = std::chrono::steady_clock;

constexpr auto reconnect_for = std::chrono::seconds{60};
constexpr auto reconnect_pause = milliseconds{100};
constexpr auto second_interrupt_within = std::chrono::seconds{1};
constexpr std::array forwarded_signals{SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

bool asks_to_end(int number) {
  return number == SIGINT || number == SIGTERM || number == SIGHUP;
}

/// Follows one job from its submission to its end.
class foreground_job {
public:
  foreground_job(const invocation& run, job_options options)
      : run_{run}, options_{std::move(options)}, is_step_{options_.spec.step_of != 0},
        takes_input_{options_.spec.stdin_path == "|"}, has_terminal_{options_.spec.terminal} {
    if (options_.label)
      writer_.label_lines();
  }

  int run() {
    auto to = session::open(run_.capability);
    if (!to)
      return fails(to.error());
    session_.emplace(std::move(*to));
    signals_ = take_over_signals(forwarded_signals);
    if (auto exit = submit())
      return *exit;
    if (auto started = follow(); !started)
      return fails(started.error());
    while (true)
      if (auto exit = step())
        return *exit;
  }

private:
  using exit_now = std::optional<int>;

  int fails(const error& why) {
    terminal_.reset();
    return report(run_, why);
  }

  exit_now submit() { return is_step_ ? begin_step() : begin_job(); }

  exit_now begin_job() {
    calls::submit request;
    request.check_only = options_.dry_run;
    request.jobs.push_back(std::move(options_.spec));
    auto requests = session_->sign(request.jobs);
    if (!requests)
      return fails(requests.error());
    request.requests = std::move(*requests);
    for (;;) {
      auto received = ask(request);
      if (!received)
        return 128 + next_signal(signals_).value_or(SIGINT);
      if (*received && !(*received)->failed)
        return take_submitted(std::move((*received)->parameters));
      const auto why = error_of(*received);
      // The same request again: it makes one job, whichever of them came through.
      if (auto again = session_->go_on_after(why); !again)
        return fails({again.error().code,
                      again.error().text + (why.code == errc::unreachable
                                                ? "; whether the job was taken is unknown: look at "
                                                  "'troupe queue' before it is run again"
                                                : "")});
    }
  }

  using reply = expected<varlink::received>;

  static error error_of(const reply& from) {
    return from ? error{from->failed->code, from->failed->message} : from.error();
  }

  /// The answer to a call; none when a signal came first.
  template <class Request>
  std::optional<reply> ask(const Request& request) {
    auto sent = session_->start_stream(request);
    auto happened = sent ? session_->wire().wait_for(signals_.get(), milliseconds{-1})
                         : tl::unexpected{sent.error()};
    if (happened && *happened == varlink::client::event::other_readable) {
      notice(run_, "interrupted before the cluster had answered; look at 'troupe queue'");
      return std::nullopt;
    }
    return happened ? session_->wire().receive() : reply{tl::unexpected{happened.error()}};
  }

  /// A step may wait long for cores: the same request is made again when the cluster was away.
  exit_now begin_step() {
    job_ = options_.spec.step_of;
    calls::run_step request;
    auto requests = session_->sign({&options_.spec, 1});
    if (!requests)
      return fails(requests.error());
    request.request = std::move(requests->front());
    request.spec = options_.spec;
    for (;;) {
      auto received = ask(request);
      if (!received)
        return 128 + next_signal(signals_).value_or(SIGINT);
      if (*received && !(*received)->failed)
        return take_step(std::move((*received)->parameters));
      if (auto again = session_->go_on_after(error_of(*received)); !again)
        return fails(again.error());
    }
  }

  exit_now take_step(std::string parameters) {
    auto answer = session::decode<calls::run_step::reply>(std::move(parameters));
    if (!answer)
      return fails(answer.error());
    if (run_.json)
      print(answer->json + "\n");
    step_ = answer->value.step;
    return {};
  }

  exit_now take_submitted(std::string parameters) {
    auto told = session::decode<calls::submit::reply>(std::move(parameters));
    if (!told)
      return fails(told.error());
    if (told->value.jobs.size() != 1)
      return fails({errc::internal, "the cluster answered for another number of jobs than one"});
    const auto& result = told->value.jobs.front();
    if (result.error)
      return fails({errc::refused, result.error->message});
    if (run_.json)
      print(told->json + "\n");
    if (options_.dry_run)
      return run_.json || print(describe_forecast(result.forecast.value_or(start_forecast{})))
                 ? exit_code::done
                 : exit_code::failed;
    job_ = result.job;
    return {};
  }

  expected<void> follow() {
    calls::follow request;
    request.job = job_;
    request.element = options_.spec.step_of_element;
    request.step = step_;
    request.from = writer_.positions();
    goes_on_ = !request.from.empty();
    return session_->start_stream(request);
  }

  exit_now step() {
    auto happened = session_->wire().wait_for(signals_.get(), milliseconds{-1});
    if (!happened)
      return happened.error().code == errc::unreachable ? reconnect() : fails(happened.error());
    if (*happened == varlink::client::event::other_readable)
      return take_signal();
    auto next = session_->wire().receive();
    if (!next)
      return fails(next.error());
    if (next->failed && session_->capability_ended())
      return renew();
    if (next->failed)
      return fails({next->failed->code, next->failed->message});
    bool last = !next->continues;
    auto news = session::decode<calls::follow::reply>(std::move(next->parameters));
    if (!news)
      return fails(news.error());
    if (auto exit = take_news(*news))
      return exit;
    return last ? exit_now{fails({errc::internal, "the cluster stopped telling about " + name() +
                                                      " before its end; see 'troupe show " +
                                                      format_id(job_) + "'"})}
                : exit_now{};
  }

  exit_now take_news(const answered<calls::follow::reply>& news) {
    const auto& [state, output, end] = news.value;
    if (run_.json && !print(news.json + "\n"))
      return stop_for_nobody();
    if (state) {
      const bool another_run = writer_.begin_run(state->incarnation);
      if (std::exchange(goes_on_, false) && another_run)
        return renew(); // it was asked for from where the run before had been
      take_state(*state);
    }
    if (output && !run_.json) {
      auto result = writer_.write(*output);
      if (result == output_writer::outcome::nobody_reads)
        return stop_for_nobody();
      if (result == output_writer::outcome::gap)
        notice(run_, "some output of task " + std::to_string(output->rank) +
                         " was lost before this point");
    }
    return end ? exit_now{finish(*end)} : exit_now{};
  }

  void take_state(const element_view& now) {
    state_ = now.state;
    const bool placed = now.state == job_state::starting || now.state == job_state::running;
    if (placed)
      begin_input();
    if (options_.show_binding && placed && !std::exchange(binding_told_, true))
      notice(run_, now.cpus.empty() ? "the tasks are not bound to cores"
                                    : "the tasks are bound to " + now.cpus);
  }

  /// Not before it runs: what is typed till then is ours, also an interrupt.
  void begin_input() {
    const auto& spec = options_.spec;
    if (!takes_input_ || input_)
      return;
    if (has_terminal_)
      terminal_.emplace();
    input_.emplace(run_,
                   input_sender::destination{job_, spec.step_of_element, step_, has_terminal_});
    input_->start();
  }

  int finish(const exit_report& end) {
    terminal_.reset();
    writer_.finish();
    auto why = end.reason.empty() ? std::string{} : ": " + end.reason;
    if (end.state == job_state::cancelled)
      notice(run_, name() + " was cancelled" + why);
    else if (end.state == job_state::timed_out)
      notice(run_, name() + " reached its time limit and was ended" + why);
    else if (end.state == job_state::lost)
      notice(run_, name() + " was lost" + why);
    else if (!end.reason.empty())
      notice(run_, end.reason);
    if (end.signal != 0)
      return 128 + end.signal;
    if (end.exit_code != 0 || end.state == job_state::completed)
      return end.exit_code;
    return exit_code::failed;
  }

  /// Standard output is closed: what the job still does would be seen by nobody.
  exit_now stop_for_nobody() {
    cancel("its output is no longer read");
    return report(
        run_, {errc::conflict, "nobody reads the output any more; " + name() + " is cancelled"});
  }

  expected<session*> control() {
    if (!control_) {
      auto opened = session::open_now(run_.capability);
      if (!opened)
        return tl::unexpected{opened.error()};
      control_.emplace(std::move(*opened));
    }
    return &*control_;
  }

  /// "job 812", "step 812.1".
  std::string name() const {
    return is_step_ ? "step " + format_id(job_) + "." + std::to_string(step_)
                    : "job " + format_id(job_);
  }

  job_selector this_job() const {
    job_selector selector;
    selector.targets.push_back({job_, job_, {}});
    return selector;
  }

  template <class Method>
  std::uint64_t change(const Method& what) {
    auto to = control();
    if (!to) {
      notice(run_, to.error().text);
      return 0;
    }
    auto answer = (*to)->call(what);
    if (!answer) {
      notice(run_, answer.error().text);
      control_.reset();
      return 0;
    }
    return answer->value.elements;
  }

  void cancel(const std::string& reason) {
    if (is_step_)
      change(calls::signal_step{job_, step_, 0, reason});
    else
      change(calls::cancel{this_job(), reason});
  }

  std::uint64_t pass_on(int number) {
    return is_step_ ? change(calls::signal_step{job_, step_, number, {}})
                    : change(calls::signal{this_job(), number});
  }

  exit_now take_signal() {
    auto number = next_signal(signals_);
    if (!number)
      return {};
    auto now = clock::now();
    bool again =
        *number == SIGINT && last_interrupt_ && now - *last_interrupt_ <= second_interrupt_within;
    if (*number == SIGINT)
      last_interrupt_ = now;
    bool waits = state_ == job_state::pending;
    if (again || (waits && asks_to_end(*number))) {
      cancel(again ? "interrupted twice" : "interrupted by " + signal_name(*number));
      return {};
    }
    if (pass_on(*number) == 0 && asks_to_end(*number))
      cancel("interrupted by " + signal_name(*number));
    // Nobody can be asked any more: the second time we end without having ended it.
    if (!control_ && asks_to_end(*number) && std::exchange(in_vain_, true))
      return 128 + *number;
    return {};
  }

  /// A capability lives for an hour, a job may run for days: another one, and on from the same
  /// byte.
  exit_now renew() {
    control_.reset();
    auto opened = session::open_now(run_.capability);
    if (!opened)
      return fails(opened.error());
    session_.emplace(std::move(*opened));
    if (auto started = follow(); !started)
      return fails(started.error());
    return {};
  }

  exit_now reconnect() {
    const bool was_raw = terminal_.has_value();
    terminal_.reset(); // an interrupt is ours while there is nobody to pass it on to
    notice(run_,
           "the cluster went away; " + name() + " goes on, waiting for the cluster to come back");
    control_.reset();
    error last{errc::unreachable, {}};
    for (auto until = clock::now() + reconnect_for; clock::now() < until;) {
      auto opened = session::open_now(run_.capability);
      if (opened) {
        session_.emplace(std::move(*opened));
        auto started = follow();
        if (started && was_raw)
          terminal_.emplace();
        if (started)
          return {};
        last = started.error();
      } else {
        last = opened.error();
      }
      pollfd wait{signals_.get(), POLLIN, 0};
      if (::poll(&wait, 1, static_cast<int>(reconnect_pause.count())) > 0)
        if (auto number = next_signal(signals_); number && asks_to_end(*number)) {
          notice(run_, "interrupted; 'troupe logs " + format_id(job_) + "' and 'troupe cancel " +
                           format_id(job_) + "' work when the cluster is back");
          return 128 + *number;
        }
    }
    return fails(last);
  }

  const invocation& run_;
  job_options options_;
  bool is_step_;
  bool takes_input_;
  bool has_terminal_;
  output_writer writer_;
  std::optional<session> session_;
  std::optional<session> control_;
  unique_fd signals_;
  job_id job_ = 0;
  std::uint32_t step_ = 0;
  job_state state_ = job_state::pending;
  bool goes_on_ = false; ///< the stream was asked for from somewhere in its middle
  bool binding_told_ = false;
  bool in_vain_ = false; ///< an interrupt could not be passed on
  std::optional<clock::time_point> last_interrupt_;
  std::optional<raw_terminal> terminal_;
  std::optional<input_sender> input_; ///< the last: its thread ends first
};

} // namespace

tl::expected<void, problem> lend_streams(job_options& job) {
  auto& spec = job.spec;
  const auto usage = [](const char* why) {
    return tl::unexpected<problem>{problem{exit_code::usage, {errc::invalid, why}}};
  };
  if (spec.array)
    return usage("-a: an array cannot be run in the foreground; use 'troupe submit'");
  if (spec.stdin_path == "|")
    return usage("--stdin: '|' is no file; without --stdin the job reads what this command reads");
  if (job.pty) {
    if (job.stdout_given || job.stderr_given || !spec.stdin_path.empty() || job.label)
      return usage("--pty: the terminal is the job's input and output; leave out -o, -e, --stdin "
                   "and --label");
    if (spec.requeue)
      return usage("--requeue: what was typed into a terminal cannot be typed again; leave it out");
    spec.terminal = size_of_terminal();
    spec.merge_stderr = true;
    spec.stdin_path = "|";
  } else if (spec.stdin_path.empty() && !spec.requeue && !job.dry_run && has_standard_input()) {
    spec.stdin_path = "|";
  }
  if (!job.stdout_given)
    spec.stdout_path = "|";
  if (!job.stderr_given)
    spec.stderr_path = "|";
  return {};
}

int run_in_foreground(const invocation& run, job_options job) {
  job.spec.attached = job.spec.step_of == 0;
  if (auto valid = validate(job.spec); !valid)
    return report(run, valid.error());
  return foreground_job{run, std::move(job)}.run();
}

} // namespace troupe::cli
