// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm/bytes.hpp"
#include "tests/fault/storm/storm.hpp"

#include <fcntl.h>
#include <fstream>
#include <unistd.h>

// What people do meanwhile.

namespace troupe::storm {

namespace {

constexpr int unfinished_max = 40;

#ifdef TROUPE_MPI_PROGRAMS
constexpr const char* mpi_programs = TROUPE_MPI_PROGRAMS;
constexpr int mpi_weight = 2;
#else
constexpr const char* mpi_programs = "";
constexpr int mpi_weight = 0;
#endif

std::string number(int value) {
  return std::to_string(value);
}

} // namespace

void storm::work() {
  struct kind {
    int weight;
    void (storm::*act)();
  };
  static constexpr kind kinds[] = {{30, &storm::submit_single},
                                   {12, &storm::submit_array},
                                   {5, &storm::submit_shared_array},
                                   {8, &storm::submit_wide},
                                   {8, &storm::submit_dependent},
                                   {6, &storm::submit_script},
                                   {2, &storm::submit_limited},
                                   {2, &storm::submit_stubborn},
                                   {6, &storm::run_stream},
                                   {mpi_weight, &storm::submit_mpi},
                                   {4, &storm::run_swallow},
                                   {8, &storm::cancel_one},
                                   {5, &storm::hold_or_release},
                                   {4, &storm::modify_one},
                                   {10, &storm::look}};
  int open = 0;
  for (const auto& [ignored, each] : submissions_)
    open += each.ended || each.said == submission::answer::refused ? 0 : 1;
  int all = 0;
  for (const auto& each : kinds)
    all += each.weight;
  auto chosen = below(all);
  for (const auto& each : kinds) {
    if (chosen < each.weight) {
      // With much open already only looking and ending is left to do.
      const auto adds = each.act != &storm::cancel_one && each.act != &storm::look;
      if (open < unfinished_max || !adds)
        (this->*each.act)();
      else
        look();
      return;
    }
    chosen -= each.weight;
  }
}

// -- asking -------------------------------------------------------------------

submission& storm::begin(std::string kind) {
  const auto next = static_cast<int>(submissions_.size()) + 1;
  auto& fresh = submissions_[next];
  fresh.number = next;
  fresh.disk_hurt = disk_is_hurt();
  ++done_[kind];
  fresh.kind = std::move(kind);
  return fresh;
}

words storm::task(const submission& of, words what) const {
  words command{TROUPE_STORM_TASK, books_.folder(), number(of.number), number(of.code)};
  command.insert(command.end(), what.begin(), what.end());
  return command;
}

void storm::submit(submission& what, words options, words command) {
  words all{"submit", "-J", "s" + number(what.number)};
  if (one_in(3)) {
    what.requeues = true;
    all.push_back("--requeue");
  }
  if (plan_.preempts) {
    if (one_in(6))
      all.insert(all.end(), {"-q", "urgent"});
    else
      what.preemptable = true;
  }
  if (one_in(15))
    all.push_back("--hold");
  all.insert(all.end(), options.begin(), options.end());
  all.insert(all.end(), command.begin(), command.end());
  what.command = all;
  note("submission " + number(what.number) + ": " + what.kind);
  ask(all, "submit of submission " + number(what.number),
      [this, which = what.number](const outcome& said) {
        take_answer(submissions_.at(which), said);
      });
}

void storm::take_answer(submission& what, const outcome& said) {
  if (said.exit == 0) {
    what.said = submission::answer::taken;
    what.job = said.out.substr(0, said.out.find('\n'));
    note("submission " + number(what.number) + " is job " + what.job);
    return;
  }
  what.error = said.err;
  // 75: the cluster could not be reached, or was gone before it answered.
  what.said = said.exit == 75 ? submission::answer::unknown : submission::answer::refused;
  note("submission " + number(what.number) + " ended with " + number(said.exit) + ": " + said.err);
}

void storm::run_in_front(submission& what, words options, words command,
                         std::function<void(const outcome&)> check) {
  words all{"run", "-J", "s" + number(what.number)};
  all.insert(all.end(), options.begin(), options.end());
  all.insert(all.end(), command.begin(), command.end());
  what.command = all;
  what.by_run = true;
  what.preemptable = plan_.preempts;
  what.said = submission::answer::unknown;
  note("submission " + number(what.number) + ": " + what.kind);
  const auto input =
      what.kind == "swallow"
          ? ::open(cluster_.path("input" + number(what.number)).c_str(), O_RDONLY | O_CLOEXEC)
          : -1;
  clients_.push_back({cluster_.start(all, input), "run of submission " + number(what.number),
                      std::chrono::steady_clock::now(), 240s,
                      [this, which = what.number, check](const outcome& said) {
                        auto& it = submissions_.at(which);
                        note("run of submission " + number(which) + " ended with " +
                             number(said.exit) + (said.err.empty() ? "" : ": " + said.err));
                        const auto hurt = it.cancelled || it.went_down || it.launcher_died ||
                                          it.preemptable || said.exit == 75;
                        if (said.exit == it.code)
                          check(said);
                        else if (!hurt && !disk_was_hurt_lately())
                          broken("run ends with its job's code", describe(it) + "\n  ended with " +
                                                                     number(said.exit) + ": " +
                                                                     said.err);
                      }});
  if (input >= 0)
    ::close(input);
}

submission* storm::any_job(const std::function<bool(const submission&)>& fits) {
  std::vector<submission*> all;
  for (auto& [ignored, each] : submissions_)
    if (!each.job.empty() && !each.ended && fits(each))
      all.push_back(&each);
  return all.empty() ? nullptr : all[static_cast<std::size_t>(below(static_cast<int>(all.size())))];
}

// -- kinds of jobs ------------------------------------------------------------

void storm::submit_single() {
  auto& it = begin("single job");
  it.code = one_in(5) ? 3 : 0;
  submit(it, {"-o", "/dev/null"}, task(it, {"run", number(below(600))}));
}

void storm::submit_array() {
  auto& it = begin("array");
  const auto count = 2 + below(30);
  for (int i = 1; i <= count; ++i)
    it.elements.push_back(i);
  it.code = one_in(6) ? 4 : 0;
  const auto range = "1-" + number(count) + (one_in(2) ? "%" + number(1 + below(4)) : "");
  submit(it, {"-a", range, "-o", "/dev/null"}, task(it, {"run", number(below(60))}));
}

void storm::submit_shared_array() {
  auto& it = begin("array with one output file");
  const auto count = 2 + below(12);
  for (int i = 1; i <= count; ++i)
    it.elements.push_back(i);
  it.shared_output = "shared" + number(it.number);
  submit(it, {"-a", "1-" + number(count) + "%2", "-o", it.shared_output},
         task(it, {"line", "element"}));
}

void storm::submit_wide() {
  auto& it = begin("job of several tasks");
  it.ranks = 2 + below(2);
  it.code = one_in(6) ? 5 : 0;
  words options{"-n", number(it.ranks), "-o", "/dev/null"};
  if (one_in(2) && nodes_ > 1)
    options.insert(options.end(), {"-N", "2"});
  submit(it, options, task(it, {"run", number(below(400))}));
}

void storm::submit_dependent() {
  const auto* first = any_job([](const submission& s) { return !s.limited && s.code == 0; });
  if (first == nullptr)
    return;
  const auto after = first->number;
  const auto job = first->job;
  auto& it = begin("dependent job");
  it.after = after;
  submit(it, {"-d", "afterok:" + job, "-o", "/dev/null"}, task(it, {"run", number(below(100))}));
}

void storm::submit_script() {
  auto& it = begin("script with steps");
  it.code = one_in(5) ? 6 : 0;
  it.steps = 1 + below(3);
  std::string text = "#!/bin/sh\n";
  const auto line = [&](const words& command) {
    std::string all;
    for (const auto& each : command)
      all += each + " ";
    return all;
  };
  words own = task(it, {"run", "5"});
  own[3] = "0";
  text += line(own) + "|| exit 80\n";
  for (int i = 0; i < it.steps; ++i) {
    words step = task(it, {"run", number(below(60))});
    step[3] = "0";
    text += "troupe run " + line(step) + "|| exit " + number(script_step_failed) + "\n";
  }
  text += "exit " + number(it.code) + "\n";
  const auto name = "script" + number(it.number) + ".sh";
  cluster_.write(name, text, 0755);
  submit(it, {"-o", name + ".out"}, {"./" + name});
}

void storm::submit_limited() {
  auto& it = begin("job past its limit");
  it.limited = true;
  submit(it, {"-t", "1s", "--grace", "1s", "-o", "/dev/null"}, task(it, {"run", "60000"}));
}

void storm::submit_stubborn() {
  auto& it = begin("job that takes its time to end");
  it.code = 7;
  submit(it, {"--grace", "3s", "-t", "5s", "-o", "/dev/null"},
         task(it, {"stubborn", number(200 + below(1200))}));
  it.limited = true;
}

/// A ring over the nodes, or ranks that spawn others.
void storm::submit_mpi() {
  auto& it = begin("MPI job");
  it.output = "mpi" + number(it.number) + ".out";
  words options{"-n", "2", "-o", it.output, "--env", "OMPI_MCA_coll=^han"};
  const auto spawns = one_in(2);
  if (spawns) {
    it.lines = {"child 0: sum 6 of 4", "child 1: sum 6 of 4", "parent 0: sum 6 of 4",
                "parent 1: sum 6 of 4"};
  } else {
    it.lines = {"rank 0: good", "rank 1: good"};
    if (nodes_ > 1)
      options.insert(options.end(), {"-N", "2"});
  }
  submit(it, options, {std::string{mpi_programs} + (spawns ? "/spawn.openmpi" : "/ring.openmpi")});
}

/// Known: what waits in a pipe for a spool whose disk is full goes when trouped and the launcher
/// are killed together, and nothing tells that it was there.
static bool may_be_cut_off(const submission& what, const outcome& said) {
  return what.disk_hurt && said.err.find("the cluster went away") != std::string::npos;
}

void storm::run_stream() {
  auto& it = begin("stream");
  it.code = one_in(4) ? 8 : 0;
  const auto bytes = std::size_t{1000} + static_cast<std::size_t>(below(300'000));
  const auto seed = static_cast<unsigned>(it.number);
  run_in_front(it, {}, task(it, {"stream", std::to_string(bytes), number(it.number)}),
               [this, bytes, seed, which = it.number](const outcome& said) {
                 // What a run wrote that was preempted comes before.
                 auto out = std::string_view{said.out};
                 if (submissions_.at(which).preemptable)
                   out.remove_prefix(out.size() - std::min(out.size(), bytes));
                 byte_hash hash;
                 hash.add(out.data(), out.size());
                 const auto expected = text_of_bytes(seed, bytes);
                 if (hash.text() != expected && !may_be_cut_off(submissions_.at(which), said))
                   broken("a stream arrives whole, or its run fails",
                          describe(submissions_.at(which)) + "\n  expected " + expected + ", got " +
                              hash.text());
               });
}

void storm::run_swallow() {
  auto& it = begin("swallow");
  const auto bytes = std::size_t{1} + static_cast<std::size_t>(below(400'000));
  const auto seed = static_cast<unsigned>(it.number);
  std::string text(bytes, '\0');
  byte_source{seed}.fill(text.data(), bytes);
  cluster_.write("input" + number(it.number), text);
  run_in_front(it, {}, task(it, {"swallow"}),
               [this, bytes, seed, which = it.number](const outcome& said) {
                 const auto expected = text_of_bytes(seed, bytes) + "\n";
                 if (said.out != expected && !may_be_cut_off(submissions_.at(which), said))
                   broken("an input arrives whole, or its run fails",
                          describe(submissions_.at(which)) + "\n  expected " + expected + ", got " +
                              said.out);
               });
}

// -- what is done to jobs -------------------------------------------------------

void storm::cancel_one() {
  auto* it = any_job([](const submission& s) { return !s.cancelled; });
  if (it == nullptr)
    return;
  it->cancelled = true;
  ++done_["cancel"];
  note("cancel job " + it->job);
  ask({"cancel", it->job}, "cancel " + it->job, [](const outcome&) {});
}

void storm::hold_or_release() {
  auto* it = any_job([](const submission&) { return true; });
  if (it == nullptr)
    return;
  const auto* verb = one_in(2) ? "hold" : "release";
  note(std::string{verb} + " job " + it->job);
  ask({verb, it->job}, std::string{verb} + " " + it->job, [](const outcome&) {});
}

void storm::modify_one() {
  auto* it = any_job([](const submission&) { return true; });
  if (it == nullptr)
    return;
  ask({"modify", it->job, "--nice", number(below(100))}, "modify " + it->job,
      [](const outcome&) {});
}

void storm::look() {
  auto* it = any_job([](const submission& s) { return !s.by_run; });
  if (it != nullptr && one_in(3)) {
    // Who waits is told the end; nothing of the job may run from then on.
    ask(
        {"wait", it->job}, "wait " + it->job,
        [this, which = it->number](const outcome& said) {
          if (said.exit != 0 && said.exit != 1)
            return;
          auto& job = submissions_.at(which);
          if (said.out.find(job.job) != std::string::npos)
            judge_nothing_runs(job);
        },
        300s);
    return;
  }
  static const std::vector<words> questions{
      {"queue"}, {"nodes"}, {"queues"}, {"history", "--limit", "20"}, {"queue", "--json"}};
  auto asked = questions[static_cast<std::size_t>(below(static_cast<int>(questions.size())))];
  if (it != nullptr && one_in(3))
    asked = one_in(2) ? words{"show", it->job} : words{"why", it->job};
  ask(asked, asked.front(), [](const outcome&) {});
}

} // namespace troupe::storm
