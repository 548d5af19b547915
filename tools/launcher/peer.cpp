// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// The one peer: who may be it, what it may ask, and what waits to be sent to it.

namespace troupe::launcher {

namespace {

using launch::kind;
using launch::reason;

constexpr std::int64_t write_pause_ns = second_ns / 50;
/// Messages taken from the socket before children are looked at again.
constexpr int messages_per_turn = 32;

struct queued_datagram {
  std::uint64_t stream; ///< its id, never its place: another stream may have that by then
  std::uint32_t length;
};

void watch_peer(launcher& l) {
  epoll_event event{};
  // While a lot waits to be sent, nothing more is asked: that is the back-pressure.
  bool reads = l.out.used < out_queue::size / 2;
  event.events = (reads ? EPOLLIN : 0U) | EPOLLRDHUP | (l.peer_wants_write ? EPOLLOUT : 0U);
  event.data.fd = l.peer_fd;
  if (::epoll_ctl(l.epoll_fd, EPOLL_CTL_MOD, l.peer_fd, &event) != 0)
    drop_peer(l, "it cannot be watched"); // it connects again
}

void copy_in(out_queue& q, const void* bytes, std::size_t length) {
  const auto* from = static_cast<const std::uint8_t*>(bytes);
  auto first = out_queue::size - q.tail < length ? out_queue::size - q.tail : length;
  std::memcpy(q.bytes + q.tail, from, first);
  std::memcpy(q.bytes, from + first, length - first);
  q.tail = (q.tail + length) % out_queue::size;
  q.used += length;
}

void copy_out(const out_queue& q, std::size_t offset, void* bytes, std::size_t length) {
  auto at = (q.head + offset) % out_queue::size;
  auto first = out_queue::size - at < length ? out_queue::size - at : length;
  std::memcpy(bytes, q.bytes + at, first);
  std::memcpy(static_cast<std::uint8_t*>(bytes) + first, q.bytes, length - first);
}

/// What became of a datagram.
enum class sending {
  done,
  full,  ///< the socket takes no more: it tells when it does
  later, ///< the kernel has no room for it, and does not tell when it has
  broken ///< it never will be sent: the connection is no good
};

sending send_now(launcher& l, const void* bytes, std::size_t length, std::uint64_t stream_id) {
  iovec part{const_cast<void*>(bytes), length};
  msghdr head{};
  head.msg_iov = &part;
  head.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  if (stream_id != no_stream) {
    auto stream = find_stream(l, stream_id);
    if (stream == none || l.streams[stream].lent_fd < 0)
      return sending::done; // dropped meanwhile
    const int lent[] = {l.streams[stream].lent_fd, l.streams[stream].store_fd};
    const auto lent_bytes = (lent[1] < 0 ? 1 : 2) * sizeof(int);
    head.msg_control = control;
    head.msg_controllen = CMSG_SPACE(lent_bytes);
    auto* c = CMSG_FIRSTHDR(&head);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(lent_bytes);
    std::memcpy(CMSG_DATA(c), lent, lent_bytes);
  }
  for (;;) {
    if (::sendmsg(l.peer_fd, &head, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
      return sending::done;
    if (errno == EINTR)
      continue;
    if (errno == EAGAIN)
      return sending::full;
    // Too many descriptors in flight also passes when the peer has read some.
    const bool passes = errno == ENOBUFS || errno == ETOOMANYREFS || errno == ENOMEM;
    return passes ? sending::later : sending::broken;
  }
}

/// What waits is sent when the socket says that it takes more, or after a moment.
void send_again(launcher& l, sending why) {
  l.peer_wants_write = why == sending::full;
  if (why == sending::later) {
    l.write_again_ns = boot_now() + write_pause_ns;
    want_timer(l, l.write_again_ns);
  }
  watch_peer(l);
}

void watch_for_peers(launcher& l, bool on) {
  epoll_event event{};
  event.events = on ? EPOLLIN : 0U;
  event.data.fd = l.listen_fd;
  (void)::epoll_ctl(l.epoll_fd, EPOLL_CTL_MOD, l.listen_fd, &event); // needs nothing: cannot fail
}

void reply_refusal(launcher& l, reason why, const char* sentence,
                   const launch::group_key& key = {}) {
  launch::refusal what;
  what.why = why;
  what.key = key;
  refuse(l, what, sentence);
}

template <class F>
void for_groups(launcher& l, const launch::group_key& key, F&& act) {
  auto at = next_group(l, key, none);
  if (at == none)
    reply_refusal(l, reason::not_found, "no such job, incarnation and step is known here", key);
  while (at != none) {
    auto next = next_group(l, key, at);
    act(at);
    at = next;
  }
}

template <class F>
void for_elements(launcher& l, std::uint32_t group_index, std::uint32_t lo, std::uint32_t hi,
                  F&& act) {
  for (auto at = l.groups[group_index].live; at != none; at = l.elements[at].group_next) {
    auto& e = l.elements[at];
    if (e.number >= lo && e.number <= hi && e.state != element_state::ended)
      act(e);
  }
}

void handle_hello(launcher& l, const launch::hello& request, byte_view keyring) {
  if (request.version != launch::protocol_version) {
    reply_refusal(l, reason::unsupported, "this launcher speaks version 1 of its protocol");
    return;
  }
  if (!keyring.empty() || l.keyring_bytes == 0) {
    if (const char* bad = accept_keyring(l, keyring)) {
      char text[256];
      std::snprintf(text, sizeof text, "the keyring is refused: %s", bad);
      reply_refusal(l, reason::keyring, text);
      return;
    }
  }
  l.peer_said_hello = true;
  send_records_again(l);
  send_welcome(l);
  send_records(l);
}

void handle_signal(launcher& l, const launch::signal_request& request) {
  if (request.signo == 0 || request.signo > 64) {
    reply_refusal(l, reason::malformed, "signals are numbered 1 to 64", request.key);
    return;
  }
  for_groups(l, request.key, [&](std::uint32_t group_index) {
    for_elements(l, group_index, request.element_lo, request.element_hi,
                 [&](element& e) { signal_element(l, e, static_cast<int>(request.signo)); });
  });
}

void handle_end(launcher& l, const launch::end_request& request) {
  for_groups(l, request.key, [&](std::uint32_t group_index) {
    revoke(l, group_index, request.element_lo, request.element_hi);
    for_elements(l, group_index, request.element_lo, request.element_hi, [&](element& e) {
      e.end_requested = true;
      end_element(l, e, request.grace_s * second_ns);
    });
  });
}

void handle_forget(launcher& l, const launch::group_key& key) {
  for_groups(l, key, [&](std::uint32_t group_index) {
    if (!forget_group(l, group_index))
      reply_refusal(l, reason::busy, "some of its elements still run or wait here", key);
  });
}

void handle_shutdown(launcher& l, const launch::shutdown_request& request) {
  if (request.end_jobs == 0 && (l.all_elements != none || l.queued > 0)) {
    reply_refusal(l, reason::busy, "elements still run or wait here; end them first");
    return;
  }
  stop(l);
}

template <class M>
bool body_of(byte_view datagram, M& out) {
  if (datagram.size() != sizeof(launch::header) + sizeof(M))
    return false;
  std::memcpy(&out, datagram.data() + sizeof(launch::header), sizeof(M));
  return true;
}

/// Takes the exact body of message M and acts on it; false when its length is wrong.
template <class M, class F>
bool with(byte_view datagram, F&& act) {
  M body;
  if (!body_of(datagram, body))
    return false;
  act(body);
  return true;
}

bool handle_ranges(launcher& l, byte_view datagram) {
  launch::acknowledge_ranges_request request;
  constexpr auto fixed = sizeof(launch::header) + sizeof request;
  if (datagram.size() < fixed)
    return false;
  std::memcpy(&request, datagram.data() + sizeof(launch::header), sizeof request);
  if (request.count > launch::ranges_per_datagram ||
      datagram.size() != fixed + request.count * sizeof(launch::seq_range))
    return false;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    launch::seq_range range;
    std::memcpy(&range, datagram.data() + fixed + i * sizeof range, sizeof range);
    acknowledge(l, range.first, range.last);
  }
  return true;
}

bool handle_stream(launcher& l, std::uint64_t id, bool drop) {
  auto index = find_stream(l, id);
  if (index == none)
    reply_refusal(l, reason::not_found, "no such stream is open here");
  else if (drop && l.streams[index].which == 3)
    reply_refusal(l, reason::busy, "a shepherd's socket goes with the shepherd");
  else if (drop)
    drop_stream(l, index);
  else
    send_stream(l, index);
  return true;
}

/// False when the datagram is not a message of its kind.
bool dispatch(launcher& l, kind what, byte_view datagram, int fd) {
  switch (what) {
  case kind::launch:
    return with<launch::launch_batch>(datagram, [&](auto& m) { admit_batch(l, m, fd); });
  case kind::signal:
    return with<launch::signal_request>(datagram, [&](auto& m) { handle_signal(l, m); });
  case kind::end: return with<launch::end_request>(datagram, [&](auto& m) { handle_end(l, m); });
  case kind::revoke:
    return with<launch::revoke_request>(datagram, [&](auto& m) {
      for_groups(l, m.key, [&](std::uint32_t g) { revoke(l, g, m.element_from, none); });
    });
  case kind::acknowledge:
    return with<launch::acknowledge_request>(datagram, [&](auto& m) { acknowledge(l, 0, m.seq); });
  case kind::acknowledge_ranges: return handle_ranges(l, datagram);
  case kind::lend:
    return with<launch::lend_request>(datagram,
                                      [&](auto& m) { handle_stream(l, m.stream, false); });
  case kind::drop_stream:
    return with<launch::drop_stream_request>(datagram,
                                             [&](auto& m) { handle_stream(l, m.stream, true); });
  case kind::forget:
    return with<launch::forget_request>(datagram, [&](auto& m) { handle_forget(l, m.key); });
  case kind::shutdown:
    return with<launch::shutdown_request>(datagram, [&](auto& m) { handle_shutdown(l, m); });
  case kind::inventory:
    if (datagram.size() != sizeof(launch::header))
      return false;
    send_inventory(l);
    return true;
  case kind::reexec:
    if (datagram.size() != sizeof(launch::header))
      return false;
    l.reexec_wanted = true;
    return true;
  default: return false;
  }
}

void handle(launcher& l, byte_view datagram, int fd) {
  launch::header head;
  if (datagram.size() < sizeof head) {
    reply_refusal(l, reason::malformed, "a message is at least 8 bytes long");
    return;
  }
  std::memcpy(&head, datagram.data(), sizeof head);
  if (head.what == kind::hello) {
    launch::hello request;
    constexpr auto fixed = sizeof head + sizeof request;
    if (datagram.size() < fixed || datagram.size() > fixed + auth::keyring_size_max) {
      reply_refusal(l, reason::malformed, "the hello has an impossible length");
      return;
    }
    std::memcpy(&request, datagram.data() + sizeof head, sizeof request);
    handle_hello(l, request, datagram.subspan(fixed));
  } else if (!l.peer_said_hello) {
    reply_refusal(l, reason::not_connected,
                  "the first message must be a hello with a keyring "
                  "that this launcher accepts");
  } else if (!dispatch(l, head.what, datagram, fd)) {
    reply_refusal(l, reason::malformed,
                  "the message's kind is unknown, or its length is not that "
                  "of its kind");
  }
}

int take_descriptor(msghdr& head) {
  int taken = -1;
  for (auto* c = CMSG_FIRSTHDR(&head); c != nullptr; c = CMSG_NXTHDR(&head, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    auto count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      if (taken >= 0)
        ::close(taken); // one at most is asked for
      taken = fd;
    }
  }
  return taken;
}

bool is_alive(int fd) {
  pollfd entry{fd, POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) == 0;
}

/// A connection, or -1. When descriptors have run out the peer still comes in, by the one that is
/// kept for it: it is who frees others. Without any, who knocks waits.
int accept_one(launcher& l) {
  constexpr int how = SOCK_CLOEXEC | SOCK_NONBLOCK;
  int fd = ::accept4(l.listen_fd, nullptr, nullptr, how);
  if (fd < 0 && (errno == EMFILE || errno == ENFILE) && release_reserve()) {
    fd = ::accept4(l.listen_fd, nullptr, nullptr, how);
    restore_reserve();
  }
  if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
    say("cannot take a connection: %s; trying again in a second", std::strerror(errno));
    watch_for_peers(l, false);
    l.listen_again_ns = boot_now() + second_ns;
    want_timer(l, l.listen_again_ns);
  }
  return fd;
}

/// Says why to a connection that is not taken, then closes it.
void turn_away(int fd, reason why, const char* sentence) {
  struct {
    message<launch::refusal> head;
    char text[256];
  } datagram;
  datagram.head = {};
  datagram.head.body.why = why;
  auto length = std::strlen(sentence);
  std::memcpy(datagram.text, sentence, length);
  (void)::send(fd, &datagram, sizeof datagram.head + length, MSG_DONTWAIT | MSG_NOSIGNAL);
  ::close(fd);
}

} // namespace

bool out_queue_empty(const launcher& l) {
  return l.out.used == 0;
}

void send_datagram(launcher& l, const void* bytes, std::size_t length, std::uint64_t stream_id) {
  if (l.peer_fd < 0)
    return;
  auto& q = l.out;
  const auto first = q.used == 0 ? send_now(l, bytes, length, stream_id) : sending::full;
  if (first == sending::done)
    return;
  if (first == sending::broken) {
    drop_peer(l, std::strerror(errno));
    return;
  }
  queued_datagram entry{stream_id, static_cast<std::uint32_t>(length)};
  if (q.used + sizeof entry + length > out_queue::size) {
    drop_peer(l, "it does not read what it asked for");
    return;
  }
  const bool was_empty = q.used == 0;
  copy_in(q, &entry, sizeof entry);
  copy_in(q, bytes, length);
  if (was_empty)
    send_again(l, first);
  else
    watch_peer(l);
}

std::int64_t check_peer(launcher& l, std::int64_t now) {
  if (l.write_again_ns != 0 && now >= l.write_again_ns) {
    l.write_again_ns = 0;
    if (l.peer_fd >= 0)
      write_peer(l);
  }
  if (l.listen_again_ns != 0 && now >= l.listen_again_ns) {
    l.listen_again_ns = 0;
    watch_for_peers(l, true);
  }
  const auto write = l.write_again_ns;
  const auto listen = l.listen_again_ns;
  return write == 0 || (listen != 0 && listen < write) ? listen : write;
}

void write_peer(launcher& l) {
  auto& q = l.out;
  std::uint8_t datagram[launch::datagram_bytes_max];
  while (q.used > 0) {
    queued_datagram entry{};
    copy_out(q, 0, &entry, sizeof entry);
    copy_out(q, sizeof entry, datagram, entry.length);
    const auto sent = send_now(l, datagram, entry.length, entry.stream);
    if (sent == sending::broken)
      drop_peer(l, std::strerror(errno));
    else if (sent != sending::done)
      send_again(l, sent);
    if (sent != sending::done)
      return;
    q.head = (q.head + sizeof entry + entry.length) % out_queue::size;
    q.used -= sizeof entry + entry.length;
  }
  l.peer_wants_write = false;
  watch_peer(l);
  send_records(l);
}

void refuse(launcher& l, const launch::refusal& what, const char* sentence) {
  struct {
    message<launch::refusal> head;
    char text[512];
  } datagram;
  datagram.head = {};
  datagram.head.body = what;
  auto length = ::strnlen(sentence, sizeof datagram.text);
  std::memcpy(datagram.text, sentence, length);
  send_datagram(l, &datagram, sizeof datagram.head + length, no_stream);
}

void send_welcome(launcher& l) {
  struct {
    message<launch::welcome> head;
    launch::node_range ranges[ranges_max];
  } datagram;
  datagram.head = {};
  datagram.head.head.features =
      launch::feature_ranges | (l.leftovers_uncertain ? launch::feature_uncertain : 0);
  auto& body = datagram.head.body;
  body.mode = l.rules.mode;
  std::memcpy(body.instance, l.instance, sizeof body.instance);
  std::memcpy(body.cluster_id, l.rules.cluster_id, sizeof body.cluster_id);
  body.pid = static_cast<std::uint32_t>(l.own_pid);
  body.uid = l.own_uid;
  body.keyring_version = auth::keyring_view{byte_view{l.keyring, l.keyring_bytes}}.version();
  body.ranges = l.rules.range_count;
  auto tail = l.rules.range_count * sizeof(launch::node_range);
  std::memcpy(datagram.ranges, l.rules.ranges, tail);
  send_datagram(l, &datagram, sizeof datagram.head + tail, no_stream);
}

void drop_peer(launcher& l, const char* why) {
  if (l.peer_fd < 0)
    return;
  say("the peer is gone: %s; %u elements go on", why, l.elements.in_use);
  ::close(l.peer_fd);
  l.peer_fd = -1;
  l.peer_said_hello = false;
  l.peer_wants_write = false;
  l.write_again_ns = 0;
  l.out.head = l.out.tail = l.out.used = 0;
  send_records_again(l);
}

void accept_peer(launcher& l) {
  int fd = accept_one(l);
  if (fd < 0)
    return;
  ucred who{};
  socklen_t length = sizeof who;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0 ||
      who.uid != l.rules.peer_uid) {
    say("uid %u may not speak to this launcher", static_cast<unsigned>(who.uid));
    turn_away(fd, reason::not_connected, "this launcher speaks to another user only");
    return;
  }
  if (l.peer_fd >= 0 && is_alive(l.peer_fd)) {
    turn_away(fd, reason::busy, "this launcher already has a peer, and it is alive");
    return;
  }
  drop_peer(l, "another connection took its place");
  l.peer_fd = fd;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP;
  event.data.fd = fd;
  if (::epoll_ctl(l.epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
    drop_peer(l, "it cannot be watched");
}

void read_peer(launcher& l) {
  std::uint8_t datagram[launch::datagram_bytes_max];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 4)];
  for (int i = 0; i < messages_per_turn && l.peer_fd >= 0; ++i) {
    if (l.out.used >= out_queue::size / 2) {
      watch_peer(l);
      return;
    }
    iovec part{datagram, sizeof datagram};
    msghdr head{};
    head.msg_iov = &part;
    head.msg_iovlen = 1;
    head.msg_control = control;
    head.msg_controllen = sizeof control;
    auto got = ::recvmsg(l.peer_fd, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
      return;
    if (got <= 0) {
      drop_peer(l, got == 0 ? "it closed the connection" : std::strerror(errno));
      return;
    }
    int fd = take_descriptor(head);
    bool too_many = (head.msg_flags & MSG_CTRUNC) != 0 && fd >= 0;
    if ((head.msg_flags & MSG_CTRUNC) != 0 && fd < 0)
      fd = lost_descriptor; // it was sent, and there was no number free for it
    if ((head.msg_flags & MSG_TRUNC) != 0 || too_many)
      reply_refusal(l, reason::malformed, "a message is at most 8,192 bytes long, with one file");
    else
      handle(l, {datagram, static_cast<std::size_t>(got)}, fd);
    if (fd >= 0)
      ::close(fd);
  }
}

} // namespace troupe::launcher
