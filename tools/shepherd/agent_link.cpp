// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/agent_link.hpp"

#include "tools/shepherd/say.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace troupe::shepherd {

namespace {

constexpr int packets_per_turn = 64;
constexpr std::uint32_t read_events = EPOLLIN | EPOLLRDHUP;

} // namespace

agent_link::agent_link(int fd, poller& poll, receiver receive)
    : fd_{fd}, poll_{poll}, receive_{std::move(receive)} {
  watched_ = poll_.add(
      fd_, [this](std::uint32_t events) { on_ready(events); }, read_events);
}

agent_link::~agent_link() {
  poll_.remove(fd_);
}

void agent_link::on_ready(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0)
    write_some();
  // An empty packet reads like an end: only the poll tells them apart. After an end SIGTERM will
  // say what it means that nobody holds the other half any more.
  const bool ended = (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0;
  if (((events & EPOLLIN) != 0 || ended) && !read_some() && ended)
    poll_.remove(fd_);
}

/// Takes what is there, up to a bound; false where it came upon nothing, or something empty.
bool agent_link::read_some() {
  std::uint8_t packet[packet_bytes_max];
  for (int i = 0; i < packets_per_turn; ++i) {
    const auto got = ::recv(fd_, packet, sizeof packet, MSG_DONTWAIT | MSG_TRUNC);
    if (got <= 0)
      return false;
    if (static_cast<std::size_t>(got) > sizeof packet) {
      say("a packet of the agent has %zd bytes: dropped", got);
      continue;
    }
    const auto complete = reader_.take({packet, static_cast<std::size_t>(got)});
    if (!complete) {
      say("%s", complete.error().text.c_str());
      continue;
    }
    if (!*complete)
      continue;
    if (auto frame = from_cbor<to_shepherd>(reader_.frame()))
      receive_(std::move(*frame));
    else
      say("a frame of the agent: %s", frame.error().text.c_str());
  }
  return true;
}

void agent_link::send(const to_agent& frame) {
  std::vector<std::vector<std::uint8_t>> packets;
  packets_of(to_cbor(frame), packets);
  for (auto& packet : packets) {
    unsent_bytes_ += packet.size();
    unsent_.push_back(std::move(packet));
  }
  if (!writing_)
    write_some();
}

void agent_link::write_some() {
  while (!unsent_.empty()) {
    const auto& packet = unsent_.front();
    if (::send(fd_, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      if (errno == EINTR)
        continue;
      return want_writing(errno == EAGAIN);
    }
    unsent_bytes_ -= packet.size();
    unsent_.pop_front();
  }
  want_writing(false);
}

void agent_link::want_writing(bool wanted) {
  if (wanted == writing_)
    return;
  writing_ = wanted;
  poll_.change(fd_, wanted ? read_events | EPOLLOUT : read_events);
}

} // namespace troupe::shepherd
