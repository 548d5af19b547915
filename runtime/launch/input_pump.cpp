// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/input_pump.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::launch {

namespace {

/// Not written yet, at most, before nothing more is taken.
constexpr std::uint64_t ahead_bytes_max = 1u << 20;
constexpr std::uint64_t punch_bytes = 1u << 20;

} // namespace

input_pump::input_pump(on_progress report)
    : report_{std::move(report)}, poll_{[this](std::uint64_t stream, std::uint32_t events) {
        on_ready(stream, events);
      }} {}

expected<void> input_pump::add(std::uint64_t stream, unique_fd to, unique_fd store) {
  struct stat status {};
  const auto position = ::lseek(store.get(), 0, SEEK_CUR);
  if (position < 0 || ::fstat(store.get(), &status) != 0)
    return fail(errc::internal,
                std::string{"cannot look at a stream's store: "} + std::strerror(errno));
  ::fcntl(to.get(), F_SETFL, ::fcntl(to.get(), F_GETFL) | O_NONBLOCK);
  auto what = std::make_unique<entry>();
  what->stream = stream;
  what->given = static_cast<std::uint64_t>(status.st_size);
  what->written = static_cast<std::uint64_t>(position);
  what->is_terminal = ::isatty(to.get()) == 1;
  what->to = std::move(to);
  what->store = std::move(store);
  std::lock_guard lock{mutex_};
  if (entries_.contains(stream))
    return {};
  // Even with nothing to write it hears of a reader that has gone.
  if (auto added = poll_.add(stream, what->to.get(), 0); !added)
    return added;
  arm(*what);
  entries_.emplace(stream, std::move(what));
  return {};
}

expected<input_pump::taken> input_pump::give(std::uint64_t stream, std::uint64_t offset,
                                             byte_view data) {
  std::lock_guard lock{mutex_};
  const auto at = entries_.find(stream);
  if (at == entries_.end())
    return taken{0, true, true};
  auto& what = *at->second;
  if (offset > what.given)
    return fail(errc::invalid, "input is missing: " + std::to_string(what.given) +
                                   " bytes have come, these begin after " + std::to_string(offset));
  const auto known = what.given - offset;
  if (!what.closed && known < data.size() && what.given - what.written < ahead_bytes_max) {
    const auto fresh = data.subspan(known);
    const auto count =
        ::pwrite(what.store.get(), fresh.data(), fresh.size(), static_cast<off_t>(what.given));
    if (count < 0)
      return fail(errc::storage, std::string{"input cannot be kept: "} + std::strerror(errno));
    what.given += static_cast<std::uint64_t>(count);
    move_some(what);
  }
  return taken{what.given, what.written == what.given, what.closed};
}

void input_pump::resize(std::uint64_t stream, std::uint16_t rows, std::uint16_t columns) {
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  std::lock_guard lock{mutex_};
  if (auto at = entries_.find(stream); at != entries_.end() && at->second->is_terminal)
    ::ioctl(at->second->to.get(), TIOCSWINSZ, &size);
}

void input_pump::remove(std::uint64_t stream) {
  std::lock_guard lock{mutex_};
  entries_.erase(stream);
}

void input_pump::on_ready(std::uint64_t id, std::uint32_t events) {
  {
    const std::lock_guard lock{mutex_};
    const auto at = entries_.find(id);
    if (at == entries_.end())
      return;
    if ((events & EPOLLOUT) != 0)
      move_some(*at->second);
    else
      close(*at->second);
  }
  report_(id);
}

/// Bytes and position go together, within the kernel.
void input_pump::move_some(entry& what) {
  while (what.written < what.given && !what.closed) {
    const auto room = what.given - what.written;
    const auto moved = what.is_terminal
                           ? ::sendfile(what.to.get(), what.store.get(), nullptr, room)
                           : ::splice(what.store.get(), nullptr, what.to.get(), nullptr, room,
                                      SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (moved > 0)
      what.written += static_cast<std::uint64_t>(moved);
    else if (moved == 0 || errno == EAGAIN)
      break;
    else if (errno != EINTR)
      close(what);
  }
  punch(what);
  arm(what);
}

/// Gives back what the reader has read. Not what is in the pipe still: those are the store's own
/// pages, and punching would clear them.
void input_pump::punch(entry& what) {
  int unread = 0;
  if (!what.is_terminal && ::ioctl(what.to.get(), FIONREAD, &unread) != 0)
    return;
  const auto read = what.written - std::min(what.written, static_cast<std::uint64_t>(unread));
  const auto upto = read / punch_bytes * punch_bytes;
  if (upto <= what.punched)
    return;
  ::fallocate(what.store.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(what.punched), static_cast<off_t>(upto - what.punched));
  what.punched = upto;
}

void input_pump::close(entry& what) {
  poll_.remove(what.to.get());
  what.closed = true;
}

void input_pump::arm(entry& what) {
  const bool on = what.written < what.given;
  if (what.closed || what.armed == on)
    return;
  what.armed = on;
  poll_.change(what.stream, what.to.get(), on ? std::uint32_t{EPOLLOUT} : 0U);
}

} // namespace troupe::launch
