// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"

namespace troupe::actors {

/// Looks after the ledger of a cluster that is up: checks it and copies it, on a connection of its
/// own beside the one that writes. Detached: each takes as long as the ledger is large.
class keeper_state {
public:
  using interface = keeper_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "keeper";

  keeper_state(self_pointer self, world& around);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  std::string ledger_path() const;
  expected<ledger_checked> check() const;
  expected<ledger_copied> copy(const backup_ledger& what) const;

  world& world_;
  std::uint64_t checks_ = 0, copies_ = 0;
};

} // namespace troupe::actors
