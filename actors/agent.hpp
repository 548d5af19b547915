// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "actors/spool.hpp"
#include "actors/stream_routes.hpp"
#include "runtime/launch/input_pump.hpp"
#include "runtime/launch/output_pump.hpp"
#include "runtime/launch/shepherd_lines.hpp"

#include <map>

namespace troupe::actors {

/// The node's own side: passes orders to the launcher and the launcher's news to `node`, and keeps
/// a task for every group whose output is streamed.
class agent_state {
public:
  using interface = agent_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "agent";

  struct peers {
    node_actor node;
    launcher_actor launcher;
    std::shared_ptr<launch::output_pump> pump;
    std::shared_ptr<spool> files;
    std::shared_ptr<stream_routes> routes;
    std::shared_ptr<launch::shepherd_lines> lines;
    std::shared_ptr<shepherd_routes> shepherds;
    std::shared_ptr<launch::input_pump> inputs;
  };

  agent_state(self_pointer self, world& around, verified_capability cap, std::string node_name,
              std::uint32_t node_number, peers to);

  interface::behavior_type make_behavior(auth::guard_observer& guard);
  std::string display_name() const { return "agent/" + node_name_; }

private:
  void launch(request<launch_orders>& what);
  void take(request<take_stream>& what);
  caf::result<output_chunk> read(request<read_output>& what);
  caf::result<input_taken> write(request<write_input>& what);
  caf::expected<output_chunk> read_file(const request<read_output>& what) const;
  struct known_shepherd {
    shepherd_actor actor;
    verified_capability cap; ///< its job's, once that has spoken to it
    bool lent = false;       ///< its socket is here: it runs
    bool announced = false;  ///< to its job
  };
  known_shepherd& shepherd_for(const group_key& group, std::uint32_t element);
  void take_shepherd(request<take_stream>& what);
  void announce(known_shepherd& shepherd, const group_key& group, std::uint32_t element);
  void forget(request<forget_group>& what);
  task_actor task_for(const group_key& group, std::uint32_t uid);
  status_report status() const;

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  std::string node_name_;
  std::uint32_t node_number_;
  peers to_;
  std::map<group_key, task_actor> tasks_;
  /// By job, incarnation (its first step's) and element.
  std::map<std::pair<group_key, std::uint32_t>, known_shepherd> shepherds_;
  std::uint64_t orders_ = 0, records_ = 0, streams_ = 0;
};

} // namespace troupe::actors
