// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cluster_harness.hpp"
#include "tests/fault/shim/faults.hpp"
#include "tests/fault/storm/books.hpp"
#include "tests/fault/storm/small_disk.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <random>
#include <set>

// A cluster under everything at once, and books of it that are not its own. See README.md.

namespace troupe::storm {

using test::outcome;
using test::running_program;
using test::words;
using namespace std::chrono_literals;

/// How the cluster may be hurt; bits of `plan::troubles`.
enum trouble : unsigned {
  kill_trouped = 1 << 0,
  kill_launcher = 1 << 1,
  kill_both = 1 << 2,
  stop_trouped = 1 << 3,
  stop_launcher = 1 << 4,
  go_down = 1 << 5,
  reshape = 1 << 6,
  reexec = 1 << 7,
  disk = 1 << 8,
  wall_clock = 1 << 9,
  reload = 1 << 10,
  all_troubles = (1 << 11) - 1,
};

constexpr int script_step_failed = 81; ///< what a script ends with when a step of its fails

struct plan {
  unsigned seed = 0;
  std::chrono::seconds time = 50s; ///< of storm; then it must come to rest
  unsigned troubles = all_troubles;
  bool preempts = false;   ///< with a queue that may preempt the other
  bool small_disk = false; ///< the state is on a disk that can be filled up, where root is
};

/// One call of `submit` or `run`, and what is known of what it asked for.
struct submission {
  enum class answer { open, taken, refused, unknown };
  int number = 0;
  std::string kind;
  words command; ///< of troupe
  answer said = answer::open;
  std::string error;         ///< what a refusal said
  std::string job;           ///< once it is taken
  std::vector<int> elements; ///< of an array
  int ranks = 1;
  int steps = 0;       ///< of a script, beside its own task
  int code = 0;        ///< that each task ends with
  bool by_run = false; ///< `troupe run`: who asked also waits
  bool requeues = false;
  bool preemptable = false;
  bool limited = false;      ///< runs into its time limit
  int after = 0;             ///< a submission that must have completed first
  std::string shared_output; ///< a file that all elements add to
  std::string output;        ///< of an MPI job, whose ranks keep no books: what it writes to,
  std::multiset<std::string> lines; ///< and what is there when it has completed
  // What happened to it from outside.
  bool cancelled = false;
  bool went_down = false;
  bool launcher_died = false;
  bool disk_hurt = false;
  bool ended = false;  ///< the cluster has said that it has
  bool judged = false; ///< and how has been looked at
};

class storm {
public:
  explicit storm(plan how);

  /// Storms, lets it come to rest, and judges. False when something that must hold did not.
  bool run();
  /// What was broken, each with the job and what was done last; "" if nothing.
  std::string report() const;
  std::string summary() const;
  const std::string& folder() const { return cluster_.work(); }
  /// What it wrote stays, to be looked at.
  void keep() { disk_.keep(); }

private:
  struct client {
    running_program program;
    std::string name;
    std::chrono::steady_clock::time_point begun;
    std::chrono::seconds time;
    std::function<void(const outcome&)> done;
  };

  // storm.cpp
  bool pump();
  bool pump_until(const std::function<bool()>& condition, std::chrono::milliseconds deadline);
  void note(const std::string& action);
  void broken(const std::string& invariant, const std::string& detail);
  int below(int count) { return std::uniform_int_distribution<int>{0, count - 1}(random_); }
  bool one_in(int count) { return below(count) == 0; }
  void ask(words command, std::string name, std::function<void(const outcome&)> done,
           std::chrono::seconds time = 150s);
  void watch_daemons();
  void ask_what_ended();
  std::string end_of_log() const;
  void take_marks();
  bool rest();

  // work.cpp
  void work();
  submission& begin(std::string kind);
  words task(const submission& of, words what) const;
  void submit(submission& what, words options, words command);
  void run_in_front(submission& what, words options, words command,
                    std::function<void(const outcome&)> check);
  void take_answer(submission& what, const outcome& said);
  void submit_single();
  void submit_array();
  void submit_shared_array();
  void submit_wide();
  void submit_dependent();
  void submit_script();
  void submit_limited();
  void submit_stubborn();
  void submit_mpi();
  void run_stream();
  void run_swallow();
  void cancel_one();
  void hold_or_release();
  void modify_one();
  void look();
  submission* any_job(const std::function<bool(const submission&)>& fits);

  // trouble.cpp
  void make_trouble();
  void up();
  void wait_up();
  void kill_pid(pid_t pid, const std::string& name);
  void stop_for_a_while(pid_t pid, const std::string& name);
  void shut_down();
  void change_shape();
  void grow_back();
  void hurt_disk();
  bool disk_is_hurt() const { return disk_is_full_ || !disk_rules_.empty(); }
  void heal_disk();
  void set_clock();
  void reload_config();
  std::string config_text();
  bool disk_was_hurt_lately() const;

  // judge.cpp
  void judge();
  void judge(submission& what, const test::json& row);
  void judge_lone(const submission& what, const std::string& element, const std::string& state,
                  int code, const std::string& reason);
  void judge_output(const submission& what, const std::string& state, const std::string& detail);
  void judge_steps(const submission& what, const std::string& detail);
  void judge_order(const submission& what);
  void judge_shared_output(const submission& what);
  void judge_nothing_runs(const submission& what);
  void judge_rest();
  std::string describe(const submission& what) const;

  plan plan_;
  std::mt19937 random_;
  test::faults faults_;
  small_disk disk_;
  int nodes_ = 2;
  int cores_ = 3;
  int nodes_max_ = nodes_; ///< the largest that somebody may have asked for
  int cores_max_ = cores_;
  test::test_cluster cluster_;
  books books_;
  std::map<int, submission> submissions_;
  std::list<client> clients_;
  std::deque<std::string> actions_;
  std::vector<std::string> broken_;
  std::set<std::string> told_;
  std::chrono::steady_clock::time_point began_;
  std::chrono::steady_clock::time_point next_work_;
  std::chrono::steady_clock::time_point next_trouble_;
  std::chrono::steady_clock::time_point next_watch_;
  std::chrono::steady_clock::time_point next_history_;
  std::chrono::steady_clock::time_point disk_healed_at_;
  std::chrono::steady_clock::time_point disk_heals_at_;
  std::vector<int> disk_rules_;
  bool disk_is_full_ = false;
  pid_t trouped_ = 0; ///< that should be there; 0: none is expected
  std::size_t log_read_ = 0;
  std::map<std::string, int> done_; ///< how often what was done
};

} // namespace troupe::storm
