// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/job_request.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/signals.hpp"
#include "tools/troupe/values.hpp"

#include <array>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <poll.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

// Purpose: an allocation for a command that runs here.
// Action:  submits a job whose only process waits, runs the command when the job has started, and
//          ends the job with it. `troupe run` in the command is a step of the job. A signal to end
//          cancels the request while it waits, and is the command's from then on.
// Caveats: the job is followed all the while: it does not outlive this program for long.

namespace troupe::cli {

namespace {

using std::chrono::milliseconds;

/// Holds the place: ends well when it is told that nobody needs it any more.
constexpr const char* place_holder = "trap 'exit 0' TERM; while :; do sleep 86400 & wait; done";

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP};

/// Readable when one of both is.
unique_fd either(int one, int other) {
  unique_fd both{::epoll_create1(EPOLL_CLOEXEC)};
  for (auto fd : {one, other}) {
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    ::epoll_ctl(both.get(), EPOLL_CTL_ADD, fd, &wanted);
  }
  return both;
}

class allocation {
public:
  allocation(const invocation& run, job_options options)
      : run_{run}, options_{std::move(options)} {}

  int run() {
    auto to = session::open(run_.capability);
    if (!to)
      return report(run_, to.error());
    session_.emplace(std::move(*to));
    signals_ = take_over_signals(ending_signals, &signals_before_);
    if (auto done = submit(); !done)
      return ends(done.error());
    if (auto done = await_start(); !done)
      return ends(done.error());
    interrupted_ = next_signal(signals_).value_or(0); // while it was starting
    if (interrupted_ != 0)
      return ends({errc::conflict, {}});
    if (auto done = start_command(); !done) {
      give_back();
      return report(run_, done.error());
    }
    return await_command();
  }

private:
  expected<void> submit() {
    calls::submit request;
    request.jobs.push_back(options_.spec);
    auto requests = session_->sign(request.jobs);
    if (!requests)
      return tl::unexpected{requests.error()};
    request.requests = std::move(*requests);
    auto answer = ask(request);
    if (!answer)
      return tl::unexpected{answer.error()};
    const auto& result = answer->value.jobs.at(0);
    if (result.error)
      return fail(errc::refused, result.error->message);
    job_ = result.job;
    return follow();
  }

  /// A signal need not wait for the answer; an answer that was lost is asked for again.
  expected<answered<calls::submit::reply>> ask(const calls::submit& request) {
    if (auto sent = session_->start_stream(request); !sent)
      return session_->submit(request);
    const auto happened = session_->wire().wait_for(signals_.get(), milliseconds{-1});
    if (happened && *happened == varlink::client::event::other_readable) {
      interrupted_ = next_signal(signals_).value_or(SIGINT);
      return fail(errc::conflict, "interrupted");
    }
    auto received = happened ? session_->wire().receive() : tl::unexpected{happened.error()};
    if (!received)
      return session_->submit(request);
    if (received->failed)
      return fail(received->failed->code, received->failed->message);
    return session::decode<calls::submit::reply>(std::move(received->parameters));
  }

  /// Before there is a command: why, and what becomes of the request.
  int ends(const error& why) {
    if (interrupted_ == 0)
      return report(run_, why);
    const auto by = "interrupted by " + signal_name(interrupted_);
    if (job_ == 0) {
      notice(run_, by + " before the cluster had answered; look at 'troupe queue'");
    } else {
      calls::cancel over;
      over.selector.targets.push_back({job_, job_, {}});
      over.reason = by;
      auto to = session::open_now(run_.capability);
      auto done = to ? to->call(over) : tl::unexpected{to.error()};
      notice(run_, by + ": job " + format_id(job_) +
                       (done ? " is cancelled"
                             : " could not be cancelled and ends by itself in a minute: " +
                                   done.error().text));
    }
    return 128 + interrupted_;
  }

  expected<void> follow() {
    calls::follow request;
    request.job = job_;
    request.output = false;
    return session_->start_stream(request);
  }

  /// The next news of the job; nothing when `other` is readable first.
  expected<std::optional<calls::follow::reply>> next(int other) {
    for (;;) {
      auto happened = session_->wire().wait_for(other, milliseconds{-1});
      if (happened && *happened == varlink::client::event::other_readable)
        return std::nullopt;
      auto received = happened ? session_->wire().receive() : tl::unexpected{happened.error()};
      if (received && !received->failed) {
        auto news = session::decode<calls::follow::reply>(std::move(received->parameters));
        if (!news)
          return tl::unexpected{news.error()};
        return std::optional{std::move(news->value)};
      }
      const auto why =
          received ? error{received->failed->code, received->failed->message} : received.error();
      if (auto again = session_->go_on_after(why); !again)
        return tl::unexpected{again.error()};
      if (auto again = follow(); !again)
        return tl::unexpected{again.error()};
    }
  }

  expected<void> await_start() {
    for (;;) {
      auto news = next(signals_.get());
      if (!news)
        return tl::unexpected{news.error()};
      if (!*news) {
        interrupted_ = next_signal(signals_).value_or(SIGINT);
        return fail(errc::conflict, "interrupted");
      }
      if ((*news)->end)
        return fail(errc::conflict,
                    "job " + format_id(job_) + " ended before it began: " + (*news)->end->reason);
      if ((*news)->state && (*news)->state->state != job_state::pending)
        return {};
    }
  }

