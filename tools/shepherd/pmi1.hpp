// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/shepherd/poller.hpp"
#include "tools/shepherd/steps.hpp"

#include <functional>
#include <memory>
#include <optional>

namespace troupe::shepherd {

/// What PMI-1 needs of the shepherd; the key values themselves are in the steps.
struct pmi1_host {
  using text_done = std::function<void(bool found, const std::string& text)>;

  std::function<step_state*(std::uint32_t step)> find_step;
  /// `pairs` of this node to all, everybody's back; false where a participant died.
  std::function<void(const step_state& step, std::vector<std::uint8_t> pairs,
                     std::function<void(bool, const std::vector<std::vector<std::uint8_t>>&)>)>
      barrier;
  std::function<void(const process_name& who, std::int32_t code, std::string message)> abort;
  std::function<void(const process_name& who, bool local_rank::*mark)> note;
  /// `outlives`: it stays when the step of `who` has ended.
  std::function<void(const process_name& who, const std::string& name, const std::string& text,
                     bool outlives, std::function<void(bool)>)>
      publish;
  std::function<void(const process_name& who, const std::string& name, std::function<void(bool)>)>
      unpublish;
  /// Waits for at most `wait_s`, or answers at once where that is 0.
  std::function<void(const process_name& who, const std::string& name, std::uint32_t wait_s,
                     text_done)>
      lookup;
  std::function<void(spawn_request,
                     std::function<void(const std::string& nspace, const std::string& error)>)>
      spawn;
};

/// The process manager's side of PMI-1, the line protocol that MPICH speaks over an inherited
/// socket (PMI_FD), as its Hydra answers it.
class pmi1_server {
public:
  pmi1_server(poller& poll, pmi1_host host) : poll_{poll}, host_{std::move(host)} {}
  pmi1_server(const pmi1_server&) = delete;
  pmi1_server& operator=(const pmi1_server&) = delete;

  void add(std::uint32_t step, std::uint32_t rank, unique_fd socket);
  void remove_step(std::uint32_t step);

private:
  struct client {
    std::uint64_t id = 0;
    std::uint32_t step = 0;
    std::uint32_t rank = 0;
    unique_fd socket;
    std::string input;
    std::string output;
    bool in_barrier = false;
    std::vector<std::map<std::string, std::string>> spawn_parts;
    std::optional<std::map<std::string, std::string>> multi_line;
  };
  using words = std::map<std::string, std::string>;

  void on_ready(std::uint64_t id, std::uint32_t events);
  void take_line(client& from, const std::string& line);
  void handle(client& from, const words& command);
  void handle_names(client& from, const words& command);
  void put(client& from, const words& command);
  void get(client& from, const words& command);
  void enter_barrier(client& from);
  void leave_barrier(std::uint32_t step, bool good,
                     const std::vector<std::vector<std::uint8_t>>& pairs);
  void spawn(client& from, const words& command);
  void spawned(std::uint64_t id, const std::vector<words>& parts, const std::string& nspace,
               const std::string& error);
  void reply(std::uint64_t id, const std::string& line);
  void write_some(client& to);
  void drop(std::uint64_t id);
  client* find(std::uint64_t id);

  poller& poll_;
  pmi1_host host_;
  std::map<std::uint64_t, std::unique_ptr<client>> clients_;
  std::map<std::uint32_t, std::map<std::string, std::string>> fresh_; ///< put since the barrier
  std::uint64_t next_id_ = 1;
};

} // namespace troupe::shepherd
