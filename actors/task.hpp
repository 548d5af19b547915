// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "actors/spool.hpp"
#include "runtime/launch/output_pump.hpp"

#include <map>

namespace troupe::actors {

/// One step's ranks on one node, as far as their output is streamed: takes the pipes that the
/// launcher lends, has them moved into the spool, and serves what readers ask for, who wait here
/// for what has not been written yet.
class task_state {
public:
  using interface = task_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "task";

  task_state(self_pointer self, world& around, verified_capability cap, group_key group,
             std::uint32_t uid, launcher_actor launcher, std::shared_ptr<launch::output_pump> pump,
             std::shared_ptr<spool> files);

  interface::behavior_type make_behavior(auth::guard_observer& guard);
  std::string display_name() const;
  void on_stop();

private:
  struct stream_state {
    std::uint64_t id = 0;
    unique_fd file;
    std::uint64_t bytes = 0;
    std::uint64_t limit = 0;
    bool ended = false;
  };
  struct waiting_read {
    request<read_output> what;
    caf::typed_response_promise<output_chunk> promise;
  };

  caf::result<output_chunk> read(request<read_output>& what);
  auth::checked<void> may_read(const verified_capability& cap) const;
  std::optional<output_chunk> try_read(const read_output& what);
  void take(take_stream& what);
  void note(note_output& what);
  void answer_waiting();
  void recheck_waiting();
  void recheck_later();
  void refuse_waiting(waiting_read& waiting, const auth::refusal& why);
  void group_over();
  status_report status() const;

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  group_key group_;
  std::uint32_t uid_;
  launcher_actor launcher_;
  std::shared_ptr<launch::output_pump> pump_;
  std::shared_ptr<spool> files_;
  std::map<stream_key, stream_state> streams_;
  std::map<std::uint64_t, stream_key> keys_;
  std::vector<waiting_read> waiting_;
  bool group_over_ = false;
  bool recheck_due_ = false;
};

} // namespace troupe::actors
