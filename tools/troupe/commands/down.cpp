// SPDX-License-Identifier: Apache-2.0
#include "runtime/state/files.hpp"
#include "runtime/state/locks.hpp"
#include "runtime/state/records.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/daemon.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/purge.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/shape.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// Purpose: the cluster of the state directory is down, or it is said why not.
// Action:  in its turn among up, down and purge, asks trouped to stop and waits until it and its
//          launcher are gone; a trouped that has ended is started, paused, to end what its launcher
//          runs, or what a killed launcher left running. With --purge the state goes then.
// Caveats: what lives is asked of the directory's locks, whatever the caller's environment is, and
//          anew before each step: each of those processes may be killed meanwhile. It waits as long
//          as grace times need and says what for. Exit code 0 means that nothing is left.

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr int look_pause_ms = 20;
constexpr auto told_every = 5s;
/// A launcher that was told to end does so with trouped, or after what only it knows of has had its
/// grace time. Whether one was told is not known where trouped was not ours to wait for: it may
/// have been killed.
constexpr auto launcher_within = 120s;
constexpr auto unsure_launcher_within = 1s;
constexpr int restarts_max = 3; ///< of a stop whose trouped has started itself over
constexpr int starts_max = 3;   ///< of a trouped to end what runs

constexpr std::array traces{"/lock",          "/trouped.lock", "/cluster",
                            "/launcher/lock", "/ledger.db",    "/purging"};

/// What --json says where no trouped was asked.
constexpr std::string_view no_jobs = R"({"running":[],"pending":0,"running_count":0})";

struct down_options {
  bool purge = false;
};

std::string count(std::uint64_t number, const char* one, const char* more = "s") {
  return std::to_string(number) + " " + one + (number == 1 ? "" : more);
}

std::string describe(const calls::stop::reply& what) {
  std::string text;
  for (const auto& row : what.running)
    text += "was still running: " + row_id(row) + " " + printable(row.name) +
            (row.nodelist.empty() ? "" : " on " + printable(row.nodelist)) + "\n";
  if (what.running_count > what.running.size())
    text += "and " + std::to_string(what.running_count - what.running.size()) + " more\n";
  if (what.pending > 0)
    text += std::to_string(what.pending) + (what.pending == 1 ? " job was" : " jobs were") +
            " still pending; 'troupe up' finds them again\n";
  return text;
}

class stopper {
public:
  stopper(const invocation& run, const down_options& options, std::string state)
      : run_{run}, options_{options}, state_{std::move(state)} {}

  int run() {
    struct stat found {};
    if (::lstat(state_.c_str(), &found) != 0)
      return errno == ENOENT ? tell_nothing()
                             : report(run_, {errc::storage, "cannot look at " + state_ + ": " +
                                                                varlink::system_message(errno)});
    if (found.st_uid != ::geteuid())
      return report(run_,
                    {errc::refused, state_ + " belongs to user " + std::to_string(found.st_uid) +
                                        ", not to you; run this as that user, or set "
                                        "TROUPE_STATE_DIR to a directory of your own"});
    if (!has_been_up())
      return options_.purge ? purge() : tell_nothing();
    auto turn = state::take_turn(state_, [&](const state::lock_holder& other) {
      notice(run_, "waiting for another 'troupe up' or 'troupe down' (" + describe(other) + ")");
    });
    if (!turn && turn.error().code == errc::not_found)
      return tell_nothing(); // there is no such directory
    if (!turn)
      return report(run_, turn.error());
    if (!options_.purge && state::is_being_purged(state_))
      return report(run_, state::purge_was_interrupted(state_));
    const auto exit = down();
    return exit == exit_code::done && options_.purge ? purge() : exit;
  }

private:
  /// Else nothing can run here, and nothing, not even a lock, should be made here.
  bool has_been_up() const {
    return std::any_of(traces.begin(), traces.end(), [&](const char* name) {
      return ::access((state_ + name).c_str(), F_OK) == 0;
    });
  }

  int down() {
    if (auto ended = end_all(); !ended)
      return report(run_, ended.error());
    if (!was_up_)
      return tell_nothing();
    const auto text = run_.json ? (told_ ? told_->json : std::string{no_jobs})
                                : (told_ ? describe(told_->value) : "") + "down";
    return print(text + "\n") ? exit_code::done : exit_code::failed;
  }

  expected<void> end_all() {
    for (int started = 0;;) {
      if (auto ended = end_daemon(); !ended)
        return ended;
      auto left = what_is_left();
      if (!left)
        return tl::unexpected{left.error()};
      if (left->what.empty())
        return {};
      if (started++ == starts_max)
        return fail(errc::conflict, "the cluster is not down: " + left->what +
                                        " still runs, though trouped was started " +
                                        std::to_string(starts_max) + " times to end that; see " +
                                        state::log_of(state_) + ", and run 'troupe down' again");
      if (auto begun = start_to_stop(*left); !begun)
        return begun;
    }
  }

  /// Until no trouped serves the directory, and its launcher has had its time to end.
  expected<void> end_daemon() {
    while (state::daemon_of(state_)) {
      was_up_ = true;
      auto ready = await_daemon(run_, state_);
      if (!ready)
        return tl::unexpected{ready.error()};
      if (auto stopped = *ready ? stop() : expected<void>{}; !stopped)
        return stopped;
      await_launcher(has_child_ended_well() ? launcher_within : unsure_launcher_within);
    }
    return {};
  }

