// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/protocol.hpp"

#include <map>
#include <mutex>

namespace troupe::actors {

/// Which actor a stream belongs to: the threads that watch streams tell it there.
template <class Actor>
class routes_of {
public:
  void add(std::uint64_t stream, Actor to) {
    std::lock_guard lock{mutex_};
    actors_[stream] = std::move(to);
  }
  Actor find(std::uint64_t stream) const {
    std::lock_guard lock{mutex_};
    auto at = actors_.find(stream);
    return at == actors_.end() ? Actor{} : at->second;
  }
  /// The actor is gone.
  void forget(const caf::actor_addr& gone) {
    std::lock_guard lock{mutex_};
    std::erase_if(actors_, [&](const auto& each) { return each.second == gone; });
  }
  void remove(std::uint64_t stream) {
    std::lock_guard lock{mutex_};
    actors_.erase(stream);
  }

private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, Actor> actors_;
};

using stream_routes = routes_of<task_actor>;
using shepherd_routes = routes_of<shepherd_actor>;

} // namespace troupe::actors
