// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "messages/calls.hpp"
#include "messages/json.hpp"
#include "runtime/varlink/acceptor.hpp"
#include "runtime/varlink/envelope.hpp"
#include "runtime/varlink/frame_reader.hpp"
#include "runtime/varlink/service_registry.hpp"

#include <caf/io/all.hpp>
#include <deque>
#include <functional>
#include <map>
#include <set>

namespace troupe::actors {

/// The actors that clients' requests go to.
struct client_links {
  authority_actor authority;
  ledger_actor ledger;
  scheduler_actor scheduler;
  observer_actor observer;
  config_actor config;
  cluster_actor cluster;
  keeper_actor keeper;
  std::map<std::uint32_t, node_actor> nodes;
  std::map<std::uint32_t, std::string> node_names;
  std::shared_ptr<varlink::service_registry const> registry;
  verified_capability gateway; ///< the gateway role's own
};

/// One connection: reads calls, makes requests of them under the peer's capability, and answers in
/// the order of the calls. What waits for its answer is bounded, and so is what waits to be
/// written: beyond that nothing is read.
class client_state {
public:
  client_state(caf::io::broker* self, world& around, std::shared_ptr<client_links const> to,
               std::shared_ptr<varlink::accepted_connection> connection,
               std::shared_ptr<actor_counters> counters);
  ~client_state();

  void take_data(const std::vector<char>& data);
  void written(std::size_t remaining);
  void close(const std::string& why);

private:
  /// A call's place in the order of answers.
  struct answer_slot {
    std::string text;
    bool done = false;
    bool oneway = false;
    bool more = false;
  };
  using slot_ptr = std::shared_ptr<answer_slot>;
  using method = void (client_state::*)(std::string_view parameters, const slot_ptr& slot);

  struct waiting_submit {
    slot_ptr slot;
    std::vector<calls::submit::result> results;
    std::vector<std::size_t> places; ///< of the submissions that went on
    std::vector<submission> submissions;
  };

  // client.cpp
  void read(const std::vector<char>& data);
  bool take_frame(std::string_view frame);
  void resume_reading();
  void start_reading();
  void dispatch(const varlink::call& call, const slot_ptr& slot);
  void flush();
  bool busy() const;
  void stop_reading_if_busy();
  template <class F>
  void say(const slot_ptr& slot, F append);
  template <class Reply>
  void answer(const slot_ptr& slot, const Reply& reply, json_style style = {});
  template <class Reply>
  void answer_part(const slot_ptr& slot, const Reply& reply, json_style style = {});
  void answer_error(const slot_ptr& slot, const error& why, std::string reason = {});
  void answer_failure(const slot_ptr& slot, const caf::error& why);
  template <class Call>
  std::optional<Call> parse(std::string_view parameters, const slot_ptr& slot);
  template <class Target, class M, class F>
  void forward(const Target& target, M message, const slot_ptr& slot, F on_answer);
  template <class M, class F, class G>
  void ask_of_job(M message, F on_answer, G on_error, int asked = 0);
  template <class Target, class M, class F>
  void forward_large(const Target& target, M message, const slot_ptr& slot, F on_answer);
  bool has_its_turn(const slot_ptr& slot) const;
  void resume_streams();
  std::string peer_text() const;

  // client_session.cpp
  void hello(std::string_view parameters, const slot_ptr& slot);
  void answer_hello(const slot_ptr& slot, session_opened opened);
  void present(std::string_view parameters, const slot_ptr& slot);
  void note_admitted(byte_view chain);
  void login_unasked();
  void refuse_session(const slot_ptr& slot, const auth::refusal& why, const char* action);
  void keys(std::string_view parameters, const slot_ptr& slot);
  void revoke(std::string_view parameters, const slot_ptr& slot);

  // client_jobs.cpp
  void submit(std::string_view parameters, const slot_ptr& slot);
  void send_submits();
  void send_submits_if_few();
  void submit_warranted(std::shared_ptr<std::vector<waiting_submit>> batch,
                        warrants_issued& issued);
  void tell_earlier(const fixed_bytes<16>& request_id, calls::submit::result* place,
                    std::function<void()> done);
  expected<std::vector<signed_request>> sign_here(const std::vector<job_spec>& specs) const;
  void cancel(std::string_view parameters, const slot_ptr& slot);
  void hold(std::string_view parameters, const slot_ptr& slot);
  void release(std::string_view parameters, const slot_ptr& slot);
  void modify(std::string_view parameters, const slot_ptr& slot);
  void signal(std::string_view parameters, const slot_ptr& slot);
  void queue(std::string_view parameters, const slot_ptr& slot);
  struct queue_listing;
  void queue_part(const std::shared_ptr<queue_listing>& of);
  void show(std::string_view parameters, const slot_ptr& slot);
  void why(std::string_view parameters, const slot_ptr& slot);
  void wait(std::string_view parameters, const slot_ptr& slot);

