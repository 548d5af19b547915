// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

// Leftovers. The launcher is a subreaper: whatever its ranks leave behind becomes its own child
// when its parent dies, however often it forked and whatever session it made. A sweep reads the
// list of the launcher's children and ends those that belong to no running element. Whose one is,
// is told by its session, else by TROUPE_* in its first environment; if neither tells, it is left
// alone as long as an element of the same user, started before it, still runs.

namespace troupe::launcher {

namespace {

constexpr std::int64_t linger_ns = 10 * second_ns;
constexpr std::int64_t resweep_ns = second_ns / 100;
constexpr std::int64_t second_look_ns = second_ns;

std::uint32_t& stray_bucket(launcher& l, pid_t pid) {
  return l.stray_buckets[static_cast<std::uint32_t>(pid) & (buckets - 1)];
}

std::uint32_t find_stray(launcher& l, pid_t pid) {
  for (auto at = stray_bucket(l, pid); at != 0; at = l.strays[at - 1].hash_next)
    if (l.strays[at - 1].pid == pid)
      return at - 1;
  return none;
}

bool read_variable(const char* environ, std::size_t length, const char* name, std::uint64_t& out) {
  auto name_length = std::strlen(name);
  for (std::size_t at = 0; at < length;) {
    auto size = ::strnlen(environ + at, length - at);
    if (size > name_length && std::memcmp(environ + at, name, name_length) == 0) {
      char* end = nullptr;
      out = std::strtoull(environ + at + name_length, &end, 10);
      return end == environ + at + size;
    }
    at += size + 1;
  }
  return false;
}

std::uint32_t element_by_environment(launcher& l, pid_t pid, uid_t uid) {
  char* text = l.scratch;
  char path[48];
  std::size_t length = 0;
  std::snprintf(path, sizeof path, "/proc/%d/environ", static_cast<int>(pid));
  if (!read_file_at(path, text, sizeof l.scratch - 1, length))
    return none;
  text[length] = '\0';
  std::uint64_t job = 0;
  std::uint64_t step = 0;
  std::uint64_t number = auth::no_element;
  if (!read_variable(text, length, "TROUPE_JOB_ID=", job) ||
      !read_variable(text, length, "TROUPE_STEP=", step))
    return none;
  (void)read_variable(text, length, "TROUPE_ELEMENT=", number);
  for (std::uint32_t i = l.all_elements; i != none; i = l.elements[i].all_next) {
    const auto& e = l.elements[i];
    const auto& g = l.groups[e.group];
    // Of another user it would be a claim, not a fact.
    if (g.key.job == job && g.key.step == step && e.number == number && g.uid == uid)
      return i;
  }
  return none;
}

/// Whether a running element could be the one that made this process.
bool may_belong_to_running(launcher& l, uid_t uid, std::int64_t start_boot_ns) {
  constexpr std::int64_t tick_ns = second_ns / 100;
  for (auto i = l.all_elements; i != none; i = l.elements[i].all_next) {
    const auto& e = l.elements[i];
    if (e.state != element_state::ended && l.groups[e.group].uid == uid &&
        e.start_boot_ns <= start_boot_ns + tick_ns)
      return true;
  }
  return false;
}

struct owner {
  std::uint32_t element; ///< or none
  bool stays;            ///< it belongs to something that runs, as far as can be told
};

owner find_owner(launcher& l, pid_t pid) {
  process_stat stat{};
  if (!read_process_stat(pid, stat)) {
    l.look_failed = l.look_failed || !is_gone(errno);
    return {none, true};
  }
  if (auto index = find_rank(l, stat.session, false); index != none) {
    auto element_index = l.ranks[index].element;
    return {element_index, l.elements[element_index].state != element_state::ended};
  }
  char path[32];
  struct stat info {};
  std::snprintf(path, sizeof path, "/proc/%d", static_cast<int>(pid));
  if (::stat(path, &info) != 0) {
    l.look_failed = l.look_failed || !is_gone(errno);
    return {none, true};
  }
  auto uid = info.st_uid;
  if (auto index = element_by_environment(l, pid, uid); index != none)
    return {index, l.elements[index].state != element_state::ended};
  return {none, may_belong_to_running(l, uid, stat.start_boot_ns)};
}

void end_stray(launcher& l, pid_t pid, std::uint32_t element_index) {
  auto index = find_stray(l, pid);
  if (index == none && (index = l.strays.take()) != none) {
    auto& s = l.strays[index];
    s.pid = pid;
    s.element = element_index;
    auto& bucket = stray_bucket(l, pid);
    s.hash_next = bucket;
    bucket = index + 1;
    if (element_index != none) {
      ++l.elements[element_index].strays;
      ++l.elements[element_index].leftovers;
    }
  }
  (void)::kill(pid, SIGKILL);
}

void look_at_child(launcher& l, pid_t pid) {
  if (find_rank(l, pid, true) != none || is_shepherd(l, pid))
    return;
  if (find_stray(l, pid) != none) {
    (void)::kill(pid, SIGKILL);
    return;
  }
  auto whose = find_owner(l, pid);
  if (!whose.stays)
    end_stray(l, pid, whose.element);
}

/// Whether no rank of it reached its program: then it may be started again without running twice.
bool never_ran(launcher& l, const element& e) {
  if (!e.start_failed)
    return false;
  for (auto at = e.ranks; at != none; at = l.ranks[at].next_in_element)
    if (l.ranks[at].pid != 0 && !l.ranks[at].gave_up)
      return false;
  return true;
}

void report_element(launcher& l, std::uint32_t index) {
  auto& e = l.elements[index];
  auto& g = l.groups[e.group];
  const auto& order = l.orders[e.order].view;
  auto what = e.start_failed ? launch::record_kind::start_failed : launch::record_kind::exited;
  auto& r = add_record(l, what, g);
  r.flags = static_cast<std::uint8_t>((order.is_array() ? launch::record_array : 0) |
                                      (e.timed_out ? launch::record_timed_out : 0) |
                                      (e.end_requested ? launch::record_ended : 0) |
                                      (e.unkillable ? launch::record_unkillable : 0) |
                                      (never_ran(l, e) ? launch::record_never_ran : 0));
  r.element = e.number;
  r.rank = e.has_failed ? e.failed_rank : order.rank_first;
  r.exit_code = e.exit_code;
  r.signal = e.signal;
  r.stage = e.stage;
  r.error = e.error;
  r.pid = e.first_pid;
  r.slot = e.slot;
  r.leftovers = e.leftovers;
  r.start_utc_ns = e.start_utc_ns;
  r.end_utc_ns = e.end_utc_ns;
  r.user_us = e.user_us;
  r.system_us = e.system_us;
  r.max_rss_bytes = e.max_rss_bytes;
  auto& detail = l.details[(e.detail - 1) % details_max];
  if (e.detail != 0 && detail.seq == (awaits_record | e.detail))
    detail.seq = r.seq;
}

void free_ranks(launcher& l, element& e) {
  while (e.ranks != none) {
    auto index = e.ranks;
    auto& r = l.ranks[index];
    e.ranks = r.next_in_element;
    if (r.pid != 0) {
      auto* link = &l.rank_buckets[static_cast<std::uint32_t>(r.pid) & (buckets - 1)];
      while (*link != index + 1)
        link = &l.ranks[*link - 1].hash_next;
      *link = r.hash_next;
    }
    l.ranks.give_back(index);
  }
}

void free_element(launcher& l, std::uint32_t index) {
  auto& e = l.elements[index];
  auto& g = l.groups[e.group];
  free_ranks(l, e);
  if (e.cgroup >= 0)
    give_back_cgroup(l, e.cgroup);
  (e.group_previous == none ? g.live : l.elements[e.group_previous].group_next) = e.group_next;
  if (e.group_next != none)
    l.elements[e.group_next].group_previous = e.group_previous;
  (e.all_previous == none ? l.all_elements : l.elements[e.all_previous].all_next) = e.all_next;
  if (e.all_next != none)
    l.elements[e.all_next].all_previous = e.all_previous;
  release_order(l, e.order);
  l.elements.give_back(index);
}

/// Whether something of an ended element is still alive, or may be; after 10 s it is reported as it
/// is.
bool lingers(launcher& l, element& e, std::int64_t now) {
  bool has_more = e.strays > 0 || l.look_failed;
  if (!has_more && e.cgroup >= 0 && !cgroup_is_empty(l, e.cgroup)) {
    (void)kill_cgroup(l, e.cgroup);
    has_more = true;
  }
  if (!has_more)
    return false;
  if (e.linger_deadline_ns == 0)
    e.linger_deadline_ns = now + linger_ns;
  if (now < e.linger_deadline_ns)
    return true;
  e.unkillable = true;
  for (std::uint32_t i = 0; i < l.strays.high; ++i)
    if (l.strays[i].used && l.strays[i].element < elements_max &&
        &l.elements[l.strays[i].element] == &e)
      l.strays[i].element = none;
  return false;
}

void look_at_children(launcher& l) {
  char* text = l.children_text;
  l.look_failed = false;
  if (l.children_fd < 0)
    return; // said at the start
  auto got = ::pread(l.children_fd, text, sizeof l.children_text - 1, 0);
  l.look_failed = got < 0;
  if (got <= 0)
    return;
  text[got] = '\0';
  for (char* at = text; *at != '\0';) {
    auto pid = static_cast<pid_t>(std::strtol(at, &at, 10));
    if (pid > 0)
      look_at_child(l, pid);
    while (*at == ' ')
      ++at;
  }
}

} // namespace

void stray_died(launcher& l, pid_t pid) {
  auto index = find_stray(l, pid);
  if (index == none) {
    // It may have been killed with its session just now: then it counts as a leftover.
    process_stat stat{};
    if (!read_process_stat(pid, stat))
      return;
    auto rank_index = find_rank(l, stat.session, false);
    if (rank_index != none && l.elements[l.ranks[rank_index].element].state == element_state::ended)
      ++l.elements[l.ranks[rank_index].element].leftovers;
    l.sweep_wanted = true;
    return;
  }
  auto& s = l.strays[index];
  if (s.element != none && l.elements.valid(s.element)) {
    --l.elements[s.element].strays;
    note_pending(l);
  }
  auto* link = &stray_bucket(l, pid);
  while (*link != index + 1)
    link = &l.strays[*link - 1].hash_next;
  *link = s.hash_next;
  l.strays.give_back(index);
  l.sweep_wanted = true; // its own children are the launcher's now
}

void sweep(launcher& l) {
  auto now = boot_now();
  bool is_second_look = l.sweep_at_ns != 0 && now >= l.sweep_at_ns;
  bool looks = l.sweep_wanted || is_second_look || l.look_failed;
  if (looks)
    look_at_children(l);
  bool looks_again = l.sweep_wanted; // the list may miss one while others leave it
  l.sweep_wanted = false;
  auto* link = &l.ended_head;
  bool some_linger = false;
  while (*link != none) {
    auto index = *link;
    auto& e = l.elements[index];
    if (lingers(l, e, now)) {
      some_linger = true;
      link = &e.ended_next;
      continue;
    }
    *link = e.ended_next;
    report_element(l, index);
    free_element(l, index);
  }
  if (some_linger || l.look_failed || l.strays.in_use > 0)
    l.sweep_at_ns = now + resweep_ns;
  else if (looks_again)
    l.sweep_at_ns = now + second_look_ns;
  else if (looks)
    l.sweep_at_ns = 0;
  if (l.sweep_at_ns != 0)
    want_timer(l, l.sweep_at_ns);
}

} // namespace troupe::launcher
