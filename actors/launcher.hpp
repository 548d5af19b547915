// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "runtime/launch/spawn.hpp"

#include <deque>
#include <map>
#include <set>
#include <thread>

namespace troupe {

/// What the reading thread hands to the launcher's actor. No answer.
struct launcher_news {
  std::shared_ptr<launch::event> what;                 ///< an event of the connection,
  std::shared_ptr<launch::launcher_client> connection; ///< or a new connection,
  std::string lost;                                    ///< or why there is none
  std::uint64_t generation = 0;
  using answer = void;
};

/// The agents on whose behalf a launcher serves; by node number. No answer.
struct serve_agents {
  std::map<std::uint32_t, agent_actor> agents;
  using answer = void;
};

/// End the launcher, and what it runs with it. Answers when it has been told.
struct launcher_ended {
  using answer_tag = void;
};
struct end_launcher {
  bool end_jobs = true;
  using answer = launcher_ended;
};

template <>
struct auth::policy<launcher_news> : allow<verb::node_report, troupe::roles> {};
template <>
struct auth::policy<serve_agents> : allow<verb::supervise, troupe::roles> {};
template <>
struct auth::policy<end_launcher> : allow<verb::supervise, troupe::roles> {};

} // namespace troupe

namespace troupe::actors {

/// Speaks to troupe-launcher: one connection, found again or made again whenever it breaks. Orders
/// that gather while it works go out as one batch; records are acknowledged up to the first that is
/// not durable yet.
class launcher_state {
public:
  using interface =
      launcher_actor::extend_with<protocol<launcher_news, serve_agents, end_launcher>>;
  using self_pointer = interface::pointer;
  static inline const char* name = "launcher";

  launcher_state(self_pointer self, world& around, verified_capability cap,
                 launch::launcher_place place, bytes keyring,
                 std::shared_ptr<launch::launcher_client> first);
  ~launcher_state();

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  /// Everything an inventory is made of, until its last part has come.
  struct gathering_inventory {
    std::map<std::uint32_t, report_inventory> nodes;
    bool complete = false;
    std::uint64_t last_sequence = 0;
    std::uint64_t acknowledged = 0;
  };

  void connected(std::shared_ptr<launch::launcher_client> connection);
  void disconnected(const std::string& why);
  void read_events(std::shared_ptr<launch::launcher_client> connection, std::uint64_t generation);
  void reconnect();

  void take(launcher_news& what);
  void take(const launch::welcomed& what);
  void take(const launch::recorded& what);
  void take(const launch::refused& what);
  void take(const launch::batch_done& what);
  void take(launch::lent_stream& what);
  void take(const launch::inventoried& what);
  void take(const launch::inventory_end& what);
  void take(const launch::detailed& what);
  void finish_inventory();
  element_record record_of(const launch::record& from);
  void report(std::map<std::uint32_t, report_records> by_node);

  struct waiting_order {
    sealed_order order;
    bool again = false; ///< a connection that was lost had carried it
  };

  void send_batch();
  void take_back_unread_orders();
  void forget_stale_orders();
  void refuse(const waiting_order& order, const launch::refused& what);
  void acknowledge(const acknowledge_records& what);
  void check(const expected<void>& sent);
  status_report status() const;

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  launch::launcher_place place_;
  bytes keyring_;
  std::shared_ptr<launch::launcher_client> connection_;
  std::uint64_t generation_ = 0;
  std::thread reader_;
  std::map<std::uint32_t, agent_actor> agents_;
  std::optional<gathering_inventory> gathering_;
  std::vector<waiting_order> waiting_;
  struct sent_batch {
    std::uint64_t tag;
    std::vector<waiting_order> orders;
  };
  std::deque<sent_batch> batches_; ///< not known to have been read
  std::uint64_t next_tag_ = 1;
  std::map<std::uint64_t, std::string> details_;
  std::set<std::uint64_t> undurable_; ///< ends that were passed on and are not durable yet
  std::uint64_t highest_ = 0, acknowledged_ = 0;
  std::uint64_t orders_ = 0, batch_count_ = 0, records_ = 0, reconnects_ = 0;
  bool ending_ = false;
};

} // namespace troupe::actors
