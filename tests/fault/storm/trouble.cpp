// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm/storm.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <set>

// What is done to the cluster.

namespace troupe::storm {

namespace {

using clock = std::chrono::steady_clock;

} // namespace

void storm::make_trouble() {
  std::vector<unsigned> kinds;
  for (unsigned bit = 1; bit < all_troubles + 1U; bit <<= 1)
    if ((plan_.troubles & bit) != 0)
      kinds.push_back(bit);
  const auto chosen = kinds[static_cast<std::size_t>(below(static_cast<int>(kinds.size())))];
  switch (chosen) {
  case kill_trouped:
    kill_pid(cluster_.trouped(), "trouped");
    (void)pump_until([] { return false; }, std::chrono::milliseconds{below(500)});
    return up();
  case kill_launcher: return kill_pid(cluster_.launcher(), "launcher");
  case kill_both:
    kill_pid(cluster_.trouped(), "trouped");
    kill_pid(cluster_.launcher(), "launcher");
    return up();
  case stop_trouped: return stop_for_a_while(cluster_.trouped(), "trouped");
  case stop_launcher: return stop_for_a_while(cluster_.launcher(), "launcher");
  case go_down: return shut_down();
  case reshape: return change_shape();
  case reexec:
    note("the launcher replaces its program");
    ++done_["reexec"];
    ::kill(cluster_.launcher(), SIGUSR2);
    return;
  case disk: return hurt_disk();
  case wall_clock: return set_clock();
  default: return reload_config();
  }
}

void storm::kill_pid(pid_t pid, const std::string& name) {
  if (pid <= 1 || !test::is_alive(pid))
    return;
  note("kill -9 of " + name + " (pid " + std::to_string(pid) + ")");
  ++done_["kill of " + name];
  if (name == "trouped") {
    trouped_ = 0;
  } else {
    for (auto& [ignored, each] : submissions_)
      each.launcher_died |= !each.ended;
  }
  ::kill(pid, SIGKILL);
  if (!test::eventually([&] { return !test::is_alive(pid); }))
    broken("a killed process is gone", name);
}

void storm::stop_for_a_while(pid_t pid, const std::string& name) {
  if (pid <= 1)
    return;
  const auto time = std::chrono::milliseconds{one_in(5) ? 2500 : 100 + below(900)};
  note(name + " stands still for " + std::to_string(time.count()) + " ms");
  ++done_["stop of " + name];
  ::kill(pid, SIGSTOP);
  // Meanwhile people go on asking.
  const auto until = clock::now() + time;
  while (clock::now() < until) {
    (void)pump_until([] { return false; }, 50ms);
    if (clients_.size() < 6 && one_in(3))
      work();
  }
  ::kill(pid, SIGCONT);
}

/// It comes up whatever happened before, at once.
void storm::up() {
  heal_disk();
  const auto done = cluster_.troupe(
      {"up", "--nodes", std::to_string(nodes_), "--cores", std::to_string(cores_)}, 60s);
  if (done.exit != 0) {
    broken("`troupe up` always comes up", "it ended with " + std::to_string(done.exit) + ": " +
                                              done.out + done.err +
                                              "\n  trouped's log ends: " + end_of_log());
    return;
  }
  trouped_ = cluster_.trouped();
  note("up: trouped is pid " + std::to_string(trouped_));
}

void storm::wait_up() {
  if (!test::is_alive(cluster_.trouped()))
    up();
}

void storm::shut_down() {
  note("troupe down");
  ++done_["down"];
  heal_disk();
  wait_up();
  for (auto& [ignored, each] : submissions_)
    each.went_down |= !each.ended;
  trouped_ = 0;
  const auto was = std::pair{cluster_.trouped(), cluster_.launcher()};
  bool over = false;
  outcome said;
  ask(
      {"down"}, "down",
      [&](const outcome& done) {
        said = done;
        over = true;
      },
      90s);
  while (!over && broken_.empty())
    (void)pump_until([&] { return over; }, 1s);
  if (!over)
    return;
  if (said.exit != 0)
    broken("`troupe down` ends the cluster",
           "it ended with " + std::to_string(said.exit) + ": " + said.out + said.err);
  else if (!test::eventually(
               [&] { return !test::is_alive(was.first) && !test::is_alive(was.second); }, 5s))
    broken("after `troupe down` nothing of the cluster is there", said.out);
  for (const auto& [task, story] : books_.stories())
    if (books_.lives(task, story))
      broken("after `troupe down` no task lives", task.text());
  up();
}

void storm::change_shape() {
  nodes_ = 1 + below(3);
  cores_ = 2 + below(3);
  nodes_max_ = std::max(nodes_max_, nodes_);
  cores_max_ = std::max(cores_max_, cores_);
  const auto killed = one_in(2);
  note("the next cluster has " + std::to_string(nodes_) + " nodes of " + std::to_string(cores_) +
       " cores");
  ++done_["new shape"];
  if (killed) {
    kill_pid(cluster_.trouped(), "trouped");
    up();
  } else {
    shut_down();
  }
}

/// What fitted when it was submitted, and waits since the cluster has shrunk, fits again.
void storm::grow_back() {
  nodes_ = nodes_max_;
  cores_ = cores_max_;
  note("the cluster has " + std::to_string(nodes_) + " nodes of " + std::to_string(cores_) +
       " cores again");
  kill_pid(cluster_.trouped(), "trouped");
  up();
}

// -- the disk -------------------------------------------------------------------

void storm::hurt_disk() {
  if (disk_is_hurt())
    return;
  for (auto& [ignored, each] : submissions_)
    each.disk_hurt |= !each.ended;
  disk_heals_at_ = clock::now() + std::chrono::milliseconds{100 + below(2500)};
  if (disk_ && one_in(2)) {
    note("the disk is full");
    ++done_["full disk"];
    disk_.fill();
    disk_is_full_ = true;
    return;
  }
  struct hurt {
    const char* name;
    test::fault_rule rule;
  };
  const std::vector<hurt> kinds{{"the ledger's disk is full",
                                 {.calls = troupe_fault_write | troupe_fault_truncate,
                                  .path = "*/ledger.db*",
                                  .error = ENOSPC,
                                  .programs = troupe_fault_trouped}},
                                {"one sync of the ledger fails",
                                 {.calls = troupe_fault_sync,
                                  .path = "*/ledger.db*",
                                  .error = EIO,
                                  .count = 1,
                                  .programs = troupe_fault_trouped}},
                                {"one write of the ledger fails",
                                 {.calls = troupe_fault_write,
                                  .path = "*/ledger.db-wal",
                                  .error = EIO,
                                  .count = 1,
                                  .skip = below(5),
                                  .programs = troupe_fault_trouped}},
                                {"the audit log's disk is full",
                                 {.calls = troupe_fault_write,
                                  .path = "*/audit.log",
                                  .error = ENOSPC,
                                  .programs = troupe_fault_trouped}},
                                {"one sync of the audit log fails",
                                 {.calls = troupe_fault_sync,
                                  .path = "*/audit.log",
                                  .error = EIO,
                                  .count = 1,
                                  .programs = troupe_fault_trouped}},
                                {"the spool's disk is full",
                                 {.calls = troupe_fault_splice | troupe_fault_write,
                                  .path = "*/spool/*",
                                  .error = ENOSPC,
                                  .programs = troupe_fault_trouped}},
                                {"the launcher's disk is full",
                                 {.calls = troupe_fault_write,
                                  .path = "*/launcher/*",
                                  .error = ENOSPC,
                                  .programs = troupe_fault_launcher}}};
  const auto& chosen = kinds[static_cast<std::size_t>(below(static_cast<int>(kinds.size())))];
  note(std::string{"the disk: "} + chosen.name);
  ++done_[chosen.name];
  disk_rules_.push_back(faults_.fail(chosen.rule));
}

void storm::heal_disk() {
  for (auto rule : disk_rules_) {
    faults_.pass(rule);
    note("the disk works again; " + std::to_string(faults_.failed(rule)) + " calls had failed");
  }
  if (disk_is_full_) {
    disk_.make_room();
    note("the disk has room again");
  }
  if (disk_is_hurt())
    disk_healed_at_ = clock::now();
  disk_rules_.clear();
  disk_is_full_ = false;
}

/// What a hurt disk explains is not held against the cluster for so long.
bool storm::disk_was_hurt_lately() const {
  return disk_is_hurt() || clock::now() - disk_healed_at_ < 10s;
}

// -- clocks and configuration -----------------------------------------------------

void storm::set_clock() {
  static constexpr std::chrono::seconds steps[] = {-3600s, -10s, -1s, 0s, 1s, 10s, 3600s};
  const auto by = steps[static_cast<std::size_t>(below(std::size(steps)))];
  note("the wall clock is off by " + std::to_string(by.count()) + " s from now on");
  ++done_["clock step"];
  faults_.shift_wall(by);
}

std::string storm::config_text() {
  std::string text = "[queues.normal]\ndefault = true\n";
  text += "[queues.urgent]\npriority = 100\n";
  if (plan_.preempts)
    text += "preempts = [\"normal\"]\n";
  std::set<int> others; // of different names
  for (int i = 0, count = below(4); i < count; ++i)
    others.insert(below(40));
  for (auto other : others)
    text += "[queues.more" + std::to_string(other) + "]\npriority = " + std::to_string(below(50)) +
            "\n";
  return text;
}

void storm::reload_config() {
  cluster_.configure(config_text());
  note("another configuration");
  ++done_["configuration"];
  ask({"config", "reload"}, "config reload", [](const outcome&) {});
}

} // namespace troupe::storm
