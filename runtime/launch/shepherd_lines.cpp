// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/shepherd_lines.hpp"

#include <array>
#include <cerrno>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace troupe::launch {

namespace {

constexpr int packets_per_turn = 64;

} // namespace

shepherd_lines::shepherd_lines(on_news report)
    : report_{std::move(report)}, poll_{[this](std::uint64_t line, std::uint32_t events) {
        on_ready(line, events);
      }} {}

std::uint32_t shepherd_lines::events_for(const entry& what) {
  return what.waiting.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
}

expected<void> shepherd_lines::add(std::uint64_t line, unique_fd socket) {
  std::lock_guard lock{mutex_};
  auto [at, fresh] = entries_.try_emplace(line);
  if (!fresh)
    return {}; // lent again: it is here already
  at->second = std::make_unique<entry>();
  at->second->socket = std::move(socket);
  auto added = poll_.add(line, at->second->socket.get(), EPOLLIN);
  if (!added)
    entries_.erase(at);
  return added;
}

void shepherd_lines::remove(std::uint64_t line) {
  std::lock_guard lock{mutex_};
  entries_.erase(line);
}

expected<void> shepherd_lines::send(std::uint64_t line, byte_view frame) {
  return put(line, frame, waiting_bytes_hard_max);
}

expected<void> shepherd_lines::offer(std::uint64_t line, byte_view frame) {
  return put(line, frame, waiting_bytes_max);
}

expected<void> shepherd_lines::put(std::uint64_t line, byte_view frame, std::size_t waiting_max) {
  std::lock_guard lock{mutex_};
  auto at = entries_.find(line);
  if (at == entries_.end())
    return fail(errc::not_found, "the shepherd is gone");
  auto& what = *at->second;
  if (what.waiting_bytes + frame.size() > waiting_max)
    return fail(errc::exhausted, "the shepherd does not read what it is told");
  std::vector<std::vector<std::uint8_t>> packets;
  shepherd::packets_of(frame, packets);
  for (auto& packet : packets) {
    what.waiting_bytes += packet.size();
    what.waiting.push_back(std::move(packet));
  }
  write_some(line, what);
  return {};
}

/// Writes what the socket takes; the rest waits for the thread.
void shepherd_lines::write_some(std::uint64_t line, entry& what) {
  while (!what.waiting.empty()) {
    const auto& packet = what.waiting.front();
    const auto sent =
        ::send(what.socket.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS))
      break;
    // Anything else is the end of the line, which reading will tell.
    what.waiting_bytes -= packet.size();
    what.waiting.pop_front();
  }
  poll_.change(line, what.socket.get(), events_for(what));
}

/// False when the line has ended.
bool shepherd_lines::read_some(std::uint64_t line, entry& what, std::vector<news>& heard) {
  std::array<std::uint8_t, shepherd::packet_bytes_max> packet;
  for (int i = 0; i < packets_per_turn; ++i) {
    const auto got = ::recv(what.socket.get(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (got < 0)
      return errno == EAGAIN || errno == EINTR;
    if (got == 0)
      return false;
    auto whole = what.reader.take({packet.data(), static_cast<std::size_t>(got)});
    if (!whole)
      return false; // no shepherd of ours: it is not listened to any more
    if (*whole) {
      const auto frame = what.reader.frame();
      heard.push_back({line, {frame.begin(), frame.end()}, false});
    }
  }
  return true;
}

void shepherd_lines::on_ready(std::uint64_t line, std::uint32_t events) {
  std::vector<news> heard;
  {
    const std::lock_guard lock{mutex_};
    const auto at = entries_.find(line);
    if (at == entries_.end())
      return;
    if ((events & EPOLLOUT) != 0)
      write_some(line, *at->second);
    const auto reads = (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
    if (reads && !read_some(line, *at->second, heard)) {
      heard.push_back({line, {}, true});
      entries_.erase(at);
    }
  }
  for (auto& each : heard)
    report_(std::move(each));
}

} // namespace troupe::launch
