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
  expected<void> may_stop(const request<stop_cluster>& what) const;
  void count(const verified_capability& cap, caf::typed_response_promise<cluster_stopping> promise,
             std::vector<job_row> rows, std::function<void()> then);
  void resume();
  void go_on(std::uint32_t by_uid, bool end_jobs);
  void begin_round();
  void ask_to_end(job_id after);
  void end_round();
  void finish(bool end_launcher_too);

  self_pointer self_;
  world& world_;
  peers to_;
  bool stopping_ = false;
  bool finished_ = false;
  std::uint32_t by_uid_ = 0;  ///< who stops it
  running_ending left_;       ///< as this round has found it so far
  bool nothing_left_ = false; ///< as the last round has found it
  std::chrono::milliseconds round_pause_;
  std::uint64_t unrecorded_before_ = 0;
  boot_ns unrecorded_since_ = 0;
};

} // namespace troupe::actors
