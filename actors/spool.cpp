// SPDX-License-Identifier: Apache-2.0
#include "actors/spool.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe::actors {

namespace files = std::filesystem;

namespace {

template <class T>
std::optional<T> number_of(const files::path& name) {
  const auto text = name.filename().string();
  T value{};
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (bad != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return value;
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
    return fail(errc::storage,
                fmt::format("cannot open the spool file {}: {}", path, std::strerror(errno)));
  return fd;
}

unique_fd spool::open_for_reading(std::uint32_t uid, const stream_key& key) const {
  return unique_fd{::open(path_of(uid, key).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
}

std::optional<std::uint32_t> spool::owner_of(job_id job) const {
  std::error_code ignored;
  for (const auto& owner : files::directory_iterator{directory_, ignored})
    if (files::exists(owner.path() / std::to_string(job), ignored))
      return number_of<std::uint32_t>(owner.path());
  return std::nullopt;
}

void spool::hold(job_id job) {
  std::lock_guard lock{mutex_};
  ++held_[job];
}

void spool::release(job_id job) {
  std::lock_guard lock{mutex_};
  if (auto at = held_.find(job); at != held_.end() && --at->second == 0)
    held_.erase(at);
  if (++ends_ < limits_.ends_between_trims || std::exchange(trimming_, true))
    return;
  ends_ = 0;
  std::thread{[self = shared_from_this()] {
    self->trim();
    std::lock_guard done{self->mutex_};
    self->trimming_ = false;
  }}.detach();
}

bool spool::is_held(job_id job) const {
  std::lock_guard lock{mutex_};
  return held_.contains(job);
}

void spool::trim(const std::set<job_id>& unfinished) {
  struct kept {
    job_id job;
    files::path where;
    std::uint64_t bytes;
  };
  std::vector<kept> jobs;
  std::uint64_t bytes = 0, count = 0;
  std::error_code ignored;
  for (const auto& owner : files::directory_iterator{directory_, ignored}) {
    for (const auto& job : files::directory_iterator{owner.path(), ignored}) {
      const auto id = number_of<job_id>(job.path());
      if (!id)
        continue;
      std::uint64_t size = 0;
      for (const auto& file : files::directory_iterator{job.path(), ignored}) {
        const auto length = file.file_size(ignored);
        size += ignored ? 0 : length;
      }
      bytes += size;
      ++count;
      jobs.push_back({*id, job.path(), size});
    }
  }
  std::sort(jobs.begin(), jobs.end(),
            [](const kept& left, const kept& right) { return left.job < right.job; });
  for (const auto& oldest : jobs) {
    if (bytes <= limits_.bytes_max && count <= limits_.jobs_max)
      break;
    if (is_held(oldest.job) || unfinished.contains(oldest.job))
      continue;
    files::remove_all(oldest.where, ignored);
    bytes -= oldest.bytes;
    --count;
  }
}

bytes read_at(int fd, std::uint64_t offset, std::size_t bytes_max) {
  bytes result(bytes_max);
  const auto count = ::pread(fd, result.data(), result.size(), static_cast<off_t>(offset));
  result.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return result;
}

} // namespace troupe::actors
