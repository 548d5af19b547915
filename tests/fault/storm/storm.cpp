// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm/storm.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

// The storm's own course: clients that are asked and answered, daemons that are watched, marks that
// are read as they come.

namespace troupe::storm {

namespace {

using clock = std::chrono::steady_clock;

constexpr std::size_t actions_kept = 60;
constexpr std::size_t broken_max = 12;
constexpr std::size_t clients_max = 10;

std::string seconds_since(clock::time_point begin) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - begin);
  std::ostringstream text;
  text << ms.count() / 1000 << '.' << ms.count() % 1000 / 100 << " s";
  return text.str();
}

} // namespace

storm::storm(plan how)
    : plan_{how}, random_{how.seed}, disk_{how.small_disk},
      cluster_{{.nodes = nodes_,
                .cores = cores_,
                .state = disk_ ? disk_.path() + "/state" : "",
                .with_faults = &faults_}},
      books_{cluster_.work() + "/books"}, began_{clock::now()} {
  trouped_ = cluster_.trouped();
}

bool storm::run() {
  if (plan_.preempts)
    reload_config();
  began_ = clock::now();
  next_trouble_ = began_ + 1s;
  const auto end = began_ + plan_.time;
  while (broken_.empty() && clock::now() < end) {
    (void)pump_until([&] { return clock::now() >= std::min(next_work_, next_trouble_); }, 200ms);
    if (clock::now() >= next_work_ && clients_.size() < clients_max) {
      work();
      next_work_ = clock::now() + std::chrono::milliseconds{10 + below(90)};
    }
    if (plan_.troubles != 0 && clock::now() >= next_trouble_) {
      make_trouble();
      next_trouble_ = clock::now() + std::chrono::milliseconds{200 + below(2500)};
    }
  }
  if (broken_.empty() && rest())
    judge();
  return broken_.empty();
}

/// The faults stop: everything must come to its end now.
bool storm::rest() {
  note("the faults stop");
  heal_disk();
  wait_up();
  // Nothing is held after this, nor too large: no hold is under way, and the cluster has its size.
  const auto unheld = [&] {
    return std::none_of(clients_.begin(), clients_.end(), [](const client& each) {
      return each.name.starts_with("submit") || each.name.starts_with("hold");
    });
  };
  if (!pump_until(unheld, 150s) || !broken_.empty())
    return false;
  if (nodes_ < nodes_max_ || cores_ < cores_max_)
    grow_back();
  // The ledger looks a little later at the room that there is again.
  outcome released;
  const auto release = [&] {
    released = cluster_.troupe({"release", "--all"}, 60s);
    return released.exit == 0;
  };
  if (!test::eventually(release, 30s))
    broken("once the faults stop everything is released", released.err);
  const auto over = [&] {
    if (!clients_.empty())
      return false;
    const auto queue = cluster_.troupe({"queue", "--json"});
    const auto rows = test::json::parse(queue.out, nullptr, false);
    return queue.exit == 0 && !rows.is_discarded() && rows["rows"].empty();
  };
  const auto until = clock::now() + 150s;
  bool rested = false;
  while (broken_.empty() && !rested && clock::now() < until) {
    (void)pump_until([&] { return false; }, 300ms);
    rested = over();
  }
  if (!rested && broken_.empty()) {
    std::string open;
    for (const auto& each : clients_)
      open += "\n  not answered: " + each.name;
    broken("every job reaches an end once the faults stop", cluster_.troupe({"queue"}).out + open);
  }
  return rested;
}

// -- clients ------------------------------------------------------------------

void storm::ask(words command, std::string name, std::function<void(const outcome&)> done,
                std::chrono::seconds time) {
  clients_.push_back(
      {cluster_.start(command), std::move(name), clock::now(), time, std::move(done)});
}

/// Takes what has come meanwhile. True, so that it can stand in a condition.
bool storm::pump() {
  for (auto each = clients_.begin(); each != clients_.end();) {
    const auto late = clock::now() - each->begun > each->time;
    if (!each->program.ended() && !late) {
      ++each;
      continue;
    }
    auto over = std::move(*each);
    each = clients_.erase(each);
    const auto said = over.program.wait(1ms);
    if (late)
      broken("every call is answered", "`troupe " + over.name + "` had no answer after " +
                                           std::to_string(over.time.count()) +
                                           " s; it said: " + said.out.substr(0, 200) + said.err);
    else
      over.done(said);
  }
  if (disk_is_hurt() && clock::now() >= disk_heals_at_)
    heal_disk();
  if (clock::now() >= next_watch_) {
    next_watch_ = clock::now() + 200ms;
    take_marks();
    watch_daemons();
  }
  if (clock::now() >= next_history_) {
    next_history_ = clock::now() + 1s;
    ask_what_ended();
  }
  return true;
}

