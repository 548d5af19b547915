// SPDX-License-Identifier: Apache-2.0
#include "actors/spool.hpp"

#include "base/thread.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe::actors {

namespace {

template <class T>
std::optional<T> number_of(const std::string& text) {
  T value{};
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (bad != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

struct close_directory {
  void operator()(DIR* one) const { ::closedir(one); }
};

/// The names in a directory, until `visit` answers false.
template <class Visit>
void each_entry(const std::string& directory, Visit visit) {
  const std::unique_ptr<DIR, close_directory> list{::opendir(directory.c_str())};
  if (!list)
    return;
  while (const auto* one = ::readdir(list.get())) {
    const std::string name{one->d_name};
    if (name != "." && name != ".." && !visit(name))
      return;
  }
}

/// A job's directory: it has files alone.
void remove_files(const std::string& directory) {
  each_entry(directory, [&](const std::string& file) {
    ::unlink((directory + "/" + file).c_str());
    return true;
  });
  ::rmdir(directory.c_str());
}

} // namespace

std::string spool::path_of(std::uint32_t uid, const stream_key& key) const {
  return fmt::format("{}/{}/{}/{}.{}.{}.{}.{}", directory_, uid, key.job, key.incarnation, key.step,
                     key.element, key.rank, key.error_stream ? "err" : "out");
}

expected<unique_fd> spool::open_for_writing(std::uint32_t uid, const stream_key& key) const {
  const auto owner = fmt::format("{}/{}", directory_, uid);
  const auto job = fmt::format("{}/{}", owner, key.job);
  for (const auto* each : {&owner, &job})
    if (::mkdir(each->c_str(), 0700) != 0 && errno != EEXIST)
      return fail(errc::storage, fmt::format("cannot make the spool directory {}: {}", *each,
                                             std::strerror(errno)));
  const auto path = path_of(uid, key);
  unique_fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!fd)
    return fail(errno == EMFILE || errno == ENFILE || errno == ENOMEM ? errc::exhausted
                                                                      : errc::storage,
                fmt::format("cannot open the spool file {}: {}", path, std::strerror(errno)));
  return fd;
}

unique_fd spool::open_for_reading(std::uint32_t uid, const stream_key& key) const {
  return unique_fd{::open(path_of(uid, key).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
}

std::optional<std::uint32_t> spool::owner_of(job_id job) const {
  std::optional<std::uint32_t> found;
  each_entry(directory_, [&](const std::string& owner) {
    struct stat there {};
    if (::stat(fmt::format("{}/{}/{}", directory_, owner, job).c_str(), &there) == 0)
      found = number_of<std::uint32_t>(owner);
    return !found;
  });
  return found;
}

job_id spool::newest_job() const {
  job_id newest = 0;
  each_entry(directory_, [&](const std::string& owner) {
    each_entry(directory_ + "/" + owner, [&](const std::string& job) {
      newest = std::max(newest, number_of<job_id>(job).value_or(0));
      return true;
    });
    return true;
  });
  return newest;
}

void spool::hold(job_id job) {
  std::lock_guard lock{mutex_};
  ++held_[job];
}

void spool::release(job_id job) {
  std::lock_guard lock{mutex_};
  if (auto at = held_.find(job); at != held_.end() && --at->second == 0)
    held_.erase(at);
  if (++ends_ < limits_.ends_between_trims)
    return;
  start_trimming({});
}

void spool::trim_soon(std::set<job_id> unfinished) {
  std::lock_guard lock{mutex_};
  start_trimming(std::move(unfinished));
}

/// With the lock held.
void spool::start_trimming(std::set<job_id> unfinished) {
  if (std::exchange(trimming_, true))
    return;
  auto thread = make_thread("trimming the spool",
                            [self = shared_from_this(), unfinished = std::move(unfinished)] {
                              self->trim(unfinished);
                              const std::lock_guard done{self->mutex_};
                              self->trimming_ = false;
                            });
  if (thread) {
    thread->detach();
    ends_ = 0;
  } else {
    trimming_ = false; // with the next end
  }
}

bool spool::is_held(job_id job) const {
  std::lock_guard lock{mutex_};
  return held_.contains(job);
}

void spool::trim(const std::set<job_id>& unfinished) {
  struct kept {
    job_id job;
    std::string where;
    std::uint64_t bytes;
  };
  std::vector<kept> jobs;
  std::uint64_t bytes = 0, count = 0;
  each_entry(directory_, [&](const std::string& owner) {
    const auto of_owner = directory_ + "/" + owner;
    each_entry(of_owner, [&](const std::string& job) {
      const auto id = number_of<job_id>(job);
      if (!id)
        return true;
      const auto where = of_owner + "/" + job;
      std::uint64_t size = 0;
      each_entry(where, [&](const std::string& file) {
        struct stat there {};
        if (::lstat((where + "/" + file).c_str(), &there) == 0)
          size += static_cast<std::uint64_t>(there.st_size);
        return true;
      });
      bytes += size;
      ++count;
      jobs.push_back({*id, where, size});
      return true;
    });
    return true;
  });
  std::sort(jobs.begin(), jobs.end(),
            [](const kept& left, const kept& right) { return left.job < right.job; });
  for (const auto& oldest : jobs) {
    if (bytes <= limits_.bytes_max && count <= limits_.jobs_max)
      break;
    if (is_held(oldest.job) || unfinished.contains(oldest.job))
      continue;
    remove_files(oldest.where);
    bytes -= oldest.bytes;
    --count;
  }
}

expected<bytes> read_at(int fd, std::uint64_t offset, std::size_t bytes_max) {
  bytes result(bytes_max);
  ssize_t count = 0;
  do
    count = ::pread(fd, result.data(), result.size(), static_cast<off_t>(offset));
  while (count < 0 && errno == EINTR);
  if (count < 0)
    return fail(errc::storage, fmt::format("streamed output cannot be read from the spool: {}",
                                           std::strerror(errno)));
  result.resize(static_cast<std::size_t>(count));
  return result;
}

} // namespace troupe::actors
