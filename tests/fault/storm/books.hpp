// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <sys/types.h>
#include <tuple>
#include <vector>

// What the storm's tasks wrote down themselves: starts and ends, synced, in a file that nothing of
// Troupe touches; and locks that their processes hold while they live.

namespace troupe::storm {

/// One task of one submission: element "-" of a lone job, step 0 its command or script.
struct task_name {
  int submission = 0;
  std::string element = "-";
  int step = 0;
  int rank = 0;
  auto tie() const { return std::tie(submission, element, step, rank); }
  bool operator<(const task_name& other) const { return tie() < other.tie(); }
  std::string text() const;
};

/// What one task did.
struct task_story {
  struct run {
    pid_t pid = 0;
    std::int64_t began_ns = 0; ///< boot clock
    std::int64_t ended_ns = 0; ///< 0: it has not said so, killed or still running
    int code = 0;
  };
  std::string job; ///< as the first of its runs had it
  std::vector<run> runs;
  bool overlapped = false; ///< one began while another lived
  bool other_job = false;  ///< a later run was of another job
};

class books {
public:
  /// `folder` is made, with what tasks write to.
  explicit books(std::string folder);

  /// Takes what was written since the last time; the tasks it was about.
  std::vector<task_name> read();

  const std::map<task_name, task_story>& stories() const { return stories_; }
  /// The tasks of one submission.
  std::vector<const std::pair<const task_name, task_story>*> of(int submission) const;
  /// Whether a process of that task lives: it holds its lock.
  bool lives(const task_name& task, const task_story& story) const;
  const std::string& folder() const { return folder_; }
  std::size_t starts() const { return starts_; }

private:
  void take(const std::string& line, std::vector<task_name>& touched);

  std::string folder_;
  std::size_t read_bytes_ = 0;
  std::size_t starts_ = 0;
  std::string rest_; ///< a line whose end was not there yet
  std::map<task_name, task_story> stories_;
};

} // namespace troupe::storm
