// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"

#include <map>
#include <set>

namespace troupe::actors {

/// A node as the controller reaches it: passes jobs' orders on to the agent, and the agent's news
/// to jobs. It speaks with the agent only in messages that could cross a network.
class node_state_actor {
public:
  using interface = node_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "node";

  node_state_actor(self_pointer self, world& around, verified_capability cap,
                   std::shared_ptr<node_inventory const> offers);

  interface::behavior_type make_behavior(auth::guard_observer& guard);
  std::string display_name() const { return "node/" + offers_->name; }

private:
  void take_inventory(report_inventory& what);
  void compare();
  void take_records(report_records& what);
  status_report status() const;

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  std::shared_ptr<node_inventory const> offers_;
  agent_actor agent_;
  scheduler_actor scheduler_;
  std::map<job_id, job_actor> routes_;
  std::optional<report_inventory> inventory_; ///< waits for the end of the recovery
  bool recovered_ = false;
  bool connected_ = false;
  std::uint64_t comparisons_ = 0;
  std::uint64_t records_ = 0, orders_ = 0;
};

} // namespace troupe::actors
