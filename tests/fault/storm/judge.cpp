// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm/storm.hpp"

#include <algorithm>
#include <fstream>
#include <unistd.h>

// What must hold when all is over: what the cluster says, beside what the tasks wrote down.

namespace troupe::storm {

namespace {

/// Processor time of a process until now, in clock ticks; its memory, in MB.
std::int64_t ticks_of(pid_t pid) {
  const auto stat = test::read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');
  if (name_end == std::string::npos)
    return 0;
  std::istringstream in{stat.substr(name_end + 2)};
  std::string skipped;
  for (int i = 0; i < 11; ++i)
    in >> skipped;
  std::int64_t user = 0, system = 0;
  in >> user >> system;
  return user + system;
}

std::int64_t memory_mb(pid_t pid) {
  std::istringstream in{test::read_file("/proc/" + std::to_string(pid) + "/statm")};
  std::int64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE) >> 20;
}

constexpr std::int64_t memory_mb_max = 250;
constexpr int ticks_at_rest_max = 40; // of 200, in two seconds

} // namespace

void storm::judge() {
  take_marks();
  const auto history = cluster_.troupe({"history", "--json", "--limit", "20000"}, 60s);
  const auto rows = test::json::parse(history.out, nullptr, false);
  if (history.exit != 0 || rows.is_discarded())
    return broken("history is readable", history.err);
  std::map<std::string, std::vector<test::json>> by_name;
  for (const auto& row : rows["rows"])
    by_name[row["name"].get<std::string>()].push_back(row);
  for (auto& [number, each] : submissions_) {
    if (each.judged)
      continue;
    const auto& found = by_name["s" + std::to_string(number)];
    if (found.size() > 1)
      broken("what was submitted once is one job", describe(each));
    if (found.empty() && each.said == submission::answer::taken)
      broken("what was acknowledged is there for ever", describe(each));
    if (!found.empty() && each.said == submission::answer::refused)
      broken("what was refused never runs", describe(each) + "\n  refused: " + each.error);
    if (!found.empty())
      judge(each, found.front());
    each.judged = true;
    each.ended = true;
  }
  judge_rest();
}

void storm::judge(submission& what, const test::json& row) {
  what.job = std::to_string(row["job"].get<std::uint64_t>());
  judge_nothing_runs(what);
  if (what.elements.empty()) {
    judge_lone(what, "-", row["state"].get<std::string>(), row["exit_code"].get<int>(),
               row["reason"].get<std::string>());
  } else {
    const auto shown = cluster_.troupe({"show", what.job, "--json"}, 60s);
    const auto view = test::json::parse(shown.out, nullptr, false);
    if (shown.exit != 0 || view.is_discarded())
      return broken("a job that ended can be shown", describe(what) + ": " + shown.err);
    std::set<int> seen;
    for (const auto& each : view["job"]["elements"]) {
      seen.insert(each["element"].get<int>());
      judge_lone(what, std::to_string(each["element"].get<int>()), each["state"].get<std::string>(),
                 each["exit_code"].get<int>(), each["reason"].get<std::string>());
    }
    // What was withdrawn before it started has no story of its own.
    for (auto element : what.elements)
      if (seen.count(element) == 0 && !what.cancelled && !what.went_down)
        broken("each element reaches an end",
               describe(what) + "\n  element " + std::to_string(element) + " has none");
  }
  judge_order(what);
  if (!what.shared_output.empty())
    judge_shared_output(what);
}

/// One element (or a lone job): how it is said to have ended, against the marks of its ranks.
void storm::judge_lone(const submission& what, const std::string& element, const std::string& state,
                       int code, const std::string& reason) {
  const auto detail = describe(what) + "\n  element " + element + " is " + state + ", code " +
                      std::to_string(code) + (reason.empty() ? "" : ": " + reason);
  int ran = 0, ended_well = 0, repeated = 0;
  for (const auto* each : books_.of(what.number)) {
    if (each->first.element != element || each->first.step != 0)
      continue;
    const auto& runs = each->second.runs;
    ran += runs.empty() ? 0 : 1;
    repeated += runs.size() > 1 ? 1 : 0;
    const auto expected = what.steps > 0 ? 0 : what.code; // a script's own mark is its first line
    if (!runs.empty() && runs.back().ended_ns != 0 && runs.back().code == expected)
      ++ended_well;
  }
  if (!what.output.empty()) {
    judge_output(what, state, detail);
  } else if (state == "completed") {
    if (what.code != 0 || ended_well != what.ranks)
      broken("what is said to have completed has run to its end",
             detail + "\n  " + std::to_string(ended_well) + " of " + std::to_string(what.ranks) +
                 " tasks wrote their end");
  } else if (state == "failed") {
    // A stream that finds no room fails its job; so does a start, when it says why; and a script
    // whose step was refused, as a submission is, says so by its code.
    const auto step_refused = what.steps > 0 && code == script_step_failed;
    // A cancel that the disk does not take is refused, and ends what runs all the same: a trouped
    // that is started before the end is kept knows of its signal only.
    const auto cancel_refused = what.cancelled && code == 0;
    const auto for_want_of_room =
        what.disk_hurt &&
        (what.by_run || step_refused || cancel_refused || (ran == 0 && !reason.empty()));
    if (!for_want_of_room && (what.code == 0 || code != what.code || ended_well == 0))
      broken("what is said to have failed has run, and failed as said",
             detail + "\n  its tasks were to end with " + std::to_string(what.code) + "; " +
                 std::to_string(ran) + " began, " + std::to_string(ended_well) + " ended so");
  } else if (state == "cancelled") {
    const auto* first = what.after != 0 ? &submissions_.at(what.after) : nullptr;
    // What has read streamed input cannot be run again, and says so.
    const auto preempted =
        what.kind == "swallow" && what.preemptable && reason.find("preempted") != std::string::npos;
    if (!what.cancelled && !what.went_down && !preempted && (first == nullptr || reason.empty()))
      broken("nothing is cancelled unasked", detail);
  } else if (state == "timed_out") {
    if (!what.limited)
      broken("nothing is ended by a limit that it has not", detail);
  } else if (state == "lost") {
    if (!what.launcher_died)
      broken("nothing is lost unless its launcher was killed", detail);
  } else {
    broken("a job that is over is in a final state", detail);
  }
  if (repeated > 0 && !what.requeues && !what.preemptable)
    broken("what may not be requeued runs once", detail);
  if (what.steps > 0 && state == "completed")
    judge_steps(what, detail);
}

