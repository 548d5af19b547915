// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/launcher.hpp"
#include "actors/shell.hpp"

#include <functional>

namespace troupe::actors {

/// The root: ends the cluster in order. What an actor's defect does is the world's `on_failure`.
class cluster_state {
public:
  using interface = cluster_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "cluster";

  struct peers {
    scheduler_actor scheduler;
    launcher_state::interface launcher;
    /// Called once, when everything has been ended that was to be.
    std::function<void()> stopped;
  };

  cluster_state(self_pointer self, world& around, peers to);
  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  caf::result<cluster_stopping> stop(request<stop_cluster>& what);
  void end_jobs(const verified_capability& cap, const std::vector<job_row>& running);
  void finish(bool end_launcher_too);

  self_pointer self_;
  world& world_;
  peers to_;
  bool stopping_ = false;
  bool finished_ = false;
};

} // namespace troupe::actors
