// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

// The event loop: one thread, one epoll set. Every deadline is in CLOCK_BOOTTIME, held by one timer
// that is set to the earliest; what is due is found by walking the live elements, which happens
// once per deadline and never per exit.

namespace troupe::launcher {

namespace {

constexpr std::int64_t stop_wait_ns = 5 * second_ns;

void arm(launcher& l, std::int64_t at_ns) {
  itimerspec when{};
  when.it_value.tv_sec = at_ns / second_ns;
  when.it_value.tv_nsec = at_ns % second_ns;
  (void)::timerfd_settime(l.timer_fd, TFD_TIMER_ABSTIME, &when, nullptr);
  l.timer_armed_ns = at_ns;
}

void earlier(std::int64_t& earliest, std::int64_t candidate) {
  if (candidate != 0 && (earliest == 0 || candidate < earliest))
    earliest = candidate;
}

void check_element(launcher& l, std::uint32_t index, std::int64_t now) {
  auto& e = l.elements[index];
  if (e.state == element_state::ended)
    return;
  if (e.exec_deadline_ns != 0 && now >= e.exec_deadline_ns)
    check_exec(l, index);
  if (e.limit_deadline_ns != 0 && now >= e.limit_deadline_ns) {
    e.limit_deadline_ns = 0;
    if (e.state == element_state::running) {
      e.timed_out = true;
      end_element(l, e, l.orders[e.order].view.grace_s * second_ns);
    }
  }
  if (e.kill_deadline_ns != 0 && now >= e.kill_deadline_ns && !e.killed) {
    e.killed = true;
    signal_element(l, e, SIGKILL);
  }
}

void timer_fired(launcher& l) {
  std::uint64_t times = 0;
  (void)!::read(l.timer_fd, &times, sizeof times);
  l.timer_armed_ns = 0;
  auto now = boot_now();
  for (auto at = l.all_elements; at != none; at = l.elements[at].all_next)
    check_element(l, at, now);
  std::int64_t next = 0;
  for (auto at = l.all_elements; at != none; at = l.elements[at].all_next) {
    const auto& e = l.elements[at];
    if (e.state == element_state::ended)
      continue;
    earlier(next, e.exec_deadline_ns);
    earlier(next, e.limit_deadline_ns);
    if (!e.killed)
      earlier(next, e.kill_deadline_ns);
  }
  earlier(next, check_shepherds(l, now));
  earlier(next, check_paused_groups(l, now));
  earlier(next, check_peer(l, now));
  earlier(next, l.sweep_at_ns);
  earlier(next, l.stop_deadline_ns);
  if (next != 0)
    want_timer(l, next);
}

bool listen_on(launcher& l) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(l.opts.socket) >= sizeof address.sun_path) {
    say("the socket path %s is longer than 107 bytes", l.opts.socket);
    return false;
  }
  std::memcpy(address.sun_path, l.opts.socket, std::strlen(l.opts.socket));
  ::unlink(l.opts.socket); // the lock says that no other launcher uses it
  l.listen_fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  auto old = ::umask(0177);
  bool done = l.listen_fd >= 0 &&
              ::bind(l.listen_fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::umask(old);
  if (done && !l.rules.is_private())
    done = ::chown(l.opts.socket, l.rules.peer_uid, static_cast<gid_t>(-1)) == 0;
  if (!done || ::listen(l.listen_fd, 8) != 0) {
    say("cannot listen on %s: %s", l.opts.socket, std::strerror(errno));
    return false;
  }
  return true;
}

bool watch(launcher& l, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return fd >= 0 && ::epoll_ctl(l.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/// As the kernel numbers them, the two that libc hides included: children start with what is set
/// here.
void reset_dispositions() {
  std::uint64_t default_action[4] = {}; // struct sigaction as the kernel knows it
  for (int signo = 1; signo <= 64; ++signo)
    (void)::syscall(SYS_rt_sigaction, signo, default_action, nullptr, sizeof(std::uint64_t));
}

bool open_loop(launcher& l) {
  reset_dispositions();
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  sigset_t taken;
  ::sigemptyset(&taken);
  for (int signo : {SIGCHLD, SIGTERM, SIGINT, SIGUSR2, keeper_died_signal})
    ::sigaddset(&taken, signo);
  l.signal_fd = ::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  l.timer_fd = ::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  l.epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (l.listen_fd < 0 && !listen_on(l))
    return false;
  if (!watch(l, l.signal_fd) || !watch(l, l.timer_fd) || !watch(l, l.listen_fd) ||
      !watch(l, l.error_read)) {
    say("cannot watch for events: %s", std::strerror(errno));
    return false;
  }
  watch_shepherds(l);
  if (l.peer_fd >= 0 && !watch(l, l.peer_fd))
    drop_peer(l, "it cannot be watched");
  return true;
}

/// The next launcher cannot know any more what this one leaves if it is killed, and says so.
void keeper_died(launcher& l) {
  if (l.keeper == 0 || ::getppid() == l.keeper)
    return; // somebody else's signal
  l.keeper = 0;
  say("the keeper is gone: if this launcher is killed, what its jobs leave may not be found");
}

void read_signals(launcher& l) {
  signalfd_siginfo info[8];
  auto got = ::read(l.signal_fd, info, sizeof info);
  for (std::size_t i = 0; got > 0 && i < static_cast<std::size_t>(got) / sizeof info[0]; ++i) {
    if (info[i].ssi_signo == SIGCHLD)
      l.reap_wanted = true;
    else if (info[i].ssi_signo == SIGUSR2)
      l.reexec_wanted = true;
    else if (info[i].ssi_signo == keeper_died_signal)
      keeper_died(l);
    else
      stop(l);
  }
}

void handle_event(launcher& l, const epoll_event& event) {
  int fd = event.data.fd;
  if (fd == l.signal_fd)
    read_signals(l);
  else if (fd == l.timer_fd)
    timer_fired(l);
  else if (fd == l.listen_fd)
    accept_peer(l);
  else if (fd == l.error_read)
    read_failures(l);
  else if (fd == l.peer_fd) {
    if ((event.events & EPOLLOUT) != 0)
      write_peer(l);
    if (l.peer_fd >= 0 && (event.events & EPOLLIN) != 0)
      read_peer(l);
    else if (l.peer_fd >= 0 && (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
      drop_peer(l, "it closed the connection");
  } else {
    read_stub_failures(l);
  }
}

/// Everything has ended, and the peer has heard of it or had its time to.
bool is_done(launcher& l) {
  if (!l.stopping || l.all_elements != none)
    return false;
  if (l.stop_deadline_ns == 0) {
    l.stop_deadline_ns = boot_now() + stop_wait_ns;
    want_timer(l, l.stop_deadline_ns);
  }
  bool is_heard = l.record_head == none;
  return l.peer_fd < 0 || is_heard || boot_now() >= l.stop_deadline_ns;
}

} // namespace

void want_timer(launcher& l, std::int64_t at_ns) {
  if (l.timer_armed_ns == 0 || at_ns < l.timer_armed_ns)
    arm(l, at_ns);
}

void stop(launcher& l) {
  if (l.stopping)
    return;
  l.stopping = true;
  say("shutting down: %u elements are being ended", l.elements.in_use);
  for (std::uint32_t i = 0; i < l.groups.high; ++i)
    if (l.groups[i].used)
      revoke(l, i, 0, none);
  for (auto at = l.all_elements; at != none; at = l.elements[at].all_next) {
    auto& e = l.elements[at];
    if (e.state == element_state::ended)
      continue;
    e.end_requested = true;
    end_element(l, e, l.orders[e.order].view.grace_s * second_ns);
  }
}

int run(launcher& l) {
  if (!open_loop(l))
    return 1;
  l.reap_wanted = true;
  l.sweep_wanted = true;
  if (l.opts.resume_fd >= 0) {
    timer_fired(l);
    if (l.peer_said_hello)
      send_welcome(l);
    note_pending(l);
  }
  while (!is_done(l)) {
    if (l.reap_wanted)
      reap(l);
    if (l.reexec_wanted)
      reexec(l);
    auto timeout = flush_if_due(l);
    epoll_event events[16];
    auto count = ::epoll_wait(l.epoll_fd, events, 16, l.reap_wanted ? 0 : timeout);
    for (int i = 0; i < count; ++i)
      handle_event(l, events[i]);
  }
  say("ended");
  ::unlink(l.opts.socket);
  return 0;
}

} // namespace troupe::launcher
