// SPDX-License-Identifier: Apache-2.0
#include "auth/keys.hpp"
#include "base/unique_fd.hpp"
#include "runtime/state/records.hpp"
#include "tools/trouped/held_state.hpp"
#include "tools/trouped/ledger_care.hpp"
#include "tools/trouped/options.hpp"
#include "tools/trouped/private_cluster.hpp"
#include "tools/trouped/restarts.hpp"

#include <atomic>
#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace troupe;

constexpr int exit_failed = 1;
constexpr int exit_other_serves = 3; ///< another trouped has the state directory
constexpr int exit_defect = 70;

std::shared_ptr<spdlog::logger> make_log() {
  auto log = spdlog::stderr_logger_mt("trouped");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  log->flush_on(spdlog::level::info);
  return log;
}

/// Descriptors: one per client, per stream, and those of the ledger. With fewer than the least it
/// would come up and then have no room for anybody who asks something of it.
constexpr rlim_t descriptors_min = 64;

expected<void> raise_limits() {
  rlimit files{};
  const auto known = ::getrlimit(RLIMIT_NOFILE, &files) == 0;
  files.rlim_cur = files.rlim_max;
  if (!known || files.rlim_max < descriptors_min || ::setrlimit(RLIMIT_NOFILE, &files) != 0)
    return fail(errc::exhausted,
                fmt::format("this user may open {} files at once, and a cluster needs {} at "
                            "least; raise the limit ('ulimit -n')",
                            files.rlim_max, descriptors_min));
  return {};
}

/// Memory that a flood of submissions needed is given back: few arenas, so that freed memory is not
/// spread thin over those of every thread.
void bound_arenas() {
#ifdef __GLIBC__
  ::mallopt(M_ARENA_MAX, 2);
#endif
}

constexpr int pid_file_retry_ms = 5000;

/// Why the main thread wakes.
enum class wake : std::uint64_t { stopped = 1, failed = 1u << 16 };

void ring(int bell, wake why) {
  const auto value = static_cast<std::uint64_t>(why);
  while (::write(bell, &value, sizeof value) < 0 && errno == EINTR) {
  }
}

/// Waits for a signal to end, the order to stop, or a failure. Meanwhile the file that names this
/// process is written where the disk was full before.
bool wait_for_the_end(int signals, int bell, const std::string& state, bool has_pid_file,
                      spdlog::logger& log) {
  pollfd watched[2] = {{signals, POLLIN, 0}, {bell, POLLIN, 0}};
  for (;;) {
    const auto ready = ::poll(watched, 2, has_pid_file ? -1 : pid_file_retry_ms);
    if (ready < 0 && errno != EINTR)
      return true;
    if (ready <= 0) {
      has_pid_file = has_pid_file || state::write_pid(state).has_value();
      continue;
    }
    if (watched[0].revents != 0) {
      signalfd_siginfo info{};
      if (::read(signals, &info, sizeof info) == sizeof info)
        log.info("signal {}: stopping; what runs goes on under the launcher", info.ssi_signo);
      return true;
    }
    if (watched[1].revents != 0) {
      std::uint64_t value = 0;
      if (::read(bell, &value, sizeof value) != sizeof value)
        continue;
      return value < static_cast<std::uint64_t>(wake::failed);
    }
  }
}

/// The launcher that this process started itself runs nothing yet: it goes with a start that fails.
void end_new_launcher(const daemon::foundation* base) {
  if (base != nullptr && base->launcher_is_new && base->launcher)
    (void)base->launcher->shutdown(false);
}

/// A terminate handler is given nothing.
const daemon::foundation* starting = nullptr;

std::string current_problem() {
  try {
    if (auto current = std::current_exception())
      std::rethrow_exception(current);
  } catch (const std::exception& problem) {
    return problem.what();
  } catch (...) {
  }
  return "for a reason that is not known";
}

/// Who started this process reads why it ends from its output, if that is a pipe: a log may be on a
/// disk that is full.
void tell_starter(const std::string& words) {
  struct stat out {};
  const auto line = words + "\n";
  if (::fstat(STDOUT_FILENO, &out) == 0 && S_ISFIFO(out.st_mode))
    (void)!::write(STDOUT_FILENO, line.data(), line.size());
}

