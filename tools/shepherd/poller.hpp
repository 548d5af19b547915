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

  /// False, and errno, when it cannot be watched: nothing will be heard of it.
  [[nodiscard]] bool add(int fd, action act, std::uint32_t events = EPOLLIN) {
    if (!control(EPOLL_CTL_ADD, fd, events))
      return false;
    actions_[fd] = std::move(act);
    return true;
  }
  /// Of what is watched; it needs nothing of the kernel's, and so cannot fail.
  void change(int fd, std::uint32_t events) { (void)control(EPOLL_CTL_MOD, fd, events); }
  /// Before the descriptor is closed.
  void remove(int fd) {
    if (actions_.erase(fd) != 0)
      (void)control(EPOLL_CTL_DEL, fd, 0);
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
  bool control(int what, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return ::epoll_ctl(epoll_.get(), what, fd, &event) == 0;
  }

  unique_fd epoll_;
  std::unordered_map<int, action> actions_;
};

} // namespace troupe::shepherd
