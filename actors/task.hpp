// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "actors/spool.hpp"
#include "runtime/launch/input_pump.hpp"
#include "runtime/launch/output_pump.hpp"

#include <map>

namespace troupe::actors {

/// One step's ranks on one node, as far as they stream: takes the pipes that the launcher lends,
/// has output moved into the spool, and serves what readers ask for, who wait here for what has not
/// been written yet. Has input written, whose writers wait here for what has not been read yet.
class task_state {
public:
  using interface = task_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "task";

  task_state(self_pointer self, world& around, verified_capability cap, group_key group,
             std::uint32_t uid, launcher_actor launcher, std::shared_ptr<launch::output_pump> pump,
             std::shared_ptr<launch::input_pump> inputs, std::shared_ptr<spool> files);

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
    std::string trouble; ///< why it is not moved on now
  };
  struct waiting_read {
    request<read_output> what;
    caf::typed_response_promise<output_chunk> promise;
  };

  struct input_state {
    std::uint64_t id = 0;
    std::uint64_t bytes = 0;
    bool closed = false;
  };
  struct waiting_write {
    request<write_input> what;
    caf::typed_response_promise<input_taken> promise;
  };

  caf::result<output_chunk> read(request<read_output>& what);
  auth::checked<void> may_read(const verified_capability& cap) const;
  std::optional<expected<output_chunk>> try_read(const read_output& what);
  void take(take_stream& what);
  void note(note_output& what);
  // task_input.cpp
  caf::result<input_taken> write(request<write_input>& what);
  auth::checked<void> may_write(const verified_capability& cap) const;
  expected<std::optional<input_taken>> try_write(const write_input& what);
  void take_input(take_stream& what);
  void answer_writers();
  void recheck_writers();
  bool refused(waiting_write& waiting);
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
  std::shared_ptr<launch::input_pump> input_pump_;
  std::shared_ptr<spool> files_;
  std::map<stream_key, stream_state> streams_;
  std::map<std::uint64_t, stream_key> keys_;
  std::vector<waiting_read> waiting_;
  std::map<std::uint32_t, input_state> inputs_; ///< by element
  std::vector<waiting_write> writing_;
  bool group_over_ = false;
  bool recheck_due_ = false;
};

} // namespace troupe::actors
