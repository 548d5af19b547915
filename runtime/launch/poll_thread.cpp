// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/poll_thread.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace troupe::launch {

namespace {

constexpr std::uint64_t wake_id = ~std::uint64_t{0};

epoll_event event_of(std::uint64_t id, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return event;
}

} // namespace

poll_thread::poll_thread(handler ready)
    : ready_{std::move(ready)}, epoll_{::epoll_create1(EPOLL_CLOEXEC)}, wake_{::eventfd(
                                                                            0, EFD_CLOEXEC |
                                                                                   EFD_NONBLOCK)} {
  (void)add(wake_id, wake_.get(), EPOLLIN);
  thread_ = std::thread{[this] { run(); }};
}

poll_thread::~poll_thread() {
  stopping_ = true;
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

expected<void> poll_thread::add(std::uint64_t id, int fd, std::uint32_t events) {
  auto event = event_of(id, events);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail(errc::exhausted, std::string{"cannot watch a stream: "} + std::strerror(errno));
  return {};
}

void poll_thread::change(std::uint64_t id, int fd, std::uint32_t events) {
  auto event = event_of(id, events);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void poll_thread::remove(int fd) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void poll_thread::run() {
  std::array<epoll_event, 64> events{};
  while (!stopping_) {
    const auto count = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    if (count < 0 && errno != EINTR)
      return;
    for (int i = 0; i < count && !stopping_; ++i)
      if (const auto& event = events[static_cast<std::size_t>(i)]; event.data.u64 != wake_id)
        ready_(event.data.u64, event.events);
  }
}

} // namespace troupe::launch
