// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "catch.hpp"
#include "eventually.hpp"
#include "tests/fault/shim/faults.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <sys/types.h>
#include <vector>

// A private cluster in a directory of its own, driven by the real programs alone: what a user can
// do and see, and nothing that a user cannot.

namespace troupe::test {

using namespace std::chrono_literals;
using words = std::vector<std::string>;
using json = nlohmann::json;

/// What a program left: its exit code (128 + N when signal N ended it), its words.
struct outcome {
  int exit = -1;
  std::string out;
  std::string err;
};

/// A program that runs beside the test; its words go to files, so that it never waits for us.
class running_program {
public:
  /// `input` (-1: /dev/null) stays the caller's.
  running_program(const words& command, const std::string& folder,
                  const std::vector<std::string>& environment, int input = -1);
  ~running_program();
  running_program(running_program&& other) noexcept;
  running_program& operator=(running_program&&) = delete;

  pid_t pid() const { return pid_; }
  /// What it has said until now.
  std::string out() const;
  std::string err() const;
  bool ended();
  void signal(int number);
  /// Waits for its end; past `deadline` it is killed and its exit is -1.
  outcome wait(std::chrono::milliseconds deadline = 30s);

private:
  void take_status(int status);
  pid_t pid_ = 0;
  int exit_ = -1;
  std::string out_path_;
  std::string err_path_;
};

/// What a cluster is started as.
struct cluster_shape {
  int nodes = 2;
  int cores = 2;
  /// Straight to trouped, as its supervisor would; empty: by `troupe up`.
  words daemon_options = {};
  std::string state = {};  ///< where its state is; empty: a directory of the test's own
  std::string config = {}; ///< what its troupe.toml says; empty: there is none
  /// Where its programs get their faults from; null: they are as installed.
  const faults* with_faults = nullptr;
  words before_up = {}; ///< what `troupe up` is started by: unshare and its options, say
};

class test_cluster {
public:
  explicit test_cluster(cluster_shape how = {});
  ~test_cluster();
  test_cluster(const test_cluster&) = delete;
  test_cluster& operator=(const test_cluster&) = delete;

  /// Starts it (again), and fails the test if that fails.
  void up();
  outcome try_up();
  /// `troupe` and these words, in the work directory; waited for.
  outcome troupe(const words& arguments, std::chrono::milliseconds deadline = 30s);
  /// The same with --json, parsed; fails the test where it is not one valid value.
  json ask(words arguments);
  running_program start(const words& arguments, int input = -1);
  /// Submits and answers the id, which is all that `submit` may print.
  std::string submit(words arguments);
  /// `sh -c script` with options before it.
  std::string submit_shell(words options, const std::string& script);
  outcome run_shell(words options, const std::string& script);

  pid_t trouped() const;
  pid_t launcher() const;
  /// kill -9, and waits until it is gone.
  void kill_trouped();
  void kill_launcher();
  /// Waits for the cluster's own end after a signal to trouped.
  void end_trouped(int signal);

  /// The state of a job, or of one element, as `show` has it; "" where there is none.
  std::string state_of(const std::string& id);
  /// Waits until that job is in that state.
  bool reaches(const std::string& id, const std::string& state,
               std::chrono::milliseconds deadline = 20s);
  /// Waits by `troupe wait`, and answers what it said.
  outcome wait(const std::string& id);
  json row_of(const std::string& id);

  const std::string& work() const { return work_; }
  const std::string& state() const { return state_; }
  std::string path(const std::string& name) const { return work_ + "/" + name; }
  std::string file(const std::string& name) const;
  /// Writes the state directory's troupe.toml.
  void configure(const std::string& text) const;
  void write(const std::string& name, const std::string& text, int mode = 0644) const;
  void set_environment(const std::string& entry) { environment_.push_back(entry); }
  const std::vector<std::string>& environment() const { return environment_; }

  /// Processes of jobs: they carry this cluster's state directory and the mark of a job.
  std::vector<pid_t> job_processes() const;
  /// Everything of this cluster that is alive, daemons too.
  std::vector<pid_t> processes() const;

private:
  cluster_shape how_;
  std::string programs_;
  std::string folder_;
  std::string state_;
  std::string work_;
  std::vector<std::string> environment_;
};

bool is_alive(pid_t pid);
std::string read_file(const std::string& path);
std::vector<std::string> lines_of(const std::string& text);

/// `text` has each number from `first` to `last` in a line of its own, once, whatever their order.
void check_each_once(const std::string& text, int first, int last);
/// Kills and waits until it is gone.
void kill_and_wait(pid_t pid);

} // namespace troupe::test