/// What fails while the cluster starts, in whatever thread, is said in one line, and leaves
/// nothing.
[[noreturn]] void end_failed_start() {
  const auto words =
      fmt::format("cannot start: {}; see the limits of this user ('ulimit -a')", current_problem());
  if (auto log = spdlog::get("trouped"))
    log->critical("{}", words);
  tell_starter(words);
  end_new_launcher(starting);
  if (starting != nullptr)
    state::remove_pid(starting->how.state);
  std::_Exit(exit_failed);
}

int refuse(spdlog::logger& log, const error& why, int exit = exit_failed) {
  log.critical("{}", why.text);
  log.flush();
  tell_starter(why.text);
  return exit;
}

void take_signals(sigset_t& ending) {
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  // A limit on the size of files is an error of write(), too, and no end of this process.
  ::signal(SIGXFSZ, SIG_IGN);
  if (rlimit files{}; ::getrlimit(RLIMIT_FSIZE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_FSIZE, &files);
  }
}

void configure_engine(caf::actor_system_config& config) {
  config.load<caf::io::middleman>();
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", std::size_t{2});
  config.set("middleman.workers", std::size_t{0});
  // A connection that is halted goes on reading to the end of its turn: a turn is one read.
  config.set("middleman.max-consecutive-reads", std::size_t{1});
}

/// From the first actor to the process's end: everything that counts is on the disk, and actors
/// need no farewell.
[[noreturn]] void run(daemon::foundation& base, int signals, bool has_pid_file,
                      const std::shared_ptr<spdlog::logger>& log) {
  daemon::start_over_on_defects();
  starting = &base;
  const auto usual = std::set_terminate(end_failed_start);
  const unique_fd bell{::eventfd(0, EFD_CLOEXEC)};
  caf::actor_system_config config;
  configure_engine(config);
  caf::actor_system system{config};
  system.await_actors_before_shutdown(false);
  auto cluster = daemon::private_cluster::start(
      system, base, log, [&] { ring(bell.get(), wake::stopped); },
      [&] { ring(bell.get(), wake::failed); });
  if (!cluster) {
    (void)refuse(*log, cluster.error());
    end_new_launcher(&base);
    state::remove_pid(base.how.state);
    std::_Exit(exit_failed);
  }
  std::set_terminate(usual);
  log->info("trouped {}: {} nodes, socket {}", base.settings.version, base.how.nodes,
            base.how.socket);
  const auto in_order = wait_for_the_end(signals, bell.get(), base.how.state, has_pid_file, *log);
  (*cluster)->close_door();
  if (!in_order) {
    log->critical("starting over");
    log->flush();
    daemon::start_over();
    log->critical("failed too often; ended");
  }
  state::remove_pid(base.how.state);
  log->flush();
  std::_Exit(in_order ? 0 : exit_defect);
}

int serve(const daemon::options& how, char** argv, const std::shared_ptr<spdlog::logger>& log) {
  sigset_t ending;
  take_signals(ending);
  if (auto raised = raise_limits(); !raised)
    return refuse(*log, raised.error());
  const unique_fd signals{::signalfd(-1, &ending, SFD_CLOEXEC)};
  auto held = daemon::hold_state(how, *log);
  if (!held)
    return refuse(*log, held.error(),
                  held.error().code == errc::conflict ? exit_other_serves : exit_failed);
  const auto give_up = [&](const error& why) {
    state::remove_pid(how.state);
    return refuse(*log, why);
  };
  if (auto tried = daemon::try_threads(); !tried)
    return give_up(tried.error());
  auto base = daemon::lay_foundation(how, held->mark, log);
  if (!base)
    return give_up(base.error());
  if (!(*base)->remark.empty())
    log->info("{}", (*base)->remark);
  if (auto kept = daemon::remember_start(how, *held, auth::to_hex((*base)->keys->cluster)); !kept) {
    end_new_launcher(base->get());
    return give_up(kept.error());
  }
  daemon::prepare_to_start_over(argv, held->lock);
  run(**base, signals.get(), held->has_pid_file, log);
}

} // namespace

int main(int argc, char** argv) {
  int exit_code = 0;
  auto how = daemon::read_options(argc, argv, exit_code);
  if (!how)
    return exit_code;
  ::umask(0077);
  bound_arenas();
  try {
    if (!how->ledger.empty())
      return daemon::care_for_ledger(*how);
    return serve(*how, argv, make_log());
  } catch (const std::exception& problem) {
    const auto words = fmt::format("cannot start: {}", problem.what());
    std::fprintf(stderr, "trouped: %s\n", words.c_str());
    tell_starter(words);
    return exit_failed;
  }
}
