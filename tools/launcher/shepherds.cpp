// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// Shepherds: one for the MPI ranks of a job on this node, whatever its steps. To the launcher it is
// a program of its own folder that runs as the ranks' user: it is started before the first rank,
// told to end after the last, and what a killed one left in the user's directories is removed by
// another process of that user. The launcher reads nothing that it says.

namespace troupe::launcher {

namespace {

constexpr int stub_messages_per_turn = 64;
constexpr std::int64_t clean_wait_ns = 10 * second_ns;

std::uint32_t find_shepherd(launcher& l, const group& g, const element& e) {
  for (std::uint32_t i = 0; i < l.shepherds.high; ++i) {
    const auto& s = l.shepherds[i];
    if (s.used && s.pid != 0 && s.kill_deadline_ns == 0 && s.node_id == g.node_id &&
        s.key.job == g.key.job && s.key.incarnation == g.key.incarnation && s.element == e.number)
      return i;
  }
  return none;
}

std::uint32_t find_by_process(launcher& l, pid_t pid) {
  for (std::uint32_t i = 0; l.shepherds.in_use > 0 && i < l.shepherds.high; ++i)
    if (l.shepherds[i].used && (l.shepherds[i].pid == pid || l.shepherds[i].cleaner == pid))
      return i;
  return none;
}

helper_plan plan_for(launcher& l, const auth::order_view& order) {
  helper_plan plan{};
  plan.who.order = &order;
  plan.who.launcher_pid = l.own_pid;
  plan.who.changes_ids = !l.rules.is_private();
  plan.who.error_fd = l.error_write;
  plan.who.rank_index = none - 1; // no rank: nobody is told, its end tells
  plan.who.files_limit = l.files_limit;
  plan.program = l.opts.shepherd;
  plan.third = plan.fourth = -1;
  return plan;
}

/// 0 or an errno.
int watch_stubs(launcher& l, const shepherd_entry& s) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = s.stub_read;
  if (::epoll_ctl(l.epoll_fd, EPOLL_CTL_ADD, s.stub_read, &event) == 0)
    return 0;
  return errno == ENOSPC ? EAGAIN : errno; // the user's number of watches: it passes
}

/// One for each shepherd: what one job's processes do to it is no other job's matter.
int open_stub_socket(launcher& l, shepherd_entry& s) {
  int ends[2];
  int on = 1;
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return errno;
  s.stub_read = ends[0];
  s.stub_write = ends[1];
  if (::setsockopt(s.stub_read, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    return errno;
  return watch_stubs(l, s);
}

void close_if_open(int& fd) {
  if (fd >= 0)
    ::close(fd);
  fd = -1;
}

/// A stub is the user's own process: it is believed about itself alone, and who it is the kernel
/// says. False when there is nothing more to read.
bool read_stub_failure(launcher& l, shepherd_entry& s) {
  child_failure failure{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  iovec part{&failure, sizeof failure};
  msghdr head{};
  head.msg_iov = &part;
  head.msg_iovlen = 1;
  head.msg_control = control;
  head.msg_controllen = sizeof control;
  auto got = ::recvmsg(s.stub_read, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got == 0)
    close_if_open(s.stub_read); // somebody shut it down: it says nothing any more
  if (got <= 0)
    return false;
  const auto* who = CMSG_FIRSTHDR(&head);
  if (got != sizeof failure || who == nullptr || who->cmsg_type != SCM_CREDENTIALS)
    return true;
  ucred sender{};
  std::memcpy(&sender, CMSG_DATA(who), sizeof sender);
  auto index = sender.pid == failure.pid ? find_rank(l, sender.pid, true) : none;
  if (index != none && l.elements[l.ranks[index].element].shepherd != none)
    take_failure(l, index, failure);
  return true;
}

/// Lends the agent's end, and keeps it: the shepherd outlives whoever reads there.
std::uint32_t open_agent_stream(launcher& l, const group& g, const element& e, int fd) {
  auto index = l.streams.take();
  if (index == none)
    return none;
  auto& stream = l.streams[index];
  stream.id = ++l.next_stream_id << 16 | index;
  stream.key = g.key;
  stream.node_id = g.node_id;
  stream.uid = g.uid;
  stream.element = e.number;
  stream.which = 3;
  stream.lent_fd = fd;
  stream.held_fd = stream.store_fd = -1;
  send_stream(l, index);
  return index;
}

/// Starts the process of an entry; 0 or an errno.
int start_shepherd(launcher& l, shepherd_entry& s, const group& g, const element& e) {
  int agent[2];
  int channel[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, agent) != 0)
    return errno;
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) {
    auto error = errno;
    ::close(agent[0]);
    ::close(agent[1]);
    return error;
  }
  auto order = l.orders[s.order].view;
  auto plan = plan_for(l, order);
  plan.third = agent[1];
  plan.fourth = channel[1];
  auto pid = copy_process(l, s.cgroup);
  if (pid == 0)
    run_helper(plan);
  auto error = errno;
  ::close(agent[1]);
  ::close(channel[1]);
  if (pid > 0 && (s.stream = open_agent_stream(l, g, e, agent[0])) != none) {
    s.pid = pid;
    s.channel_fd = channel[0];
    return 0;
  }
  ::close(agent[0]);
  ::close(channel[0]);
  if (pid > 0) {
    (void)::kill(pid, SIGKILL); // a stray when it is reaped
    error = ENFILE;
  }
  return error;
}

void give_back_shepherd(launcher& l, std::uint32_t index) {
  auto& s = l.shepherds[index];
  if (s.cgroup >= 0)
    give_back_cgroup(l, s.cgroup);
  close_if_open(s.channel_fd);
  close_if_open(s.stub_read);
  close_if_open(s.stub_write);
  release_order(l, s.order);
  l.shepherds.give_back(index);
}

/// The user's own process removes what a killed shepherd left in the user's directories.
void start_cleaner(launcher& l, shepherd_entry& s) {
  char name[96];
  const auto order = l.orders[s.order].view;
  std::snprintf(name, sizeof name, "%llu.%u.%u.%u", static_cast<unsigned long long>(s.key.job),
                order.is_array() ? s.element : 0U, s.key.incarnation, order.node_index);
  auto plan = plan_for(l, order);
  plan.argument[0] = "--clean";
  plan.argument[1] = name;
  auto pid = copy_process(l, s.cgroup);
  if (pid == 0)
    run_helper(plan);
  if (pid < 0) {
    say("cannot clean up after the shepherd of job %llu: %s",
        static_cast<unsigned long long>(s.key.job), std::strerror(errno));
    return;
  }
  s.cleaner = pid;
  s.kill_deadline_ns = boot_now() + clean_wait_ns;
  want_timer(l, s.kill_deadline_ns);
}

/// Ranks cannot go on without it: those that run are ended, and said to have failed for this.
void end_abandoned(launcher& l, std::uint32_t index) {
  for (auto at = l.all_elements; at != none; at = l.elements[at].all_next) {
    auto& e = l.elements[at];
    if (e.shepherd != index || e.state == element_state::ended)
      continue;
    const auto& order = l.orders[e.order].view;
    note_failure(l, e, order.rank_first, launch::start_stage::shepherd, ECONNRESET, "it ended", 8);
    end_element(l, e, order.grace_s * second_ns);
  }
}

/// Nothing of it is left: who waited for that ends, too.
void shepherd_gone(launcher& l, std::uint32_t index) {
  auto& s = l.shepherds[index];
  if (s.users > 0)
    return; // its elements are being ended; the last of them comes back
  auto waiter = s.waiter;
  give_back_shepherd(l, index);
  if (waiter == none)
    return;
  l.elements[waiter].shepherd = none;
  ranks_ended(l, waiter);
}

} // namespace

int join_shepherd(launcher& l, element& e) {
  const auto& g = l.groups[e.group];
  auto index = find_shepherd(l, g, e);
  if (index == none) {
    index = l.shepherds.take();
    if (index == none)
      return ENFILE;
    auto& s = l.shepherds[index];
    s.key = g.key;
    s.element = e.number;
    s.node_id = g.node_id;
    s.order = e.order;
    ++l.orders[e.order].references;
    s.waiter = s.stream = none;
    s.channel_fd = s.stub_read = s.stub_write = -1;
    auto bad = take_cgroup(l, 0, s.cgroup);
    if (bad == 0)
      bad = open_stub_socket(l, s);
    if (bad == 0)
      bad = start_shepherd(l, s, g, e);
    if (bad != 0) {
      give_back_shepherd(l, index);
      return bad;
    }
  }
  ++l.shepherds[index].users;
  e.shepherd = index;
  return 0;
}

bool leave_shepherd(launcher& l, std::uint32_t element_index) {
  auto& e = l.elements[element_index];
  auto index = e.shepherd;
  if (index == none)
    return false;
  auto& s = l.shepherds[index];
  if (s.waiter == element_index)
    return true;
  if (--s.users > 0) {
    e.shepherd = none;
    return false;
  }
  s.waiter = element_index;
  if (s.pid != 0) {
    (void)::kill(s.pid, SIGTERM);
    s.kill_deadline_ns = boot_now() + shepherd_end_wait_ns;
    want_timer(l, s.kill_deadline_ns);
    return true;
  }
  if (s.cleaner != 0)
    return true;
  s.waiter = none;
  e.shepherd = none;
  give_back_shepherd(l, index);
  return false;
}

void read_stub_failures(launcher& l) {
  for (std::uint32_t i = 0; l.shepherds.in_use > 0 && i < l.shepherds.high; ++i)
    if (l.shepherds[i].used && l.shepherds[i].stub_read >= 0)
      for (int n = 0; n < stub_messages_per_turn && read_stub_failure(l, l.shepherds[i]); ++n) {
      }
}

void watch_shepherds(launcher& l) {
  for (std::uint32_t i = 0; i < l.shepherds.high; ++i)
    if (l.shepherds[i].used && l.shepherds[i].stub_read >= 0 && watch_stubs(l, l.shepherds[i]) != 0)
      say("a shepherd's stubs cannot be watched: %s; they are heard when children end",
          std::strerror(errno));
}

bool is_shepherd(launcher& l, pid_t pid) {
  return find_by_process(l, pid) != none;
}

bool shepherd_died(launcher& l, pid_t pid, int status) {
  auto index = find_by_process(l, pid);
  if (index == none)
    return false;
  auto& s = l.shepherds[index];
  if (s.cleaner == pid) {
    s.cleaner = 0;
    shepherd_gone(l, index);
    return true;
  }
  s.pid = 0;
  close_if_open(s.channel_fd);
  drop_stream(l, s.stream);
  if (s.users > 0)
    end_abandoned(l, index);
  if (status != 0)
    start_cleaner(l, s);
  if (s.cleaner == 0)
    shepherd_gone(l, index);
  return true;
}

std::int64_t check_shepherds(launcher& l, std::int64_t now) {
  std::int64_t next = 0;
  for (std::uint32_t i = 0; l.shepherds.in_use > 0 && i < l.shepherds.high; ++i) {
    auto& s = l.shepherds[i];
    if (!s.used || s.kill_deadline_ns == 0)
      continue;
    if (now >= s.kill_deadline_ns) {
      for (auto pid : {s.pid, s.cleaner})
        if (pid != 0)
          (void)::kill(pid, SIGKILL);
      s.kill_deadline_ns = now + second_ns; // until it is reaped
    }
    if (next == 0 || s.kill_deadline_ns < next)
      next = s.kill_deadline_ns;
  }
  return next;
}

} // namespace troupe::launcher
