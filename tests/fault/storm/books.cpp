// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm/books.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace troupe::storm {

std::string task_name::text() const {
  return "submission " + std::to_string(submission) + ", element " + element + ", step " +
         std::to_string(step) + ", rank " + std::to_string(rank);
}

books::books(std::string folder) : folder_{std::move(folder)} {
  ::mkdir(folder_.c_str(), 0755);
  ::mkdir((folder_ + "/locks").c_str(), 0755);
}

std::vector<task_name> books::read() {
  std::vector<task_name> touched;
  std::ifstream in{folder_ + "/marks", std::ios::binary};
  if (!in)
    return touched;
  in.seekg(static_cast<std::streamoff>(read_bytes_));
  std::ostringstream fresh;
  fresh << in.rdbuf();
  const auto bytes = fresh.str();
  read_bytes_ += bytes.size();
  rest_ += bytes;
  for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
    take(rest_.substr(0, end), touched);
    rest_.erase(0, end + 1);
  }
  return touched;
}

void books::take(const std::string& line, std::vector<task_name>& touched) {
  std::istringstream in{line};
  char kind = 0;
  task_name task;
  std::string job;
  pid_t pid = 0;
  std::int64_t moment = 0;
  int code = 0;
  if (!(in >> kind >> task.submission >> job >> task.element >> task.step >> task.rank >> pid >>
        moment >> code))
    return;
  auto& story = stories_[task];
  if (story.job.empty())
    story.job = job;
  story.other_job |= story.job != job;
  if (kind == 'S') {
    ++starts_;
    story.runs.push_back({pid, moment, 0, 0});
  } else if (kind == 'D') {
    story.overlapped = true;
  } else {
    const auto own = std::find_if(story.runs.rbegin(), story.runs.rend(),
                                  [&](const task_story::run& each) { return each.pid == pid; });
    if (own != story.runs.rend()) {
      own->ended_ns = moment;
      own->code = code;
    }
  }
  touched.push_back(task);
}

std::vector<const std::pair<const task_name, task_story>*> books::of(int submission) const {
  std::vector<const std::pair<const task_name, task_story>*> result;
  task_name first;
  first.submission = submission;
  first.element = "";
  for (auto each = stories_.lower_bound(first);
       each != stories_.end() && each->first.submission == submission; ++each)
    result.push_back(&*each);
  return result;
}

bool books::lives(const task_name& task, const task_story& story) const {
  const auto path = folder_ + "/locks/" + std::to_string(task.submission) + '.' + story.job + '.' +
                    task.element + '.' + std::to_string(task.step) + '.' +
                    std::to_string(task.rank);
  const int lock = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (lock < 0)
    return false;
  const auto held = ::flock(lock, LOCK_EX | LOCK_NB) != 0;
  ::close(lock);
  return held;
}

} // namespace troupe::storm
