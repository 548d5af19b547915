// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "config/cluster_config.hpp"

namespace troupe::actors {

/// Owns the configuration's file and what is in force of it. Detached: it reads a disk. A reload is
/// checked by itself first, then by the scheduler against the jobs, and only then in force.
class configuration_state {
public:
  using interface = config_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "config";

  configuration_state(self_pointer self, world& around, scheduler_actor scheduler,
                      std::shared_ptr<cluster_config const> in_force);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  config_shown shown() const;
  caf::result<config_shown> reload(request<reload_config>& what);

  self_pointer self_;
  world& world_;
  scheduler_actor scheduler_;
  std::shared_ptr<cluster_config const> in_force_;
  std::uint64_t reloads_ = 0;
};

} // namespace troupe::actors
