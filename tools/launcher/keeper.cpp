// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// The keeper: the launcher's parent, which does nothing while the launcher lives. If that is
// killed, everything that its jobs had started becomes the keeper's child, whatever session and
// environment it made itself: the keeper is the next subreaper above it. It ends all of that and is
// gone; only then does another launcher start. So an element whose launcher was killed never runs
// beside its next incarnation. Shepherds have a moment, since they end by themselves when their
// launcher does, and nobody else knows what directories they have to remove. If the keeper is
// killed, too, what is left cannot be known: `survivors.cpp` says so.

namespace troupe::launcher {

namespace {

constexpr off_t launcher_byte = 0; ///< of the lock file, each locked by one of the two
constexpr off_t keeper_byte = 1;
constexpr std::int64_t other_keeper_wait_ns = 8 * second_ns;
constexpr std::int64_t dying_launcher_wait_ns = second_ns / 2; ///< a killed one holds its lock on
constexpr useconds_t look_again_us = 10'000;

struct flock byte_lock(off_t byte) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

int open_lock(const char* state) {
  char path[4096];
  std::snprintf(path, sizeof path, "%s/lock", state);
  return ::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

bool lock_byte(int fd, off_t byte) {
  auto lock = byte_lock(byte);
  return ::fcntl(fd, F_SETLK, &lock) == 0;
}

bool is_locked(int fd, off_t byte) {
  auto lock = byte_lock(byte);
  return ::fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

/// While another launcher's keeper ends what that one left, there is no place for this one.
bool lock_as_keeper(const char* state) {
  int fd = open_lock(state);
  const auto begin = boot_now();
  while (fd >= 0 && !lock_byte(fd, keeper_byte)) {
    const auto waited = boot_now() - begin;
    if (waited > dying_launcher_wait_ns && is_locked(fd, launcher_byte)) {
      say("another launcher uses the state directory %s", state);
      return false;
    }
    if (waited > other_keeper_wait_ns) {
      say("processes of an earlier launcher in %s do not end (SIGKILL does not move them); nothing "
          "is started beside them",
          state);
      return false;
    }
    ::usleep(look_again_us);
  }
  if (fd < 0)
    say("cannot open the lock in %s: %s; run troupe-launcher enroll first", state,
        std::strerror(errno));
  return fd >= 0; // stays open: it is the lock
}

/// Kills every child of this process, but shepherds where they are spared: they, and what removes
/// the directories of one that was killed, have heard of the launcher's end (`run_helper`). A job
/// that takes their name gains no more than the moment that they have.
void kill_children(bool spares_shepherds) {
  DIR* processes = ::opendir("/proc");
  if (processes == nullptr)
    return; // the next look may have what it takes
  while (auto* entry = ::readdir(processes)) {
    auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    process_stat stat{};
    if (pid <= 1 || !read_process_stat(pid, stat) || stat.parent != ::getpid() ||
        (spares_shepherds && std::strcmp(stat.name, shepherd_name) == 0))
      continue;
    (void)::kill(pid, SIGKILL);
  }
  ::closedir(processes);
}

/// Until this process has no child any more; one that dies hands over its own.
void end_leftovers() {
  const auto spared_until = boot_now() + shepherd_end_wait_ns;
  std::uint32_t ended = 0;
  for (;;) {
    auto pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid > 0)
      ++ended;
    else if (pid < 0 && errno == ECHILD)
      break;
    else if (pid == 0) {
      kill_children(boot_now() < spared_until);
      ::usleep(look_again_us / 10);
    }
  }
  if (ended != 0)
    say("ended %u processes that the launcher had left running", ended);
}

/// Nothing of what stood in the list of running ranks is left.
void clear_survivors(const char* state) {
  char path[4096];
  std::snprintf(path, sizeof path, "%s/running", state);
  if (::truncate(path, 0) != 0 && errno != ENOENT)
    say("cannot empty %s: %s; its elements will not be started again by themselves", path,
        std::strerror(errno));
}

[[noreturn]] void keep(pid_t launcher, const char* state) {
  sigset_t taken;
  ::sigemptyset(&taken);
  for (int signo : {SIGCHLD, SIGTERM, SIGINT, SIGUSR2})
    ::sigaddset(&taken, signo);
  for (;;) {
    siginfo_t info{};
    auto signo = ::sigwaitinfo(&taken, &info);
    if (signo > 0 && signo != SIGCHLD)
      (void)::kill(launcher, signo); // it is the launcher that is meant
    for (int status = 0;;) {
      auto pid = ::waitpid(-1, &status, WNOHANG);
      if (pid == 0 || (pid < 0 && errno == EINTR))
        break;
      if (pid > 0 && pid != launcher)
        continue;
      end_leftovers();
      clear_survivors(state);
      ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
  }
}

/// A name of its own: who kills launchers by name must not take the keeper along.
void rename_keeper(char** argv) {
  (void)::prctl(PR_SET_NAME, keeper_name);
  auto room = std::strlen(argv[0]);
  std::memset(argv[0], 0, room);
  std::memcpy(argv[0], keeper_name,
              room < std::strlen(keeper_name) ? room : std::strlen(keeper_name));
}

} // namespace

bool start_keeper(const options& opts, char** argv, pid_t& keeper) {
  if (!lock_as_keeper(opts.state))
    return false;
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  (void)::signal(SIGCHLD, SIG_DFL); // ignored, it would hide how the launcher ended
  keeper = ::getpid();
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
    return false;
  auto pid = ::fork();
  if (pid < 0) {
    say("cannot make the launcher's process: %s", std::strerror(errno));
    return false;
  }
  if (pid > 0) {
    rename_keeper(argv);
    keep(pid, opts.state);
  }
  return true;
}

pid_t find_keeper() {
  process_stat parent{};
  const bool is_one =
      read_process_stat(::getppid(), parent) && std::strcmp(parent.name, keeper_name) == 0;
  return is_one ? ::getppid() : 0;
}

bool hear_of_keeper(pid_t keeper) {
  return keeper != 0 && ::prctl(PR_SET_PDEATHSIG, keeper_died_signal) == 0 && ::getppid() == keeper;
}

bool lock_as_launcher(launcher& l) {
  l.lock_fd = open_lock(l.opts.state);
  if (l.lock_fd >= 0 && lock_byte(l.lock_fd, launcher_byte))
    return true;
  say("another launcher uses the state directory %s (%s)", l.opts.state, std::strerror(errno));
  return false;
}

} // namespace troupe::launcher
