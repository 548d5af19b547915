// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/relay.hpp"

#include "tools/shepherd/say.hpp"

#include <algorithm>

namespace troupe::shepherd {

using namespace std::chrono_literals;

namespace {

/// Long enough for an answer to carry it along; short against any resend.
constexpr steady::duration ack_delay = 20ms;
constexpr steady::duration resend_first = 500ms;
constexpr steady::duration resend_longest = 5s;

} // namespace

void relay_links::note_due(steady::time_point when) {
  next_tick_ = std::min(next_tick_, when);
}

void relay_links::send(std::uint32_t node, const peer_message& message) {
  auto& l = links_[node];
  const auto bytes = to_cbor(message);
  std::size_t offset = 0;
  do {
    relay part;
    part.node = node;
    part.seq = l.acknowledged + l.waiting.size() + 1;
    const auto length = std::min(bytes.size() - offset, payload_bytes_max);
    const auto* from = bytes.data() + offset;
    part.payload.assign(from, from + length);
    offset += length;
    part.more = offset < bytes.size();
    waiting_bytes_ += length;
    l.waiting.push_back(std::move(part));
  } while (offset < bytes.size());
  send_window(l);
}

void relay_links::give(link& l, relay& part) {
  part.from_session = session_;
  part.to_session = l.session;
  part.ack = l.received;
  send_(part);
}

/// Another shepherd is there: it has had nothing, and has said nothing.
void relay_links::begin_anew(link& l, std::uint64_t session) {
  const auto before = std::exchange(l.session, session);
  l.received = 0;
  l.partial.clear();
  l.owes_ack = false;
  if (before == 0)
    return; // what was sent until now went to this one
  l.former.insert(before);
  l.sent = l.acknowledged = 0;
  std::uint64_t number = 0;
  for (auto& part : l.waiting)
    part.seq = ++number;
  send_window(l);
}

/// Sends what the window allows and was not sent yet.
void relay_links::send_window(link& l) {
  const auto last = l.acknowledged + std::min<std::uint64_t>(l.waiting.size(), window_payloads);
  if (l.sent >= last)
    return;
  while (l.sent < last) {
    auto& part = l.waiting[l.sent - l.acknowledged];
    give(l, part);
    ++l.sent;
  }
  l.owes_ack = false;
  l.resend_after = resend_first;
  l.resend_due = steady::now() + l.resend_after;
  note_due(l.resend_due);
}

void relay_links::acknowledge(link& l, std::uint64_t number) {
  const auto known = l.acknowledged + l.waiting.size();
  if (number <= l.acknowledged || number > known)
    return;
  while (l.acknowledged < number) {
    waiting_bytes_ -= l.waiting.front().payload.size();
    l.waiting.pop_front();
    ++l.acknowledged;
  }
  l.sent = std::max(l.sent, l.acknowledged);
  l.resend_after = resend_first;
  l.resend_due = l.waiting.empty() ? steady::time_point::max() : steady::now() + l.resend_after;
  if (!l.waiting.empty())
    note_due(l.resend_due);
  send_window(l);
}

void relay_links::take(relay from) {
  const auto node = from.node;
  auto& l = links_[node];
  if (l.former.contains(from.from_session))
    return; // late words of one that is gone
  const auto for_another = from.to_session != 0 && from.to_session != session_;
  if (from.from_session != l.session)
    begin_anew(l, from.from_session);
  if (for_another) {
    relay alone; // tells it who is here now
    alone.node = node;
    give(l, alone);
    return;
  }
  acknowledge(l, from.ack);
  if (from.seq == 0)
    return;
  // In order only: what comes too early is sent again.
  const bool expected_one = from.seq == l.received + 1;
  if (expected_one)
    ++l.received;
  if (!l.owes_ack) {
    l.owes_ack = true;
    l.ack_due = steady::now() + ack_delay;
    note_due(l.ack_due);
  }
  if (expected_one)
    deliver(node, l, from);
}

void relay_links::deliver(std::uint32_t node, link& l, relay& from) {
  if (l.partial.size() + from.payload.size() > message_bytes_max) {
    say("a message of node %u is larger than %zu bytes: dropped", node, message_bytes_max);
    l.partial.clear();
    return;
  }
  l.partial.insert(l.partial.end(), from.payload.begin(), from.payload.end());
  if (from.more)
    return;
  const auto bytes = std::exchange(l.partial, {});
  cbor_limits limits;
  limits.bytes_max = message_bytes_max;
  if (auto message = from_cbor<peer_message>(bytes, limits))
    receive_(node, std::move(*message));
  else
    say("a message of node %u: %s", node, message.error().text.c_str());
}

void relay_links::drop(std::uint32_t node) {
  const auto at = links_.find(node);
  if (at == links_.end())
    return;
  auto& l = at->second;
  for (const auto& part : l.waiting)
    waiting_bytes_ -= part.payload.size();
  l.acknowledged += l.waiting.size(); // numbers go on, should the node come back
  l.sent = l.acknowledged;
  l.waiting.clear();
  l.resend_due = steady::time_point::max();
}

void relay_links::resend_all() {
  for (auto& [node, l] : links_) {
    l.sent = l.acknowledged;
    if (l.waiting.empty() && l.received != 0) {
      l.owes_ack = true; // the last one may be lost
      l.ack_due = steady::now();
      note_due(l.ack_due);
    }
    send_window(l);
  }
}

void relay_links::tick(steady::time_point now) {
  if (now < next_tick_)
    return;
  next_tick_ = steady::time_point::max();
  for (auto& [node, l] : links_) {
    if (now >= l.resend_due) {
      const auto after = std::min(l.resend_after * 2, steady::duration{resend_longest});
      l.sent = l.acknowledged;
      send_window(l);
      l.resend_after = after;
      l.resend_due = now + after;
    }
    if (l.owes_ack && now >= l.ack_due) {
      relay alone;
      alone.node = node;
      give(l, alone);
      l.owes_ack = false;
    }
    if (l.owes_ack)
      note_due(l.ack_due);
    if (!l.waiting.empty())
      note_due(l.resend_due);
  }
}

} // namespace troupe::shepherd
