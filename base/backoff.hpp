// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace troupe {

/// How long to wait before something that failed is tried again: `first`, then twice as long each
/// time, up to `most`.
class backoff {
public:
  using duration = std::chrono::nanoseconds;

  backoff(duration first, duration most) : first_{first}, most_{most}, next_{first} {}

  /// The wait before the next try.
  duration next() { return std::exchange(next_, std::min(next_ * 2, most_)); }
  /// It worked: the next failure waits the shortest time again.
  void reset() { next_ = first_; }

private:
  duration first_, most_, next_;
};

/// What a launcher, the ledger or the authority did not take for now.
inline backoff usual_backoff() {
  return backoff{std::chrono::seconds(1), std::chrono::seconds(60)};
}

} // namespace troupe
