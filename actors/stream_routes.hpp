// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/protocol.hpp"

#include <map>
#include <mutex>

namespace troupe::actors {

/// Which task a stream belongs to: the pump's thread tells it there.
class stream_routes {
public:
  void add(std::uint64_t stream, task_actor task) {
    std::lock_guard lock{mutex_};
    tasks_[stream] = std::move(task);
  }
  task_actor find(std::uint64_t stream) const {
    std::lock_guard lock{mutex_};
    auto at = tasks_.find(stream);
    return at == tasks_.end() ? task_actor{} : at->second;
  }
  void remove(std::uint64_t stream) {
    std::lock_guard lock{mutex_};
    tasks_.erase(stream);
  }

private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, task_actor> tasks_;
};

} // namespace troupe::actors
