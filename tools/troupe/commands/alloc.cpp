// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/job_request.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/session.hpp"

#include <array>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

// Purpose: an allocation for a command that runs here.
// Action:  submits a job whose only process waits, runs the command when the job has started, and
//          ends the job with it. `troupe run` in the command is a step of the job.
// Caveats: the job is followed all the while: it does not outlive this program for long.

namespace troupe::cli {

namespace {

using std::chrono::milliseconds;

/// Holds the place: ends well when it is told that nobody needs it any more.
constexpr const char* place_holder = "trap 'exit 0' TERM; while :; do sleep 86400 & wait; done";

class allocation {
public:
  allocation(const invocation& run, job_options options)
      : run_{run}, options_{std::move(options)} {}

  int run() {
    auto to = session::open(run_.capability);
    if (!to)
      return report(run_, to.error());
    session_.emplace(std::move(*to));
    if (auto done = submit(); !done)
      return report(run_, done.error());
    if (auto done = await_start(); !done)
      return report(run_, done.error());
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
    auto answer = session_->submit(request);
    if (!answer)
      return tl::unexpected{answer.error()};
    const auto& result = answer->value.jobs.at(0);
    if (result.error)
      return fail(errc::refused, result.error->message);
    job_ = result.job;
    return follow();
  }

  expected<void> follow() {
    calls::follow request;
    request.job = job_;
    request.output = false;
    return session_->start_stream(request);
  }

  /// The next news of the job; nothing when the command has ended meanwhile.
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
      auto news = next(-1);
      if (!news)
        return tl::unexpected{news.error()};
      if (*news && (*news)->end)
        return fail(errc::conflict,
                    "job " + format_id(job_) + " ended before it began: " + (*news)->end->reason);
      if (*news && (*news)->state && (*news)->state->state != job_state::pending)
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
    const auto failed =
        ::posix_spawnp(&command_, argv[0], nullptr, nullptr, argv.data(), env.data());
    if (failed != 0)
      return fail(errc::not_found, run_.words.front() + ": " + varlink::system_message(failed));
    // The terminal's signals are the command's; we are there until it has ended.
    for (auto number : {SIGINT, SIGQUIT})
      (void)::signal(number, SIG_IGN);
    return {};
  }

  int await_command() {
    const unique_fd ended{static_cast<int>(::syscall(SYS_pidfd_open, command_, 0))};
    for (;;) {
      auto news = next(ended.get());
      if (news && !*news)
        break;
      if (news && !(*news)->end)
        continue;
      notice(run_, news ? "job " + format_id(job_) + " has ended; the command is told so by SIGHUP"
                        : news.error().text);
      ::kill(command_, SIGHUP);
      job_ = 0;
      break;
    }
    int status = 0;
    while (::waitpid(command_, &status, 0) < 0 && errno == EINTR) {
    }
    give_back();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
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
