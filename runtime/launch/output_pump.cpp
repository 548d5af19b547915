// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/output_pump.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::launch {

namespace {

constexpr std::size_t splice_bytes_max = 256 * 1024;

} // namespace

output_pump::output_pump(on_progress report)
    : report_{std::move(report)}, poll_{[this](std::uint64_t stream, std::uint32_t) {
        on_ready(stream);
      }} {}

expected<void> output_pump::add(std::uint64_t stream, unique_fd pipe, unique_fd file,
                                std::uint64_t limit_bytes) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0)
    return fail(errc::storage, std::string{"cannot look at a spool file: "} + std::strerror(errno));
  ::fcntl(pipe.get(), F_SETFL, ::fcntl(pipe.get(), F_GETFL) | O_NONBLOCK);
  auto what = std::make_unique<entry>();
  what->stream = stream;
  what->size = static_cast<std::uint64_t>(status.st_size);
  what->limit = limit_bytes;
  what->is_terminal = ::isatty(pipe.get()) == 1;
  what->pipe = std::move(pipe);
  what->file = std::move(file);
  std::lock_guard lock{mutex_};
  if (entries_.contains(stream))
    return {};
  if (auto added = poll_.add(stream, what->pipe.get(), EPOLLIN); !added)
    return added;
  entries_.emplace(stream, std::move(what));
  return {};
}

void output_pump::arm(entry& what, bool on) {
  if (what.armed == on)
    return;
  what.armed = on;
  // Taken out altogether: a hang-up would be reported however little is asked for.
  if (on)
    (void)poll_.add(what.stream, what.pipe.get(), EPOLLIN);
  else
    poll_.remove(what.pipe.get());
}

void output_pump::raise_limit(std::uint64_t stream, std::uint64_t limit_bytes) {
  std::lock_guard lock{mutex_};
  if (auto at = entries_.find(stream); at != entries_.end()) {
    at->second->limit = limit_bytes;
    arm(*at->second, true);
  }
}

void output_pump::remove(std::uint64_t stream) {
  std::lock_guard lock{mutex_};
  entries_.erase(stream);
}

void output_pump::on_ready(std::uint64_t id) {
  progress report{id, 0, 0, false};
  {
    const std::lock_guard lock{mutex_};
    const auto at = entries_.find(id);
    if (at == entries_.end())
      return;
    auto& what = *at->second;
    if (what.size >= what.limit)
      arm(what, false);
    else if (!(what.is_terminal ? copy_some(what, report.ended) : move_some(what, report.ended)))
      discard_some(what, report.ended);
    report.bytes = what.size;
    report.discarded = what.discarded;
    if (report.ended)
      entries_.erase(at);
  }
  report_(report);
}

/// False when the file takes nothing more.
bool output_pump::move_some(entry& what, bool& ended) {
  for (int round = 0; round < 8; ++round) {
    auto offset = static_cast<loff_t>(what.size);
    const auto room = std::min<std::uint64_t>(what.limit - what.size, splice_bytes_max);
    if (room == 0)
      return true;
    const auto moved = ::splice(what.pipe.get(), nullptr, what.file.get(), &offset, room,
                                SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (moved > 0) {
      what.size += static_cast<std::uint64_t>(moved);
      continue;
    }
    if (moved == 0) {
      ended = true;
      return true;
    }
    return errno == EAGAIN || errno == EINTR;
  }
  return true;
}

/// Of a terminal. What the disk does not take is counted.
bool output_pump::copy_some(entry& what, bool& ended) {
  std::array<char, 65'536> buffer;
  const auto room = std::min<std::uint64_t>(what.limit - what.size, buffer.size());
  const auto count = ::read(what.pipe.get(), buffer.data(), room);
  if (count <= 0) {
    // EIO: every process that had it open is gone.
    ended = count == 0 || (errno != EAGAIN && errno != EINTR);
    return true;
  }
  const auto bytes = static_cast<std::size_t>(count);
  const auto written =
      ::pwrite(what.file.get(), buffer.data(), bytes, static_cast<off_t>(what.size));
  const auto kept = written > 0 ? static_cast<std::size_t>(written) : 0;
  what.size += kept;
  what.discarded += bytes - kept;
  return true;
}

/// A full disk must not stop the job: its output is lost, and counted.
void output_pump::discard_some(entry& what, bool& ended) {
  std::array<char, 65'536> buffer;
  const auto count = ::read(what.pipe.get(), buffer.data(), buffer.size());
  if (count > 0)
    what.discarded += static_cast<std::uint64_t>(count);
  else if (count == 0)
    ended = true;
}

} // namespace troupe::launch
