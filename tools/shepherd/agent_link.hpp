// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/shepherd_packets.hpp"
#include "tools/shepherd/peer_messages.hpp"
#include "tools/shepherd/poller.hpp"

#include <deque>

namespace troupe::shepherd {

/// The inherited half of the pair whose other half is the agent's. Its end says nothing: the agent
/// may come back, with the same half.
class agent_link {
public:
  using receiver = std::function<void(to_shepherd)>;

  agent_link(int fd, poller& poll, receiver receive);
  agent_link(const agent_link&) = delete;
  agent_link& operator=(const agent_link&) = delete;
  ~agent_link();

  void send(const to_agent& frame);
  /// More waits than any agent that reads would let wait.
  /// False when the agent can never be heard.
  bool is_watched() const { return watched_; }
  bool is_stuck() const { return unsent_bytes_ > unsent_bytes_max; }
  bool has_unsent() const { return !unsent_.empty(); }

private:
  static constexpr std::size_t unsent_bytes_max = 256u << 20;

  void on_ready(std::uint32_t events);
  bool read_some();
  void write_some();
  void want_writing(bool wanted);

  int fd_;
  poller& poll_;
  receiver receive_;
  packet_reader reader_;
  std::deque<std::vector<std::uint8_t>> unsent_;
  std::size_t unsent_bytes_ = 0;
  bool watched_ = false;
  bool writing_ = false;
};

} // namespace troupe::shepherd
