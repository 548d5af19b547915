// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"

#include <cstdint>
#include <functional>
#include <sys/epoll.h>
#include <unordered_map>

namespace troupe::shepherd {

/// Descriptors and what to do when they are ready. One thread; an action may add and remove.
class poller {
public:
  using action = std::function<void(std::uint32_t events)>;

  poller() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {}

  void add(int fd, action act, std::uint32_t events = EPOLLIN) {
    actions_[fd] = std::move(act);
    control(EPOLL_CTL_ADD, fd, events);
  }
  void change(int fd, std::uint32_t events) { control(EPOLL_CTL_MOD, fd, events); }
  /// Before the descriptor is closed.
  void remove(int fd) {
    if (actions_.erase(fd) != 0)
      control(EPOLL_CTL_DEL, fd, 0);
  }

  /// Waits for at most `timeout_ms` (-1: for ever) and acts.
  void wait(int timeout_ms) {
    epoll_event ready[64];
    const auto count = ::epoll_wait(epoll_.get(), ready, 64, timeout_ms);
    for (int i = 0; i < count; ++i) {
      const auto at = actions_.find(ready[i].data.fd);
      if (at == actions_.end())
        continue; // removed by an action of this round
      const auto act = at->second;
      act(ready[i].events);
    }
  }

private:
  void control(int what, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    (void)::epoll_ctl(epoll_.get(), what, fd, &event);
  }

  unique_fd epoll_;
  std::unordered_map<int, action> actions_;
};

} // namespace troupe::shepherd