bool storm::pump_until(const std::function<bool()>& condition, std::chrono::milliseconds deadline) {
  return test::eventually([&] { return pump() && condition(); }, deadline);
}

// -- watching -----------------------------------------------------------------

void storm::take_marks() {
  for (const auto& task : books_.read()) {
    const auto& story = books_.stories().at(task);
    auto& of = submissions_.at(task.submission);
    const auto detail = task.text() + " (job " + story.job + "): " + describe(of);
    if (story.overlapped)
      broken("a task runs once at a time", detail);
    if (story.other_job || (!of.job.empty() && of.job != story.job))
      broken("what was submitted once is one job", detail);
    if (of.said == submission::answer::refused)
      broken("what was refused never runs", detail + "\n  it had been told: " + of.error);
    if (story.runs.size() > 1 && !of.requeues && !of.preemptable)
      broken("what may not be requeued runs once", detail);
  }
}

/// So that what has ended is left alone, and excuses nothing later.
void storm::ask_what_ended() {
  ask({"history", "--json", "--limit", "300"}, "history", [this](const outcome& said) {
    const auto rows = test::json::parse(said.out, nullptr, false);
    if (said.exit != 0 || rows.is_discarded())
      return;
    for (const auto& row : rows["rows"]) {
      const auto name = row["name"].get<std::string>();
      const auto found = submissions_.find(name.empty() ? 0 : std::atoi(name.c_str() + 1));
      if (name.front() == 's' && found != submissions_.end())
        found->second.ended = true;
    }
  });
}

void storm::watch_daemons() {
  if (trouped_ != 0 && !test::is_alive(trouped_)) {
    trouped_ = 0;
    if (!disk_was_hurt_lately())
      broken("trouped ends only when it is told to", "its log ends: " + end_of_log());
    note("trouped has stopped over its disk");
    wait_up();
  }
  const auto log = test::read_file(cluster_.state() + "/trouped.log");
  std::istringstream fresh{log.substr(std::min(log_read_, log.size()))};
  log_read_ = log.size();
  for (std::string line; std::getline(fresh, line);)
    if (line.find(" critical ") != std::string::npos && !disk_was_hurt_lately())
      broken("no part of trouped fails", line);
}

std::string storm::end_of_log() const {
  constexpr std::size_t shown = 1500;
  const auto log = test::read_file(cluster_.state() + "/trouped.log");
  return log.substr(log.size() - std::min(log.size(), shown));
}

void storm::note(const std::string& action) {
  const auto line = seconds_since(began_) + "  " + action;
  std::ofstream{cluster_.work() + "/storm.log", std::ios::app} << line << '\n';
  actions_.push_back(line);
  if (actions_.size() > actions_kept)
    actions_.pop_front();
}

void storm::broken(const std::string& invariant, const std::string& detail) {
  if (broken_.size() >= broken_max || !told_.insert(invariant + detail).second)
    return;
  note("BROKEN: " + invariant);
  broken_.push_back("broken: " + invariant + "\n  " + detail);
}

std::string storm::report() const {
  std::string text;
  for (const auto& each : broken_)
    text += each + "\n";
  if (text.empty())
    return text;
  text += "what was done last:\n";
  for (const auto& each : actions_)
    text += "  " + each + "\n";
  return text;
}

std::string storm::summary() const {
  std::ostringstream text;
  text << submissions_.size() << " submissions, " << books_.starts() << " tasks";
  for (const auto& [name, count] : done_)
    text << ", " << count << " × " << name;
  return text.str();
}

std::string storm::describe(const submission& what) const {
  std::string text = "`troupe";
  for (const auto& each : what.command)
    text += " " + (each.size() > 200 ? each.substr(0, 200) + "…" : each);
  text += "`";
  if (!what.job.empty())
    text += ", job " + what.job;
  for (const auto& [holds, name] :
       {std::pair{what.cancelled, "cancelled"}, std::pair{what.went_down, "went through a down"},
        std::pair{what.launcher_died, "its launcher was killed"},
        std::pair{what.disk_hurt, "the disk was hurt"}})
    if (holds)
      text += std::string{", "} + name;
  return text;
}

} // namespace troupe::storm
