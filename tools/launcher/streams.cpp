// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

// Streamed output: one pipe per rank and stream. The launcher keeps both ends, so that neither the
// rank nor the reader loses anything when the other side of the socket dies; the read end is lent.

namespace troupe::launcher {

std::uint32_t open_stream(launcher& l, const element& e, std::uint32_t rank, std::uint32_t which) {
  int ends[2];
  auto index = l.streams.take();
  if (index == none) {
    errno = ENFILE;
    return none;
  }
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    l.streams.give_back(index);
    return none;
  }
  auto& s = l.streams[index];
  s.id = ++l.next_stream_id << 16 | index;
  s.key = l.groups[e.group].key;
  s.node_id = l.groups[e.group].node_id;
  s.element = e.number;
  s.rank = rank;
  s.which = which;
  s.read_fd = ends[0];
  s.write_fd = ends[1];
  send_stream(l, index);
  return index;
}

void send_stream(launcher& l, std::uint32_t index) {
  const auto& s = l.streams[index];
  if (!l.peer_said_hello || s.read_fd < 0)
    return;
  message<launch::stream> out;
  out.body.id = s.id;
  out.body.key = s.key;
  out.body.node_id = s.node_id;
  out.body.element = s.element;
  out.body.rank = s.rank;
  out.body.which = s.which;
  send_datagram(l, &out, sizeof out, index);
}

/// At the element's end, leftovers being killed: the reader sees the end of the stream.
void close_stream_writer(launcher& l, std::uint32_t index) {
  auto& s = l.streams[index];
  if (s.write_fd >= 0)
    ::close(s.write_fd);
  s.write_fd = -1;
  if (s.read_fd < 0)
    l.streams.give_back(index);
}

/// Nobody reads it any more: a rank that still writes gets EPIPE. The entry itself stays until its
/// element ended, because the element names it.
void drop_stream(launcher& l, std::uint32_t index) {
  auto& s = l.streams[index];
  if (s.read_fd >= 0)
    ::close(s.read_fd);
  s.read_fd = -1;
  if (s.write_fd < 0)
    l.streams.give_back(index);
}

std::uint32_t find_stream(launcher& l, std::uint64_t id) {
  auto index = static_cast<std::uint32_t>(id & 0xffff);
  return l.streams.valid(index) && l.streams[index].id == id ? index : none;
}

} // namespace troupe::launcher
