// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"

namespace troupe::actors {

/// One timer of an actor for all that it has to come back to: at most one tick is awaited at any
/// time, however many things wait. A tick that was set before an earlier one was asked for is
/// nobody's.
template <class Self>
class alarm {
public:
  alarm(Self* self, world& around) : self_{self}, world_{around} {}

  /// Rings then, if nothing else makes it ring earlier.
  void ring_at(boot_ns due) {
    if (due_ != 0 && due_ <= due)
      return;
    due_ = due;
    const auto wait = std::max<boot_ns>(due - world_.clock.boot(), 0);
    tick_later(self_, world_, std::chrono::nanoseconds{wait}, ++serial_);
  }

  void ring_in(std::chrono::nanoseconds wait) { ring_at(world_.clock.boot() + wait.count()); }

  /// Whether this tick is the one that is awaited; none is awaited then.
  bool takes(const tick& what) {
    if (due_ == 0 || what.timer != serial_)
      return false;
    due_ = 0;
    return true;
  }

private:
  Self* self_;
  world& world_;
  boot_ns due_ = 0; ///< 0: nothing is awaited
  std::uint32_t serial_ = 0;
};

} // namespace troupe::actors