  /// Of the trouped that was started here: then it has told its launcher to end.
  static bool has_child_ended_well() {
    int status = 0;
    pid_t child = 0;
    while ((child = ::waitpid(-1, &status, 0)) < 0 && errno == EINTR) {
    }
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  int tell_nothing() {
    const auto text =
        run_.json ? std::string{no_jobs} + "\n" : "no cluster is up in " + state_ + "\n";
    return print(text) ? exit_code::done : exit_code::failed;
  }

  /// What runs without a trouped, and what becomes of it where none can be started.
  struct leftovers {
    std::string what; ///< "": nothing
    std::string otherwise;
  };

  expected<leftovers> what_is_left() const {
    if (const auto launcher = state::launcher_of(state_))
      return leftovers{"its launcher (" + state::describe(*launcher) + ")",
                       "SIGTERM to it ends its jobs, and the next 'troupe up' tells them as lost"};
    // Its list of what runs is all that is left of a launcher that was killed with its keeper.
    auto processes = count_survivors(state_);
    if (!processes)
      return tl::unexpected{processes.error()};
    if (*processes == 0)
      return leftovers{};
    return leftovers{"what its launcher, which was killed, had started (" +
                         count(*processes, "process", "es") + ")",
                     "the next 'troupe up' ends it"};
  }

  /// The ends of what runs belong in the ledger.
  expected<void> start_to_stop(const leftovers& left) {
    was_up_ = true;
    notice(run_,
           "trouped has ended and " + left.what + " has not: starting trouped to end what runs");
    auto shape = state::read_shape(state_);
    auto started = shape ? start_daemon(run_, {state_, shape->value_or(default_shape()), true})
                         : tl::unexpected{shape.error()};
    if (started)
      return {};
    return fail(errc::conflict, started.error().text + "; " + left.what +
                                    " still runs, nothing was removed: " + left.otherwise);
  }

  /// Asks, again where trouped has started itself over meanwhile, and waits until it is gone.
  expected<void> stop() {
    auto tell_at = clock::now() + told_every;
    for (int asked = 0; auto daemon = state::daemon_of(state_); ::poll(nullptr, 0, look_pause_ms)) {
      auto to = session::connect_to(state::socket_of(state_), 1s);
      auto summary = to ? to->call(calls::summary{}) : tl::unexpected{to.error()};
      // One that was started to end what runs starts nothing: it is "stopping" before it is asked.
      if (summary && (summary->value.state != "stopping" || asked == 0)) {
        auto done = asked < restarts_max
                        ? ask_to_stop()
                        : fail(errc::conflict, "trouped does not stay told to stop; "
                                               "see " +
                                                   state::log_of(state_));
        if (!done)
          return tl::unexpected{done.error()};
        asked += *done;
        continue;
      }
      if (clock::now() < tell_at)
        continue;
      tell_at = clock::now() + told_every;
      notice(run_, summary ? "waiting for " + count(summary->value.running, "job") +
                                 " to end; each has its grace time"
                           : "waiting for trouped (" + state::describe(*daemon) +
                                 "), which does not answer; see " + state::log_of(state_));
    }
    return {};
  }

  /// False when it could not be reached: it is looked at again.
  expected<bool> ask_to_stop() {
    auto to = session::open_at(state::socket_of(state_), run_.capability);
    auto stopped = to ? to->call(calls::stop{}) : tl::unexpected{to.error()};
    if (!stopped && stopped.error().code == errc::unreachable)
      return false;
    if (!stopped)
      return tl::unexpected{stopped.error()};
    if (!told_)
      told_ = std::move(*stopped);
    return true;
  }

  /// Until it is gone, or for as long as it may take.
  void await_launcher(std::chrono::seconds within) const {
    const auto until = clock::now() + within;
    auto tell_at = clock::now() + told_every;
    for (; auto launcher = state::launcher_of(state_); ::poll(nullptr, 0, look_pause_ms)) {
      const auto now = clock::now();
      if (now >= until)
        return;
      if (now < tell_at)
        continue;
      tell_at = now + told_every;
      notice(run_, "waiting for the launcher (" + state::describe(*launcher) + ") to end");
    }
  }

  int purge() {
    auto purged = purge_state(state_);
    if (!purged)
      return report(run_, purged.error());
    const auto text = *purged == purge_outcome::nothing_there ? "nothing was in " : "removed ";
    return run_.json || print(text + state_ + "\n") ? exit_code::done : exit_code::failed;
  }

  const invocation& run_;
  const down_options& options_;
  std::string state_;
  bool was_up_ = false;                              ///< something ran when this began
  std::optional<answered<calls::stop::reply>> told_; ///< what ran when it was first asked
};

int down(const invocation& run, const down_options& options) {
  auto state = state_directory();
  if (!state)
    return report(run, state.error());
  return stopper{run, options, std::move(*state)}.run();
}

} // namespace

void define_down(CLI::App& app, invocation& run) {
  app.footer("Running jobs are ended: SIGTERM, their grace time, SIGKILL; that is waited for. What "
             "has not started is kept\nfor the next 'troupe up'. The cluster is that of the state "
             "directory, whatever TROUPE_SOCKET is.");
  auto options = std::make_shared<down_options>();
  app.add_flag("--purge", options->purge, "remove the cluster's state, its history too");
  run.act = [&run, options] { return down(run, *options); };
}

} // namespace troupe::cli
