// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

namespace troupe::launch {

/// A thread that waits for descriptors and says which are ready. What the numbers mean, and how it
/// is guarded, is its owner's.
class poll_thread {
public:
  using handler = std::function<void(std::uint64_t id, std::uint32_t events)>;

  explicit poll_thread(handler ready);
  /// After this the handler is called no more: members that it uses are declared before.
  ~poll_thread();
  poll_thread(const poll_thread&) = delete;
  poll_thread& operator=(const poll_thread&) = delete;

  expected<void> add(std::uint64_t id, int fd, std::uint32_t events);
  void change(std::uint64_t id, int fd, std::uint32_t events);
  void remove(int fd);

private:
  void run();

  handler ready_;
  unique_fd epoll_;
  unique_fd wake_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

} // namespace troupe::launch
