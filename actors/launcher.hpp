// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "runtime/launch/launcher_line.hpp"

#include <deque>
#include <map>
#include <set>

namespace troupe {

/// What the connection's thread hands to the launcher's actor. No answer.
struct launcher_news {
  launch::launcher_line::news what;
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

inline group_key from_launch(const launch::group_key& key) {
  return {key.job, key.incarnation, key.step};
}
inline launch::group_key to_launch(const group_key& key) {
  return {key.job, key.incarnation, key.step};
}

/// Doubled with each try in a row.
inline std::chrono::milliseconds pause_after(std::uint32_t tries, std::chrono::milliseconds first,
                                             std::chrono::milliseconds most) {
  return std::min(most, first * (1 << std::min(tries, 16u)));
}

/// Speaks to troupe-launcher: one connection, found again or made again whenever it breaks. Orders
/// that gather while it works go out as one batch, and again until it has gone; a record is
/// acknowledged when it is durable, whatever becomes of others, or when nobody is there to take it.
class launcher_state {
public:
  using interface =
      launcher_actor::extend_with<protocol<launcher_news, serve_agents, end_launcher>>;
  enum class timer : std::uint32_t { send, start_line, lend };
  using self_pointer = interface::pointer;
  static inline const char* name = "launcher";

  launcher_state(self_pointer self, world& around, verified_capability cap,
                 launch::launcher_place place, bytes keyring,
                 std::shared_ptr<launch::launcher_client> first);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  /// Everything an inventory is made of, until its last part has come.
  struct gathering_inventory {
    std::map<std::uint32_t, report_inventory> nodes;
    bool complete = false;
    std::uint64_t last_sequence = 0;
    std::uint64_t acknowledged = 0;
  };

  void start_line();
  void connected(std::shared_ptr<launch::launcher_client> connection);
  void compare();
  void disconnected(const std::string& why);
  void reconnect(const std::string& why);

  void take(launcher_news& what);
  void take(const launch::welcomed& what);
  void take(const launch::recorded& what);
  void take(const launch::refused& what);
  void take(const launch::batch_done& what);
  void take(launch::lent_stream& what);
  void take(const launch::unlent_stream& what);
  void take(const launch::inventoried& what);
  void take(const launch::inventory_end& what);
  void take(const launch::detailed& what);
  void finish_inventory();
  element_record record_of(const launch::record& from);
  void report(std::map<std::uint32_t, report_records> by_node);
  void settle_unheard(std::uint32_t node, const std::vector<element_record>& records);

  struct waiting_order {
    sealed_order order;
    bool again = false; ///< a connection that was lost had carried it
  };

  using held_request = std::function<expected<void>(launch::launcher_client&)>;

  void take(request<launch_orders>& what);
  void send_batch();
  bool send_one_batch();
  void send_now_and_after(const group_key& group, held_request request);
  void forget(const launch::group_key& group);
  void lend_later(std::uint64_t stream);
  void lend_due();
  void send_acknowledgements();
  void take_back_unread_orders();
  void forget_stale_orders();
  void refuse(const waiting_order& order, launch::reason why, const std::string& text);
  void acknowledge(const acknowledge_records& what);
  void check(const expected<void>& sent);
  status_report status() const;

  self_pointer self_;
  world& world_;
  verified_capability cap_;
  launch::launcher_place place_;
  bytes keyring_;
  std::shared_ptr<launch::launcher_client> connection_;
  launch::launcher_line line_;
  bool serving_ = false;         ///< there are agents to report to
  std::uint32_t line_tries_ = 0; ///< in a row
  std::uint32_t find_tries_ = 0;
  std::map<std::uint32_t, agent_actor> agents_;
  std::optional<gathering_inventory> gathering_;
  std::vector<waiting_order> waiting_;
  std::vector<held_request> after_orders_; ///< what is asked of groups whose orders still wait
  std::uint32_t send_tries_ = 0;           ///< that failed in a row
  bool send_due_ = false;
  std::set<group_key> unforgotten_; ///< to be forgotten when there is a connection again
  std::map<std::uint64_t, std::uint32_t> unlent_; ///< streams to be lent again, and how often tried
  bool lend_due_ = false;
  struct sent_batch {
    std::uint64_t tag;
    std::vector<waiting_order> orders;
  };
  std::deque<sent_batch> batches_; ///< not known to have been read
  std::uint64_t next_tag_ = 1;
  std::map<std::uint64_t, std::string> details_;
  std::set<std::uint64_t> undurable_;  ///< ends that were passed on and are not durable yet
  std::vector<std::uint64_t> settled_; ///< what may be acknowledged and was not yet
  std::uint64_t highest_ = 0, acknowledged_ = 0;
  std::uint64_t orders_ = 0, batch_count_ = 0, records_ = 0, reconnects_ = 0;
  bool ending_ = false;
};

} // namespace troupe::actors
