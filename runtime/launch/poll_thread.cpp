// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/poll_thread.hpp"

#include "base/thread.hpp"

#include <algorithm>
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

poll_thread::poll_thread(handler ready) : ready_{std::move(ready)} {}

poll_thread::~poll_thread() {
  if (!started_)
    return;
  stopping_ = true;
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

expected<void> poll_thread::start() {
  if (started_)
    return {};
  const std::lock_guard lock{starting_};
  if (started_)
    return {};
  unique_fd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  unique_fd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  auto event = event_of(wake_id, EPOLLIN);
  if (!epoll || !wake || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0)
    return fail(errc::exhausted, std::string{"cannot watch streams: "} + std::strerror(errno));
  epoll_ = std::move(epoll);
  wake_ = std::move(wake);
  auto made = make_thread("streams", [this] { run(); });
  if (!made)
    return tl::unexpected<error>{made.error()};
  thread_ = std::move(*made);
  started_ = true;
  return {};
}

expected<void> poll_thread::add(std::uint64_t id, int fd, std::uint32_t events) {
  if (auto started = start(); !started)
    return started;
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

void poll_thread::call_at(time_point when) {
  {
    const std::lock_guard lock{mutex_};
    if (call_at_ <= when)
      return;
    call_at_ = when;
  }
  if (!started_ || std::this_thread::get_id() == thread_.get_id())
    return;
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

/// Until the handler is to be called; -1: no time is set.
int poll_thread::wait_ms() {
  const std::lock_guard lock{mutex_};
  if (call_at_ == time_point::max())
    return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(call_at_ - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

bool poll_thread::timer_due() {
  const std::lock_guard lock{mutex_};
  if (call_at_ > std::chrono::steady_clock::now())
    return false;
  call_at_ = time_point::max();
  return true;
}

void poll_thread::run() {
  std::array<epoll_event, 64> events{};
  while (!stopping_) {
    const auto count = ::epoll_wait(epoll_.get(), events.data(), events.size(), wait_ms());
    if (count < 0 && errno == EBADF)
      return; // it is gone
    for (int i = 0; i < count && !stopping_; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      std::uint64_t rung = 0;
      if (event.data.u64 == wake_id)
        (void)!::read(wake_.get(), &rung, sizeof rung);
      else
        ready_(event.data.u64, event.events);
    }
    if (!stopping_ && timer_due())
      ready_(timer, 0);
  }
}

} // namespace troupe::launch
