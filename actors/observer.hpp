// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"

namespace troupe::actors {

/// What the console sees: every actor's counters, which need nobody's answer, and any actor's own
/// status, which does.
class observer_state {
public:
  using interface = observer_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "observer";

  observer_state(self_pointer self, world& around, verified_capability cap);
  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  caf::result<status_report> show(request<show_actor>& what);

  self_pointer self_;
  world& world_;
  verified_capability cap_;
};

} // namespace troupe::actors
