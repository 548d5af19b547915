// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/pmix/server.hpp"
#include "tools/shepherd/agent_link.hpp"
#include "tools/shepherd/collectives.hpp"
#include "tools/shepherd/directories.hpp"
#include "tools/shepherd/pmi1.hpp"
#include "tools/shepherd/published.hpp"
#include "tools/shepherd/steps.hpp"
#include "tools/shepherd/stub_channel.hpp"

#include <optional>

namespace troupe::shepherd {

/// One MPI job on one node: its steps, its PMIx server, and its links to agent, ranks and the other
/// nodes' shepherds. One thread; the library has its own, and what it asks arrives as upcalls.
class shepherd {
public:
  shepherd(int agent_fd, int channel_fd);
  shepherd(const shepherd&) = delete;
  shepherd& operator=(const shepherd&) = delete;
  ~shepherd();

  /// Serves until SIGTERM; answers the exit code.
  int run();
  /// Ends the server, within a second, and removes the directories.
  void finish();

private:
  using publisher = std::function<void(const answer&)>;

  // frames.cpp: what the agent says
  void take(to_shepherd frame);
  void take_hello(const hello& from);
  void refuse_step(std::uint32_t number, const std::string& why);
  void take_step(register_step about);
  void take_spawn_answer(const spawn_answer& from);
  void take_end(const rank_ended& from);
  void forget(std::uint32_t step);
  bool prepare_job(const register_step& about);
  bool prepare_step(step_state& step);
  void step_is_ready(step_state& step);
  void fail(const std::string& why);

  // ranks.cpp: stubs and what becomes of them
  void take_stub(waiting_stub from);
  void answer_parked(step_state& step);
  void start_rank(step_state& step, waiting_stub from);
  void watch_rank(const step_state& step, local_rank& rank, std::uint32_t number);
  void drop_old_stubs(steady::time_point now);
  void note_rank(const process_name& who, bool local_rank::*mark);
  void say_counts();

  // requests.cpp: what ranks ask through PMIx
  void take_upcalls();
  void handle(pmix::client_connected call);
  void handle(pmix::client_finalized call);
  void handle(pmix::abort_request call);
  void handle(pmix::fence call);
  void handle(pmix::modex_request call);
  void handle(pmix::publish call);
  void handle(pmix::lookup call);
  void handle(pmix::unpublish call);
  void handle(pmix::spawn call);
  void handle(pmix::connection call);
  void handle(pmix::event call);
  void handle(pmix::log_request call);
  void handle(pmix::query_request call);
  void handle(pmix::control_request call);
  void handle(pmix::group_request call);
  void handle(pmix::modex_data call);
  void handle(pmix::taken_note call);
  void abort_step(const process_name& who, std::int32_t status, std::string message);
  void ask_spawn(spawn_request request, std::function<void(const spawn_answer&)> done);

  // peers.cpp: the other nodes' shepherds
  void take_peer(std::uint32_t node, peer_message message);
  void tell(std::uint32_t node, const peer_message& message);
  void tell_all(const peer_message& message);
  void serve_modex(std::uint32_t node, const modex_ask& ask);
  void answer_peer(std::uint32_t node, std::uint64_t token, std::int32_t status,
                   std::vector<stored_value> values);
  void publish_at_keeper(publish_ask ask, publisher done);
  void lookup_at_keeper(lookup_ask ask, publisher done);
  void unpublish_at_keeper(unpublish_ask ask, publisher done);
  void rank_is_gone(const end_notice& what, std::uint32_t node);
  void notify_failure(const step_state& step, const end_notice& what);
  void take_gone(const peer_gone& what);
  std::uint64_t expect(std::uint32_t node, publisher done,
                       steady::time_point until = steady::time_point::max());
  void take_answer(const answer& from);
  void give_up_asks(steady::time_point now);

  // pmi1: what ranks ask through PMI-1
  pmi1_host pmi1_functions();

  struct parked_stub {
    waiting_stub stub;
    steady::time_point until;
  };
  struct expected_answer {
    std::uint32_t node = 0; ///< whose
    publisher done;
    steady::time_point until;
  };
  struct served_modex {
    std::uint32_t node = 0;
    std::uint64_t token = 0;
    process_name whose;
  };
  struct pending_spawn {
    spawn_request request;
    std::function<void(const spawn_answer&)> done;
  };

  std::uint64_t session_;
  std::uint64_t next_token_; ///< numbers that no shepherd before this one has used
  poller poll_;
  pmix::upcall_queue upcalls_;
  step_table steps_;
  std::optional<register_step> job_; ///< the first step: what the job is
  std::optional<held_directory> directory_;
  std::optional<held_directory> shared_directory_;
  std::unique_ptr<pmix::server> server_;
  agent_link agent_;
  stub_channel channel_;
  relay_links peers_;
  collectives collectives_;
  published_values published_;
  pmi1_server pmi1_;
  std::vector<parked_stub> parked_;
  std::vector<abort> aborts_;
  std::map<std::uint64_t, pending_spawn> spawns_;
  std::map<std::uint64_t, expected_answer> expected_; ///< by token
  steady::time_point answers_due_ = steady::time_point::max();
  std::map<std::uint64_t, process_name> modex_asked_; ///< tokens in `expected_` that are about one
  std::map<std::uint64_t, served_modex> modex_served_;
  std::set<std::uint32_t> changed_counts_;
  std::uint64_t next_group_ = 1;
  unique_fd signals_;
  bool stopping_ = false;
  int exit_code_ = 0;
};

} // namespace troupe::shepherd
