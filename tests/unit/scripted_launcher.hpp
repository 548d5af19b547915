// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "auth/order_view.hpp"
#include "base/interval_set.hpp"

#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>

namespace troupe::test {

/// Draws below a bound, the same on every machine for a seed.
class dice {
public:
  explicit dice(std::uint64_t seed) : engine_{seed} {}
  std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }
  /// True once in `times` draws.
  bool once_in(std::uint64_t times) { return below(times) == 0; }

private:
  std::mt19937_64 engine_;
};

/// One node's launcher as its agent meets it, without a process behind it: it keeps windows, fills
/// slots, numbers records and keeps them until acknowledged, by the rules of tools/launcher. What
/// ends when, what is told when, told twice or not at all, is the test's to say. A job's name says
/// what its elements do: "endless" ones run until they are ended, "brief" ones end within 5 ms,
/// others within 4 s; "failing" ones end with exit code 3.
class scripted_launcher {
public:
  struct listener {
    std::function<void(report_records)> records;
    std::function<void(report_inventory)> inventory;
    std::function<void(const auth::order_view&)> ordered;       ///< an order was accepted
    std::function<void(const element_record&)> acknowledged;    ///< the end of an element was
    std::function<void(job_id, std::uint32_t element)> started; ///< on this node
    std::function<void(const std::string&)> violated;           ///< a rule that actors must keep
  };

  scripted_launcher(std::shared_ptr<node_inventory const> offers, const clock_source& clock,
                    dice& random);

  /// Who is told; none while the daemon is not there.
  listener to;

  /// What becomes of an order; takes all of them where nothing is set.
  enum class judgement : std::uint8_t { takes, refuses_for_now, refuses_at_its_end, refuses };
  std::function<judgement(const auth::order_view&)> judges;
  /// So many of the next elements cannot be started, for want of something that may come back.
  std::uint32_t short_starts = 0;
  std::uint64_t refused = 0; ///< orders

  // -- what the agent passes on
  void launch(std::vector<sealed_order>& orders);
  void end(const end_group& what);
  void revoke(const revoke_group& what);
  void acknowledge(const acknowledge_records& what);
  void forget(const group_key& group);

  /// An order that had come before the daemon began: nobody is told of it.
  void had(const sealed_order& what);

  // -- the script
  /// Elements that are due, or over their time limit, end.
  void work();
  /// An element that runs ends now with this exit code, or any one; false if there is none.
  bool end_one(std::int32_t exit_code = 0);
  /// What happened since the last time becomes records.
  void flush();
  /// Passes on the oldest records that nobody was told of; false if there are none.
  bool deliver();
  /// Passes something on that was passed on before.
  void repeat();
  /// The connection breaks: what was not passed on is lost, what is asked now is not heard.
  void disconnect();
  /// It is there again: says what it has, and all that was not acknowledged.
  void connect();
  /// The daemon is gone, with all that it had not passed on; what runs goes on.
  void lose_daemon();
  /// It ended, and what it ran with it; a new one is there.
  void restart();

  bool connected() const { return connected_; }
  bool has_agent() const { return to.inventory != nullptr; }
  /// The incarnation in which an element's own ranks run here.
  std::optional<std::uint32_t> incarnation_of(job_id job, std::uint32_t element) const;
  std::size_t running() const { return running_.size(); }
  std::size_t queued() const;
  bool idle() const { return running_.empty() && queued() == 0 && outgoing_.empty(); }
  std::size_t unacknowledged() const { return undurable_.size(); }
  const launcher_instance& instance() const { return instance_; }

private:
  struct running_element {
    group_key group;
    std::uint32_t number = 0;
    std::uint32_t slot = 0;
    std::uint32_t rank_first = 0;
    std::set<std::uint32_t> units; ///< processing units
    bool announced = false;
    utc_ns started = 0;
    boot_ns began = 0; ///< as `started`
    boot_ns due = 0;   ///< 0: never
    boot_ns limit = 0;
    std::int32_t exit_code = 0;
    std::int32_t signal = 0;
    bool timed_out = false;
    bool never_ran = false;
    utc_ns ended = 0;
  };
  struct launch_group_state {
    bytes newest; ///< the order whose window and cpusets count
    interval_set seen;
    std::deque<std::pair<std::uint32_t, std::uint32_t>> queue; ///< ranges
    std::set<std::uint32_t> slots;                             ///< taken
  };

  void admit(const sealed_order& what);
  bool acceptable(const auth::order_view& order, const group_key& group);
  void refuse(const auth::order_view& order, const group_key& group, std::string why,
              judgement how);
  void refill(const group_key& key, launch_group_state& group);
  void start(const group_key& key, const auth::order_view& newest, std::uint32_t number,
             std::uint32_t slot);
  void finish(std::size_t index);
  void withdraw(const group_key& key, std::uint32_t first, std::uint32_t last);
  element_record& add(element_record::kind what, const group_key& group);
  element_record end_record(const running_element& what);
  report_inventory inventory() const;

  std::shared_ptr<node_inventory const> offers_;
  const clock_source& clock_;
  dice& random_;
  launcher_instance instance_{};
  std::uint8_t starts_ = 0;
  bool connected_ = false;
  std::map<group_key, launch_group_state> groups_;
  std::vector<running_element> running_;
  std::vector<running_element> ended_;  ///< without a record yet
  std::vector<element_record> pending_; ///< records since the last flush
  std::deque<std::vector<element_record>> outgoing_;
  std::vector<std::vector<element_record>> told_;
  std::map<std::uint64_t, element_record> kept_; ///< until acknowledged
  std::set<std::uint64_t> undurable_;
  std::deque<sealed_order> waiting_; ///< for a connection
  /// Those whose refusal is among `outgoing_`, as they come there.
  std::deque<sealed_order> unheard_;
  std::uint64_t sequence_ = 0;
};

/// The agent in front of a scripted launcher: passes on what comes, both ways.
class scripted_agent {
public:
  using interface = agent_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "agent";

  scripted_agent(self_pointer self, actors::world& around, actors::verified_capability cap,
                 node_actor node, std::shared_ptr<scripted_launcher> launcher);
  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  self_pointer self_;
  actors::world& world_;
  actors::verified_capability cap_;
  node_actor node_;
  std::shared_ptr<scripted_launcher> launcher_;
};

} // namespace troupe::test
