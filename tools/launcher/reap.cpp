// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sys/wait.h>
#include <unistd.h>

// The end of ranks and elements. A dead rank is looked at before it is reaped: as long as it is a
// zombie, the number of its session belongs to it, and what it left there can be killed by number.

namespace troupe::launcher {

namespace {

constexpr int reaps_per_turn = 32;

std::uint32_t& rank_bucket(launcher& l, pid_t pid) {
  return l.rank_buckets[static_cast<std::uint32_t>(pid) & (buckets - 1)];
}

std::int64_t microseconds(const timeval& time) {
  return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec;
}

void add_usage(element& e, const rusage& usage) {
  e.user_us += microseconds(usage.ru_utime);
  e.system_us += microseconds(usage.ru_stime);
  auto bytes = std::int64_t{usage.ru_maxrss} * 1024;
  if (bytes > e.max_rss_bytes)
    e.max_rss_bytes = bytes;
}

void rank_died(launcher& l, std::uint32_t index, int status, const rusage& usage) {
  auto& r = l.ranks[index];
  auto element_index = r.element;
  auto& e = l.elements[element_index];
  r.alive = false;
  --e.alive;
  forget_survivor(l, index);
  add_usage(e, usage);
  if (status != 0 && !e.has_failed) {
    e.has_failed = true;
    e.failed_rank = l.orders[e.order].view.rank_of(r.local);
    e.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    e.signal = WIFSIGNALED(status) ? static_cast<std::uint32_t>(WTERMSIG(status)) : 0;
  }
  if (e.alive == 0) {
    ranks_ended(l, element_index);
  } else if (status != 0 && e.state == element_state::running &&
             !l.specs[l.orders[e.order].spec].prepared->view.outlives_ranks) {
    end_element(l, e, l.orders[e.order].view.grace_s * second_ns);
  }
}

} // namespace

std::uint32_t find_rank(launcher& l, pid_t pid, bool alive_only) {
  for (auto at = rank_bucket(l, pid); at != 0; at = l.ranks[at - 1].hash_next)
    if (l.ranks[at - 1].pid == pid && (l.ranks[at - 1].alive || !alive_only))
      return at - 1;
  return none;
}

void insert_rank(launcher& l, std::uint32_t index) {
  auto& bucket = rank_bucket(l, l.ranks[index].pid);
  l.ranks[index].hash_next = bucket;
  bucket = index + 1;
}

void note_failure(launcher& l, element& e, std::uint32_t rank, launch::start_stage stage,
                  int error_number, const char* text, std::size_t length) {
  if (e.has_failed)
    return;
  e.has_failed = true;
  e.start_failed = true;
  e.failed_rank = rank;
  e.stage = stage;
  e.error = error_number;
  const auto number = l.detail_next++;
  auto& detail = l.details[number % details_max];
  e.detail = number + 1;
  detail.seq = awaits_record | e.detail;
  auto put = std::snprintf(detail.text, sizeof detail.text, "%s failed: %.*s%s%s",
                           launch::to_string(stage), static_cast<int>(length), text,
                           length == 0 ? "" : ": ", ::strerror(error_number));
  auto most = static_cast<int>(sizeof detail.text) - 1;
  detail.length = static_cast<std::uint16_t>(put < most ? put : most);
}

void take_failure(launcher& l, std::uint32_t rank_index, const child_failure& failure) {
  if (failure.length > sizeof failure.text || rank_index == none || !l.ranks.valid(rank_index))
    return;
  auto& r = l.ranks[rank_index];
  if (r.pid != failure.pid || !r.alive)
    return;
  r.gave_up = true;
  auto& e = l.elements[r.element];
  note_failure(l, e, l.orders[e.order].view.rank_of(r.local), failure.stage, failure.error,
               failure.text, failure.length);
}

/// Reads what children wrote that could not go on; each message arrives whole or not at all.
void read_failures(launcher& l) {
  child_failure failures[7];
  for (;;) {
    auto got = ::read(l.error_read, failures, sizeof failures);
    if (got < static_cast<ssize_t>(sizeof(child_failure)))
      return;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(child_failure); ++i)
      take_failure(l, failures[i].rank_index, failures[i]);
  }
}

void signal_element(launcher& l, const element& e, int signo) {
  for (auto at = e.ranks; at != none; at = l.ranks[at].next_in_element) {
    const auto& r = l.ranks[at];
    // Its own pid is not enough to end what it runs; before setsid there is no such group yet.
    if (r.alive && ::kill(-r.pid, signo) != 0)
      (void)::kill(r.pid, signo);
  }
}

void end_element(launcher& l, element& e, std::int64_t grace_ns) {
  auto kill_at = boot_now() + grace_ns;
  if (e.kill_deadline_ns == 0 || kill_at < e.kill_deadline_ns)
    e.kill_deadline_ns = kill_at;
  if (e.state == element_state::running) {
    e.state = element_state::ending;
    signal_element(l, e, SIGTERM);
    signal_element(l, e, SIGCONT);
  }
  if (grace_ns == 0 && !e.killed) {
    e.killed = true;
    signal_element(l, e, SIGKILL);
  }
  want_timer(l, e.kill_deadline_ns);
}

void ranks_ended(launcher& l, std::uint32_t index) {
  if (leave_shepherd(l, index))
    return;
  auto group_index = l.elements[index].group;
  element_ended(l, index);
  refill(l, group_index);
}

/// The last rank is gone: its slot is free at once; its record waits for what it left behind.
void element_ended(launcher& l, std::uint32_t index) {
  auto& e = l.elements[index];
  if (e.state == element_state::ending && !e.has_failed && e.timed_out)
    e.has_failed = true;
  e.state = element_state::ended;
  e.end_utc_ns = e.start_utc_ns + (boot_now() - e.start_boot_ns);
  e.linger_deadline_ns = 0;
  release_slot(l, e);
  for (auto at = e.ranks; at != none; at = l.ranks[at].next_in_element) {
    auto& r = l.ranks[at];
    for (auto stream : {r.output, r.error_output})
      if (stream != none)
        close_stream_writer(l, stream);
    if (r.input != none)
      close_input(l, r.input);
  }
  if (e.cgroup >= 0)
    e.leftovers += kill_cgroup(l, e.cgroup);
  e.ended_next = l.ended_head;
  l.ended_head = index;
  l.sweep_wanted = true;
  note_pending(l);
}

void reap(launcher& l) {
  read_failures(l);
  read_stub_failures(l);
  // Short jobs die as fast as they are started: the peer and the records have their turn in
  // between.
  l.reap_wanted = true;
  for (int i = 0; i < reaps_per_turn; ++i) {
    siginfo_t info{};
    auto found = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
    if (found != 0 && errno != ECHILD)
      return; // again at once: nobody tells of this child a second time
    if (found != 0 || info.si_pid == 0) {
      l.reap_wanted = false;
      return;
    }
    auto pid = info.si_pid;
    auto index = find_rank(l, pid, true);
    auto shepherd = index == none && is_shepherd(l, pid);
    if (index == none && !shepherd)
      stray_died(l, pid);
    else if (shepherd || l.elements[l.ranks[index].element].alive == 1)
      (void)::kill(-pid, SIGKILL);
    int status = 0;
    rusage usage{};
    if (::wait4(pid, &status, 0, &usage) != pid)
      continue;
    if (shepherd)
      (void)shepherd_died(l, pid, status);
    if (index == none)
      continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
      read_failures(l);
      read_stub_failures(l);
    }
    rank_died(l, index, status, usage);
  }
}

} // namespace troupe::launcher