/// A script that has completed has run all its steps, one after the other.
void storm::judge_steps(const submission& what, const std::string& detail) {
  int whole = 0;
  for (const auto* each : books_.of(what.number))
    if (each->first.step != 0 && !each->second.runs.empty() &&
        each->second.runs.back().ended_ns != 0)
      ++whole;
  const auto again = what.requeues || what.preemptable; // a step's number is never used again
  if (again ? whole < what.steps : whole != what.steps)
    broken("each step of a script runs once", detail + "\n  " + std::to_string(whole) + " of " +
                                                  std::to_string(what.steps) + " steps ran");
}

/// Ranks that keep no books: what they wrote is all there, once.
void storm::judge_output(const submission& what, const std::string& state,
                         const std::string& detail) {
  if (state != "completed") {
    if (!what.cancelled && !what.went_down && !what.launcher_died && !what.preemptable)
      broken("an MPI job completes unless something ends it", detail);
    return;
  }
  std::multiset<std::string> lines;
  for (const auto& each : test::lines_of(cluster_.file(what.output)))
    lines.insert(each);
  if (lines != what.lines && !what.requeues && !what.preemptable)
    broken("what is said to have completed has run to its end",
           detail + "\n  it wrote: " + cluster_.file(what.output));
}

/// What comes after something has begun after that had ended well.
void storm::judge_order(const submission& what) {
  if (what.after == 0)
    return;
  std::int64_t first_begin = 0, last_end = 0;
  for (const auto* each : books_.of(what.number))
    for (const auto& run : each->second.runs)
      first_begin = first_begin == 0 ? run.began_ns : std::min(first_begin, run.began_ns);
  // Its last run counts: what was preempted or requeued before has no end of its own.
  for (const auto* each : books_.of(what.after))
    if (!each->second.runs.empty()) {
      const auto ended = each->second.runs.back().ended_ns;
      last_end = std::max(last_end, ended == 0 ? INT64_MAX : ended);
    }
  if (first_begin != 0 && last_end > first_begin)
    broken("a dependent job begins when what it depends on has completed", describe(what));
}

void storm::judge_shared_output(const submission& what) {
  if (what.cancelled || what.went_down || what.launcher_died || what.preemptable || what.requeues)
    return;
  std::multiset<std::string> lines;
  for (const auto& each : test::lines_of(cluster_.file(what.shared_output)))
    lines.insert(each);
  for (auto element : what.elements)
    if (lines.count("element " + std::to_string(element)) != 1)
      broken("a file that elements share has all their lines",
             describe(what) + "\n  that of element " + std::to_string(element) + " is there " +
                 std::to_string(lines.count("element " + std::to_string(element))) + " times");
}

void storm::judge_nothing_runs(const submission& what) {
  for (const auto* each : books_.of(what.number))
    if (books_.lives(each->first, each->second))
      broken("nothing of a job runs after its end is told",
             each->first.text() + ": " + describe(what));
}

/// Daemons that have nothing to do do nothing, and have not grown.
void storm::judge_rest() {
  const auto trouped = cluster_.trouped();
  const auto launcher = cluster_.launcher();
  for (auto pid : cluster_.job_processes())
    broken("no process of a job is left",
           "pid " + std::to_string(pid) + ": " +
               test::read_file("/proc/" + std::to_string(pid) + "/cmdline"));
  const auto before = std::pair{ticks_of(trouped), ticks_of(launcher)};
  (void)pump_until([] { return false; }, 2s);
  for (const auto& [name, pid, ticks] :
       {std::tuple{"trouped", trouped, ticks_of(trouped) - before.first},
        std::tuple{"the launcher", launcher, ticks_of(launcher) - before.second}}) {
    if (ticks > ticks_at_rest_max)
      broken("daemons at rest use no processor",
             std::string{name} + " used " + std::to_string(ticks) + " ticks within two seconds");
    if (memory_mb(pid) > memory_mb_max)
      broken("daemons do not grow without bound",
             std::string{name} + " has " + std::to_string(memory_mb(pid)) + " MB");
  }
}

} // namespace troupe::storm