  // client_history.cpp
  void history(std::string_view parameters, const slot_ptr& slot);
  void estimates(std::string_view parameters, const slot_ptr& slot);
  template <class Query, class Reply>
  struct past_listing;
  template <class Query, class Reply>
  void past_part(const std::shared_ptr<past_listing<Query, Reply>>& of);

  // client_steps.cpp
  void run_step(std::string_view parameters, const slot_ptr& slot);
  void signal_step(std::string_view parameters, const slot_ptr& slot);
  void write_input(std::string_view parameters, const slot_ptr& slot);

  void write_located(calls::write_input& what, const element_location& where, const slot_ptr& slot);

  // client_follow.cpp
  struct following;
  void follow(std::string_view parameters, const slot_ptr& slot);
  void follow_located(const std::shared_ptr<following>& what, element_location& where);
  void pull(const std::shared_ptr<following>& what, std::size_t stream);
  void add_streams(const std::shared_ptr<following>& what, const element_location& where,
                   std::uint32_t spawned);
  void follow_spawned(const std::shared_ptr<following>& what, std::uint32_t after);
  void finish_follow(const std::shared_ptr<following>& what);
  void detach(const std::shared_ptr<following>& what);

  // client_policy.cpp
  void check_jobs(std::vector<job_spec> specs, const slot_ptr& slot);
  struct job_checks;
  void check_next(const std::shared_ptr<job_checks>& of);
  void queues(std::string_view parameters, const slot_ptr& slot);
  void reservations(std::string_view parameters, const slot_ptr& slot);
  void reserve(std::string_view parameters, const slot_ptr& slot);
  void unreserve(std::string_view parameters, const slot_ptr& slot);
  void config_show(std::string_view parameters, const slot_ptr& slot);
  void config_reload(std::string_view parameters, const slot_ptr& slot);
  void ledger_check(std::string_view parameters, const slot_ptr& slot);
  void ledger_backup(std::string_view parameters, const slot_ptr& slot);

  // client_cluster.cpp
  void nodes(std::string_view parameters, const slot_ptr& slot);
  void drain(std::string_view parameters, const slot_ptr& slot);
  void resume(std::string_view parameters, const slot_ptr& slot);
  void summary(std::string_view parameters, const slot_ptr& slot);
  void stop(std::string_view parameters, const slot_ptr& slot);
  void actors(std::string_view parameters, const slot_ptr& slot);
  void actor_status(std::string_view parameters, const slot_ptr& slot);
  void audit_tail(std::string_view parameters, const slot_ptr& slot);
  void audit_verify(std::string_view parameters, const slot_ptr& slot);

  struct method_entry {
    method handle;
    bool needs_session;
  };
  static const std::map<std::string_view, method_entry>& methods();

  caf::io::broker* self_;
  world& world_;
  std::shared_ptr<client_links const> to_;
  varlink::peer_credentials peer_;
  varlink::connection_slot slot_;
  std::shared_ptr<actor_counters> counters_;
  caf::io::connection_handle wire_;
  varlink::frame_reader reader_;
  std::deque<slot_ptr> slots_;
  std::size_t unwritten_ = 0;
  std::size_t held_ = 0;              ///< bytes of answers that wait for one before them
  std::uint32_t large_under_way_ = 0; ///< questions whose answers may have many rows
  std::shared_ptr<bool> reading_ = std::make_shared<bool>(true);
  bool resuming_ = false;
  bool logging_in_ = false;
  bool closed_ = false;

  verified_capability cap_;
  bool brings_capability_ = false; ///< it is given none: what it presents is all that it has
  std::optional<auth::nonce> server_nonce_;
  auth::nonce client_nonce_{};
  std::shared_ptr<auth::key_pair const> connection_key_; ///< of a peer without a key of its own
  struct deferred_call {
    method handle;
    std::string parameters;
    slot_ptr slot;
  };
  std::vector<deferred_call> deferred_; ///< wait for a login that nobody asked for
  std::vector<waiting_submit> submits_;
  std::uint32_t submits_under_way_ = 0; ///< batches
  std::set<std::shared_ptr<following>> followings_;
  std::uint64_t followed_ = 0;
  std::vector<std::function<void()>> paused_; ///< streams that wait for their turn or their reader
};

/// Makes the broker of an accepted connection.
caf::behavior client_broker(caf::io::broker* self, world* around,
                            std::shared_ptr<client_links const> to,
                            std::shared_ptr<varlink::accepted_connection> connection);

} // namespace troupe::actors
