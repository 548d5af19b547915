// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/shepherd/peer_messages.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <set>

namespace troupe::shepherd {

using steady = std::chrono::steady_clock;

/// Messages between the shepherds of a job, end to end reliable: whatever lies between may lose,
/// repeat or be killed. Each pair of nodes numbers its payloads; they are kept until the other
/// shepherd has acknowledged them, and sent again after a `hello` and when time passes. A shepherd
/// may end and another one come in its place, for later steps: each has a session of its own, and
/// what waited for the one is numbered anew for the other.
class relay_links {
public:
  using sender = std::function<void(relay)>;
  using receiver = std::function<void(std::uint32_t node, peer_message)>;

  /// `session`: unlike that of every other shepherd of the job, and not 0.
  relay_links(std::uint64_t session, sender send, receiver receive)
      : session_{session}, send_{std::move(send)}, receive_{std::move(receive)} {}

  void send(std::uint32_t node, const peer_message& message);
  void take(relay from);
  /// Everything that is not acknowledged, again.
  void resend_all();
  /// What is due: acknowledgements, and payloads that were not acknowledged in time.
  void tick(steady::time_point now);
  /// When `tick` is due next.
  steady::time_point next_tick() const { return next_tick_; }
  /// Nobody waits any more for what is on its way to this node.
  void drop(std::uint32_t node);
  /// More waits for some node than any that lives would let wait.
  bool is_stuck() const { return waiting_bytes_ > waiting_bytes_max; }

private:
  static constexpr std::size_t window_payloads = 64;
  static constexpr std::size_t waiting_bytes_max = 512u << 20;
  static constexpr std::size_t message_bytes_max = 512u << 20;

  struct link {
    std::uint64_t session = 0;      ///< of the other side; 0: it has not spoken yet
    std::set<std::uint64_t> former; ///< sessions that were there before it
    std::uint64_t sent = 0;         ///< the highest number that was sent at least once
    std::uint64_t acknowledged = 0;
    std::deque<relay> waiting; ///< from acknowledged + 1 on
    std::uint64_t received = 0;
    bool owes_ack = false;
    steady::time_point ack_due{};
    steady::time_point resend_due = steady::time_point::max();
    steady::duration resend_after{};
    std::vector<std::uint8_t> partial;
  };

  void give(link& l, relay& part);
  void begin_anew(link& l, std::uint64_t session);
  void send_window(link& l);
  void acknowledge(link& l, std::uint64_t number);
  void deliver(std::uint32_t node, link& l, relay& from);
  void note_due(steady::time_point when);

  std::uint64_t session_;
  sender send_;
  receiver receive_;
  std::map<std::uint32_t, link> links_;
  std::size_t waiting_bytes_ = 0;
  steady::time_point next_tick_ = steady::time_point::max();
};

} // namespace troupe::shepherd
