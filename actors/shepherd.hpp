// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "messages/shepherd.hpp"
#include "runtime/launch/shepherd_lines.hpp"

namespace troupe::actors {

/// The agent's side of the shepherd of one element's MPI ranks on this node: passes on what the job
/// tells it, and what it says, under the warrant of that job alone, whichever job it may name.
class shepherd_state {
public:
  using interface = shepherd_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "shepherd";

  shepherd_state(self_pointer self, world& around, verified_capability cap, group_key group,
                 std::uint32_t element, std::uint32_t node_number, agent_actor agent,
                 std::shared_ptr<launch::shepherd_lines> lines);

  interface::behavior_type make_behavior(auth::guard_observer& guard);
  std::string display_name() const;
  void on_stop();

private:
  void tell_it(request<tell_shepherd>& what);
  void connect(take_stream& what);
  void send(const shepherd::to_shepherd& frame);
  void take(take_shepherd_frame& what);
  void log(const std::string& words);
  void pass_on(hear_shepherd message);
  status_report status() const;

  self_pointer self_;
  world& world_;
  verified_capability agent_cap_;
  group_key group_;
  std::uint32_t element_;
  std::uint32_t node_;
  agent_actor agent_;
  std::shared_ptr<launch::shepherd_lines> lines_;
  verified_capability cap_; ///< the job's; none until the job has spoken
  std::uint64_t line_ = 0;  ///< 0: the launcher has not lent it yet
  std::vector<std::shared_ptr<shepherd::to_shepherd const>> unsent_;
  std::vector<hear_shepherd> unheard_; ///< said before the job spoke
  std::uint64_t told_ = 0, heard_ = 0;
  std::uint32_t logged_ = 0; ///< lines of its own
};

} // namespace troupe::actors
