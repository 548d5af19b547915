// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/passing.hpp"
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

// The parent's side of a start. A child is a plain copy of this process (clone3 without any
// sharing): whoever stops it before it executes stops nothing else. No pidfd is needed: these are
// children of one thread that reaps them itself, so their pids cannot be used again before.

namespace troupe::launcher {

namespace {

constexpr std::uint64_t forked_but_not_executed = 0x40; // PF_FORKNOEXEC of linux/sched.h

void link_element(launcher& l, std::uint32_t index) {
  auto& e = l.elements[index];
  auto& g = l.groups[e.group];
  e.group_previous = none;
  e.group_next = g.live;
  if (g.live != none)
    l.elements[g.live].group_previous = index;
  g.live = index;
  e.all_previous = none;
  e.all_next = l.all_elements;
  if (l.all_elements != none)
    l.elements[l.all_elements].all_previous = index;
  l.all_elements = index;
  e.announce_next = none;
  if (l.announce_tail == none)
    l.announce_head = index;
  else
    l.elements[l.announce_tail].announce_next = index;
  l.announce_tail = index;
}

/// Starts one rank; 0 or an errno. The plan holds all that the child may look at: the launcher's
/// own tables are not there any more on its side.
int start_rank(launcher& l, element& e, std::uint32_t rank_index, child_plan& plan) {
  auto& r = l.ranks[rank_index];
  plan.local_rank = r.local;
  plan.rank_index = rank_index;
  auto pid = copy_process(l, e.cgroup);
  if (pid == 0)
    run_child(plan);
  const int bad = errno;
  close_child_input(plan);
  if (pid < 0)
    return bad;
  r.pid = pid;
  r.alive = true;
  ++e.alive;
  insert_rank(l, rank_index);
  record_survivor(l, rank_index);
  if (e.first_pid == 0)
    e.first_pid = static_cast<std::uint32_t>(pid);
  return 0;
}

void start_ranks(launcher& l, std::uint32_t index, std::uint32_t ranks) {
  auto& e = l.elements[index];
  auto order = l.orders[e.order].view;
  auto binding = l.orders[l.groups[e.group].newest].view;
  child_plan plan{};
  plan.order = &order;
  plan.binding = &binding;
  plan.spec = l.specs[l.orders[e.order].spec].prepared;
  plan.order_strings = l.orders[e.order].strings;
  plan.element = e.number;
  plan.slot = e.slot;
  plan.launcher_pid = l.own_pid;
  plan.changes_ids = !l.rules.is_private();
  plan.error_fd = l.error_write;
  plan.channel_fd = -1;
  plan.stub = l.opts.stub;
  plan.files_limit = l.files_limit;
  if (plan.spec->view.has_shepherd) {
    if (auto bad = join_shepherd(l, e); bad != 0) {
      note_failure(l, e, order.rank_first, launch::start_stage::shepherd, bad, "", 0);
      return;
    }
    plan.channel_fd = l.shepherds[e.shepherd].channel_fd;
    plan.stub_fd = l.shepherds[e.shepherd].stub_write;
  }
  auto* link = &e.ranks;
  for (std::uint32_t local = 0; local < ranks; ++local) {
    auto rank_index = l.ranks.take();
    if (rank_index == none) {
      note_failure(l, e, order.rank_of(local), launch::start_stage::fork, EAGAIN, "", 0);
      return;
    }
    auto& r = l.ranks[rank_index];
    r.element = index;
    r.local = local;
    r.input = r.output = r.error_output = none;
    r.next_in_element = none;
    *link = rank_index;
    link = &r.next_in_element;
    auto stage = launch::start_stage::pipe;
    auto bad = open_streams(l, e, order, *plan.spec, rank_index, plan);
    if (bad == 0) {
      stage = launch::start_stage::fork;
      bad = start_rank(l, e, rank_index, plan);
    }
    if (bad != 0) {
      note_failure(l, e, order.rank_of(local), stage, bad, "", 0);
      return;
    }
  }
}

void report_without_element(launcher& l, const group& g, const auth::order_view& order,
                            std::uint32_t number) {
  auto& r = add_record(l, launch::record_kind::start_failed, g);
  r.element = number;
  r.flags = launch::record_never_ran | (order.is_array() ? launch::record_array : 0);
  r.rank = order.rank_first;
  r.stage = launch::start_stage::fork;
  r.error = EAGAIN;
  r.start_utc_ns = r.end_utc_ns = utc_now();
}

} // namespace

pid_t copy_process(launcher& l, int cgroup) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(l.cgroups[cgroup].dir);
  }
  return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
}

void start_element(launcher& l, std::uint32_t group_index, std::uint32_t order_index,
                   std::uint32_t number, std::uint32_t slot) {
  auto& g = l.groups[group_index];
  const auto& order = l.orders[order_index].view;
  auto index = l.elements.take();
  ++g.running;
  if (index == none) {
    element nowhere{};
    nowhere.group = group_index;
    nowhere.slot = slot;
    release_slot(l, nowhere);
    report_without_element(l, g, order, number);
    note_start(l, group_index, true);
    return;
  }
  auto& e = l.elements[index];
  e.group = group_index;
  e.order = order_index;
  ++l.orders[order_index].references;
  e.number = number;
  e.slot = slot;
  e.ranks = none;
  e.shepherd = none;
  const auto without_cgroup = take_cgroup(l, order.memory_bytes, e.cgroup);
  e.start_utc_ns = utc_now();
  e.start_boot_ns = boot_now();
  e.exec_deadline_ns = e.start_boot_ns + l.opts.exec_deadline_ns;
  if (order.time_limit_s != 0)
    e.limit_deadline_ns = e.start_boot_ns + order.time_limit_s * second_ns;
  link_element(l, index);
  if (without_cgroup == 0)
    start_ranks(l, index, order.ranks_here);
  else
    note_failure(l, e, order.rank_first, launch::start_stage::limits, without_cgroup, "", 0);
  note_start(l, group_index, e.start_failed && e.alive == 0 && launch::is_shortage(e.error));
  note_pending(l);
  want_timer(l, e.limit_deadline_ns != 0 && e.limit_deadline_ns < e.exec_deadline_ns
                    ? e.limit_deadline_ns
                    : e.exec_deadline_ns);
  if (e.alive == 0)
    ranks_ended(l, index);
  else if (e.start_failed)
    end_element(l, e, l.orders[order_index].view.grace_s * second_ns);
}

void check_exec(launcher& l, std::uint32_t index) {
  auto& e = l.elements[index];
  e.exec_deadline_ns = 0;
  for (auto at = e.ranks; at != none; at = l.ranks[at].next_in_element) {
    auto& r = l.ranks[at];
    process_stat stat{};
    if (!r.alive)
      continue;
    if (!read_process_stat(r.pid, stat)) {
      if (!is_gone(errno))
        e.exec_deadline_ns = boot_now() + second_ns; // it could not be looked at
      continue;
    }
    if (stat.state == 'Z' || (stat.flags & forked_but_not_executed) == 0)
      continue;
    char text[96];
    auto length = std::snprintf(text, sizeof text, "(not done %lld s after the start: ended)",
                                static_cast<long long>(l.opts.exec_deadline_ns / second_ns));
    note_failure(l, e, l.orders[e.order].view.rank_of(r.local), stage_of_name(stat.name), ETIMEDOUT,
                 text, static_cast<std::size_t>(length));
    (void)::kill(r.pid, SIGKILL);
  }
  if (e.start_failed && e.state == element_state::running)
    end_element(l, e, l.orders[e.order].view.grace_s * second_ns);
}

} // namespace troupe::launcher
