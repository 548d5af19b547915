// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "tools/trouped/options.hpp"
#include "tools/trouped/private_cluster.hpp"
#include "tools/trouped/restarts.hpp"

#include <atomic>
#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
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

std::shared_ptr<spdlog::logger> make_log() {
  auto log = spdlog::stderr_logger_mt("trouped");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  log->flush_on(spdlog::level::info);
  return log;
}

/// Descriptors: one per client, per stream, and those of the ledger.
void raise_limits() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

/// Memory that a flood of submissions needed is given back: few arenas, so that freed memory is not
/// spread thin over those of every thread.
void bound_arenas() {
#ifdef __GLIBC__
  ::mallopt(M_ARENA_MAX, 2);
#endif
}

void write_pid(const std::string& state) {
  const auto path = state + "/trouped.pid";
  unique_fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (file)
    ::dprintf(file.get(), "%d\n", ::getpid());
}

/// Why the main thread wakes.
enum class wake : std::uint64_t { stopped = 1, failed = 1u << 16 };

void ring(int bell, wake why) {
  const auto value = static_cast<std::uint64_t>(why);
  while (::write(bell, &value, sizeof value) < 0 && errno == EINTR) {
  }
}

/// Waits for a signal to end, the order to stop, or a failure.
bool wait_for_the_end(int signals, int bell, spdlog::logger& log) {
  pollfd watched[2] = {{signals, POLLIN, 0}, {bell, POLLIN, 0}};
  for (;;) {
    if (::poll(watched, 2, -1) < 0 && errno != EINTR)
      return true;
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

int serve(const daemon::options& how, char** argv, std::shared_ptr<spdlog::logger> log) {
  sigset_t ending;
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
  unique_fd signals{::signalfd(-1, &ending, SFD_CLOEXEC)};
  unique_fd bell{::eventfd(0, EFD_CLOEXEC)};

  auto base = daemon::lay_foundation(how, log);
  if (!base) {
    log->critical("{}", base.error().text);
    return 1;
  }
  write_pid(how.state);
  if (!(*base)->remark.empty())
    log->info("{}", (*base)->remark);
  caf::actor_system_config config;
  config.load<caf::io::middleman>();
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", std::size_t{2});
  config.set("middleman.workers", std::size_t{0});
  // A connection that is halted goes on reading to the end of its turn: a turn is one read.
  config.set("middleman.max-consecutive-reads", std::size_t{1});
  caf::actor_system system{config};
  system.await_actors_before_shutdown(false);
  auto cluster = daemon::private_cluster::start(
      system, **base, log, [&] { ring(bell.get(), wake::stopped); },
      [&] { ring(bell.get(), wake::failed); });
  if (!cluster) {
    log->critical("{}", cluster.error().text);
    if ((*base)->launcher_is_new)
      (void)(*base)->launcher->shutdown(false);
    std::_Exit(1);
  }
  log->info("trouped {}: {} nodes, socket {}", (*base)->settings.version, how.nodes, how.socket);
  const auto in_order = wait_for_the_end(signals.get(), bell.get(), *log);
  (*cluster)->close_door();
  if (!in_order) {
    log->critical("starting over");
    log->flush();
    daemon::start_over(argv);
    log->critical("failed too often; ended");
  }
  ::unlink((how.state + "/trouped.pid").c_str());
  log->flush();
  // Everything that counts is on the disk; actors need no farewell.
  std::_Exit(in_order ? 0 : 70);
}

} // namespace

int main(int argc, char** argv) {
  int exit_code = 0;
  auto how = daemon::read_options(argc, argv, exit_code);
  if (!how)
    return exit_code;
  ::umask(0077);
  raise_limits();
  bound_arenas();
  return serve(*how, argv, make_log());
}