  /// As a script of the job's sees it on its first node, but for what is that node's.
  std::vector<std::string> command_environment() {
    std::vector<std::string> own{
        "TROUPE_JOB_ID=" + format_id(job_), "TROUPE_NTASKS=" + std::to_string(options_.spec.tasks),
        "TROUPE_CORES_PER_TASK=" + std::to_string(options_.spec.cores_per_task)};
    if (auto to = session::open_now(run_.capability))
      if (auto shown = to->call(calls::show{job_}); shown && !shown->value.job.elements.empty()) {
        const auto& placed = shown->value.job.elements.front();
        std::string tasks;
        for (auto each : placed.node_tasks)
          tasks += (tasks.empty() ? "" : ",") + std::to_string(each);
        own.push_back("TROUPE_NODELIST=" + placed.nodelist);
        own.push_back("TROUPE_TASKS_PER_NODE=" + tasks);
      }
    for (auto** at = environ; *at != nullptr; ++at)
      if (std::string_view{*at}.substr(0, 7) != "TROUPE_" ||
          std::string_view{*at}.substr(0, 16) == "TROUPE_STATE_DIR")
        own.emplace_back(*at);
    return own;
  }

  /// It begins as a stub, as scripts do, which tells mpirun where the nodes are.
  expected<void> start_command() {
    auto environment = command_environment();
    std::vector<std::string> words;
    if (auto stub = find_program("troupe-stub"))
      words = {std::move(*stub), "--script"};
    words.insert(words.end(), run_.words.begin(), run_.words.end());
    std::vector<char*> argv, env;
    for (const auto& word : words)
      argv.push_back(const_cast<char*>(word.c_str()));
    for (const auto& each : environment)
      env.push_back(const_cast<char*>(each.c_str()));
    argv.push_back(nullptr);
    env.push_back(nullptr);
    posix_spawnattr_t how;
    ::posix_spawnattr_init(&how);
    ::posix_spawnattr_setsigmask(&how, &signals_before_);
    ::posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK);
    const auto failed = ::posix_spawnp(&command_, argv[0], nullptr, &how, argv.data(), env.data());
    ::posix_spawnattr_destroy(&how);
    if (failed != 0)
      return fail(errc::not_found, run_.words.front() + ": " + varlink::system_message(failed));
    // What the terminal sends the command has; we are there until it has ended.
    for (auto number : {SIGINT, SIGQUIT})
      (void)::signal(number, SIG_IGN);
    return {};
  }

  int await_command() {
    const unique_fd ended{static_cast<int>(::syscall(SYS_pidfd_open, command_, 0))};
    const auto other = either(ended.get(), signals_.get());
    int status = 0;
    for (;;) {
      auto news = next(other.get());
      if (news && !*news) {
        if (has_ended(status))
          break;
        continue;
      }
      if (news && !(*news)->end)
        continue;
      notice(run_, news ? "job " + format_id(job_) + " has ended; the command is told so by SIGHUP"
                        : news.error().text);
      ::kill(command_, SIGHUP);
      job_ = 0;
      for (pollfd some{other.get(), POLLIN, 0}; !has_ended(status);)
        (void)::poll(&some, 1, -1);
      break;
    }
    give_back();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  /// Passes on what was to end us, and looks whether the command is there any more. An interrupt of
  /// the terminal's the command has had already.
  bool has_ended(int& status) const {
    while (auto number = next_signal(signals_))
      if (*number != SIGINT)
        ::kill(command_, *number);
    return ::waitpid(command_, &status, WNOHANG) == command_;
  }

  void give_back() {
    if (job_ == 0)
      return;
    calls::signal over;
    over.selector.targets.push_back({job_, job_, {}});
    over.number = SIGTERM;
    auto to = session::open_now(run_.capability);
    if (auto told = to ? to->call(over) : tl::unexpected{to.error()}; !told)
      notice(run_, told.error().text + "; job " + format_id(job_) + " ends by itself in a minute");
  }

  const invocation& run_;
  job_options options_;
  std::optional<session> session_;
  job_id job_ = 0;
  pid_t command_ = 0;
  unique_fd signals_;
  sigset_t signals_before_{};
  int interrupted_ = 0; ///< the signal by which we were, before there was a command
};

int allocate(const invocation& run, const std::vector<given_option>& given) {
  auto job = make_job(run, given);
  if (!job)
    return report(run, job.error());
  if (job->spec.array || job->stdout_given || job->stderr_given || job->pty)
    return report_usage(run, "an allocation has no elements and no output of its own: leave out "
                             "-a, -o, -e and --pty");
  auto& spec = job->spec;
  spec.argv = {"/bin/sh", "-c", place_holder};
  spec.script.clear();
  spec.mpi = mpi_mode::none;
  spec.batch = spec.attached = true;
  if (!is_command(run.words.front()))
    return report(run, {errc::not_found, run.words.front() + ": there is no such program here"});
  if (auto valid = validate(spec); !valid)
    return report(run, valid.error());
  return allocation{run, std::move(*job)}.run();
}

} // namespace

void define_alloc(CLI::App& app, invocation& run) {
  app.footer("COMMAND runs here, when the allocation is there; 'troupe run' in it starts steps in "
             "it.\nThe allocation ends with COMMAND, whose exit code is this one's.");
  auto given = std::make_shared<std::vector<given_option>>();
  define_spec_options(app, *given);
  run.act = [&run, given] { return allocate(run, *given); };
}

} // namespace troupe::cli
