// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace troupe::launch {

/// A thread that waits for descriptors and says which are ready. What the numbers mean, and how it
/// is guarded, is its owner's. It is made when there is something to wait for: that there is no
/// thread to be had is a failure of `add`, which may be tried again.
class poll_thread {
public:
  using handler = std::function<void(std::uint64_t id, std::uint32_t events)>;

  explicit poll_thread(handler ready);
  /// After this the handler is called no more: members that it uses are declared before.
  ~poll_thread();
  poll_thread(const poll_thread&) = delete;
  poll_thread& operator=(const poll_thread&) = delete;

  /// Makes the thread, once. `add` does it, too.
  expected<void> start();
  expected<void> add(std::uint64_t id, int fd, std::uint32_t events);
  void change(std::uint64_t id, int fd, std::uint32_t events);
  void remove(int fd);

  /// Calls the handler with `timer` then, or earlier if an earlier time is asked for: once, and
  /// once there is a thread.
  void call_at(std::chrono::steady_clock::time_point when);
  static constexpr std::uint64_t timer = ~std::uint64_t{0} - 1;

private:
  using time_point = std::chrono::steady_clock::time_point;

  void run();
  int wait_ms();
  bool timer_due();

  handler ready_;
  std::mutex starting_;
  std::atomic<bool> started_{false};
  unique_fd epoll_;
  unique_fd wake_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  time_point call_at_ = time_point::max();
  std::thread thread_;
};

} // namespace troupe::launch
