// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/shepherd_lines.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe::launch {

namespace {

constexpr std::uint64_t wake_id = ~std::uint64_t{0};
constexpr int packets_per_turn = 64;

} // namespace

shepherd_lines::shepherd_lines(on_news report)
    : report_{std::move(report)}, epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      wake_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = wake_id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  thread_ = std::thread{[this] { run(); }};
}

shepherd_lines::~shepherd_lines() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  const std::uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof one) == sizeof one)
    thread_.join();
  else
    thread_.detach();
}

void shepherd_lines::watch(int operation, std::uint64_t line, const entry& what) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (!what.waiting.empty())
    event.events |= EPOLLOUT;
  event.data.u64 = line;
  ::epoll_ctl(epoll_.get(), operation, what.socket.get(), &event);
}

expected<void> shepherd_lines::add(std::uint64_t line, unique_fd socket) {
  std::lock_guard lock{mutex_};
  auto [at, fresh] = entries_.try_emplace(line);
  if (!fresh)
    return {}; // lent again: it is here already
  at->second = std::make_unique<entry>();
  at->second->socket = std::move(socket);
  watch(EPOLL_CTL_ADD, line, *at->second);
  return {};
}

void shepherd_lines::remove(std::uint64_t line) {
  std::lock_guard lock{mutex_};
  entries_.erase(line);
}

expected<void> shepherd_lines::send(std::uint64_t line, byte_view frame) {
  std::lock_guard lock{mutex_};
  auto at = entries_.find(line);
  if (at == entries_.end())
    return fail(errc::not_found, "the shepherd is gone");
  auto& what = *at->second;
  if (what.waiting_bytes + frame.size() > waiting_bytes_max)
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
  watch(EPOLL_CTL_MOD, line, what);
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

void shepherd_lines::run() {
  std::array<epoll_event, 64> events{};
  std::vector<news> heard;
  for (;;) {
    const auto count = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    if (count < 0 && errno != EINTR)
      return;
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      std::unique_lock lock{mutex_};
      if (stopping_)
        return;
      auto at = entries_.find(event.data.u64);
      if (at == entries_.end())
        continue;
      auto& what = *at->second;
      if ((event.events & EPOLLOUT) != 0)
        write_some(event.data.u64, what);
      const auto reads = (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
      if (reads && !read_some(event.data.u64, what, heard)) {
        heard.push_back({event.data.u64, {}, true});
        entries_.erase(at);
      }
      lock.unlock();
      for (auto& each : heard)
        report_(std::move(each));
      heard.clear();
    }
  }
}

} // namespace troupe::launch
