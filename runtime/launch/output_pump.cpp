// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/output_pump.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::launch {

namespace {

constexpr std::size_t splice_bytes_max = 256 * 1024;
constexpr std::size_t terminal_bytes_max = 65'536;
constexpr std::chrono::milliseconds pause_min{125};
constexpr std::chrono::milliseconds pause_max{8000};

} // namespace

output_pump::output_pump(on_progress report)
    : report_{std::move(report)}, poll_{[this](std::uint64_t stream, std::uint32_t) {
        on_ready(stream);
      }} {}

expected<void> output_pump::add(std::uint64_t stream, unique_fd pipe, opener open,
                                std::uint64_t limit_bytes) {
  if (auto started = poll_.start(); !started)
    return started;
  ::fcntl(pipe.get(), F_SETFL, ::fcntl(pipe.get(), F_GETFL) | O_NONBLOCK);
  auto of = std::make_shared<entry>();
  of->stream = stream;
  of->limit = limit_bytes;
  of->is_terminal = ::isatty(pipe.get()) == 1;
  of->pipe = std::move(pipe);
  of->open = std::move(open);
  {
    const std::lock_guard lock{mutex_};
    if (!entries_.emplace(stream, std::move(of)).second)
      return {};
  }
  poke(stream);
  return {};
}

void output_pump::raise_limit(std::uint64_t stream, std::uint64_t limit_bytes) {
  {
    const std::lock_guard lock{mutex_};
    const auto at = entries_.find(stream);
    if (at == entries_.end())
      return;
    at->second->limit = limit_bytes;
  }
  poke(stream);
}

void output_pump::remove(std::uint64_t stream) {
  {
    const std::lock_guard lock{mutex_};
    const auto at = entries_.find(stream);
    if (at == entries_.end())
      return;
    // Not closed here: while somebody else has the pipe, too, it is watched until it is taken out.
    removed_.push_back(std::move(at->second));
    entries_.erase(at);
  }
  poll_.call_at(std::chrono::steady_clock::now());
}

/// The thread looks at this stream now.
void output_pump::poke(std::uint64_t stream) {
  {
    const std::lock_guard lock{mutex_};
    poked_.push_back(stream);
  }
  poll_.call_at(std::chrono::steady_clock::now());
}

// -- on the thread -------------------------------------------------------------------------------

void output_pump::on_ready(std::uint64_t id) {
  if (id == poll_thread::timer)
    on_timer();
  else
    work(id);
}

void output_pump::on_timer() {
  std::vector<std::uint64_t> due;
  std::vector<entry_ptr> removed;
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock{mutex_};
    due.swap(poked_);
    removed.swap(removed_);
  }
  for (const auto& of : removed) {
    put_off_.erase(of->stream);
    if (of->armed)
      poll_.remove(of->pipe.get());
  }
  for (const auto& [id, of] : put_off_)
    if (of->again <= now)
      due.push_back(id);
  for (const auto id : due)
    work(id);
  for (const auto& [id, of] : put_off_)
    poll_.call_at(of->again);
}

void output_pump::work(std::uint64_t id) {
  entry_ptr of;
  {
    const std::lock_guard lock{mutex_};
    if (const auto at = entries_.find(id); at != entries_.end())
      of = at->second;
  }
  if (!of)
    return;
  progress report{id, 0, false, {}};
  const auto before = of->size;
  const bool had_trouble = put_off_.erase(id) > 0;
  move(*of, report);
  report.bytes = of->size;
  if (report.ended) {
    if (of->armed)
      poll_.remove(of->pipe.get());
    const std::lock_guard lock{mutex_};
    entries_.erase(id);
  } else if (!report.trouble.empty()) {
    put_off(of);
    if (had_trouble && of->size == before)
      return; // told already
  }
  report_(report);
}

void output_pump::move(entry& of, progress& report) {
  if (!open_file(of, report.trouble))
    return;
  const bool goes_on = of.is_terminal ? copy_some(of, report) : splice_some(of, report);
  if (!goes_on || report.ended)
    return;
  of.pause = {};
  arm(of, of.size < of.limit, report.trouble);
}

bool output_pump::open_file(entry& of, std::string& trouble) {
  if (of.file)
    return true;
  auto file = of.open();
  struct stat status {};
  if (!file || ::fstat(file->get(), &status) != 0) {
    trouble = file ? std::string{"cannot look at a spool file: "} + std::strerror(errno)
                   : file.error().text;
    return false;
  }
  of.file = std::move(*file);
  of.size = static_cast<std::uint64_t>(status.st_size);
  return true;
}

/// False when the file takes nothing more.
bool output_pump::splice_some(entry& of, progress& report) {
  for (int round = 0; round < 8 && of.size < of.limit; ++round) {
    auto offset = static_cast<loff_t>(of.size);
    const auto room = std::min<std::uint64_t>(of.limit - of.size, splice_bytes_max);
    const auto moved = ::splice(of.pipe.get(), nullptr, of.file.get(), &offset, room,
                                SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (moved > 0) {
      of.size += static_cast<std::uint64_t>(moved);
      continue;
    }
    report.ended = moved == 0;
    if (moved == 0 || errno == EAGAIN || errno == EINTR)
      return true;
    report.trouble = std::string{"its spool file takes no more: "} + std::strerror(errno);
    return false;
  }
  return true;
}

/// Of a terminal. False when the file takes nothing more.
bool output_pump::copy_some(entry& of, progress& report) {
  if (!write_taken(of, report.trouble))
    return false;
  if (of.size >= of.limit)
    return true;
  of.taken.resize(std::min<std::uint64_t>(of.limit - of.size, terminal_bytes_max));
  const auto count = ::read(of.pipe.get(), of.taken.data(), of.taken.size());
  const auto why = errno;
  of.taken.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  if (count > 0)
    return write_taken(of, report.trouble);
  // EIO: every process that had it open is gone.
  report.ended = count == 0 || (why != EAGAIN && why != EINTR);
  return true;
}

bool output_pump::write_taken(entry& of, std::string& trouble) {
  while (!of.taken.empty()) {
    const auto written =
        ::pwrite(of.file.get(), of.taken.data(), of.taken.size(), static_cast<off_t>(of.size));
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0) {
      trouble = std::string{"its spool file takes no more: "} + std::strerror(errno);
      return false;
    }
    of.size += static_cast<std::uint64_t>(written);
    of.taken.erase(of.taken.begin(), of.taken.begin() + written);
  }
  return true;
}

/// Taken out altogether when not wanted: a hang-up would be reported however little is asked for.
void output_pump::arm(entry& of, bool on, std::string& trouble) {
  if (of.armed == on)
    return;
  if (!on) {
    poll_.remove(of.pipe.get());
    of.armed = false;
    return;
  }
  auto added = poll_.add(of.stream, of.pipe.get(), EPOLLIN);
  of.armed = added.has_value();
  if (!added)
    trouble = added.error().text;
}

/// It is tried again later; what is in the pipe stays there.
void output_pump::put_off(const entry_ptr& of) {
  std::string ignored;
  arm(*of, false, ignored);
  of->pause = std::clamp(of->pause * 2, pause_min, pause_max);
  of->again = std::chrono::steady_clock::now() + of->pause;
  put_off_[of->stream] = of;
  poll_.call_at(of->again);
}

} // namespace troupe::launch
