// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// Streams: one pipe per rank and stream. Of output the launcher keeps both ends, so that neither
// the rank nor the reader loses anything when the other side of the socket dies; the read end is
// lent. Of input it keeps and lends the end to write, and a memfd that says how far the writer is.

namespace troupe::launcher {

namespace {

enum : std::uint32_t { stream_output = 1, stream_errors = 2, stream_input = 4 };

void close_and_forget(int& fd) {
  if (fd >= 0)
    ::close(fd);
  fd = -1;
}

/// An entry that owns these descriptors, and the word of it; `none` and an errno.
std::uint32_t add_stream(launcher& l, const element& e, std::uint32_t rank, std::uint32_t which,
                         int lent, int held, int store) {
  auto index = lent < 0 ? none : l.streams.take();
  if (index == none) {
    const int bad = lent < 0 ? errno : ENFILE;
    for (int fd : {lent, held, store})
      if (fd >= 0)
        ::close(fd);
    errno = bad;
    return none;
  }
  auto& s = l.streams[index];
  s.id = ++l.next_stream_id << 16 | index;
  s.key = l.groups[e.group].key;
  s.node_id = l.groups[e.group].node_id;
  s.uid = l.groups[e.group].uid;
  s.element = e.number;
  s.rank = rank;
  s.which = which;
  s.lent_fd = lent;
  s.held_fd = held;
  s.store_fd = store;
  send_stream(l, index);
  return index;
}

/// The user may open it again, as /dev/stdin. Both ends are -1, and errno says why, on failure.
void make_pipe(launcher& l, const element& e, int (&ends)[2]) {
  if (::pipe2(ends, O_CLOEXEC) != 0 || l.rules.is_private() ||
      ::fchown(ends[0], l.groups[e.group].uid, static_cast<gid_t>(-1)) == 0)
    return;
  const int bad = errno;
  close_and_forget(ends[0]);
  close_and_forget(ends[1]);
  errno = bad;
}

std::uint32_t open_output(launcher& l, const element& e, std::uint32_t rank, std::uint32_t which,
                          int& of_child) {
  int ends[2] = {-1, -1};
  make_pipe(l, e, ends);
  of_child = ends[1];
  return add_stream(l, e, rank, which, ends[0], ends[1], -1);
}

/// The end to write and the store go together: what is in the store before its file position has
/// been written. Both survive whoever writes.
std::uint32_t open_input(launcher& l, const element& e, std::uint32_t rank, int to) {
  int store = to < 0 ? -1 : ::memfd_create("troupe-input", MFD_CLOEXEC);
  if (store < 0 && to >= 0) {
    ::close(to);
    to = -1;
  }
  return add_stream(l, e, rank, stream_input, to, -1, store);
}

/// A terminal for the first rank: its master's side is lent twice, the other one is kept so that
/// the terminal stays while the element runs.
int open_terminal(launcher& l, const element& e, const auth::order_view& order,
                  const prepared_spec& spec, rank& r, child_plan& plan) {
  int locked = 0;
  winsize size{};
  size.ws_row = spec.view.rows;
  size.ws_col = spec.view.columns;
  int ours = ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  int theirs = -1;
  if (ours >= 0 && ::ioctl(ours, TIOCSPTLCK, &locked) == 0 && ::ioctl(ours, TIOCSWINSZ, &size) == 0)
    theirs = ::ioctl(ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  int input = theirs < 0 ? -1 : ::fcntl(ours, F_DUPFD_CLOEXEC, 0);
  if (input < 0 || (plan.changes_ids && ::fchown(theirs, order.uid, static_cast<gid_t>(-1)) != 0)) {
    const int bad = errno;
    for (int fd : {ours, theirs, input})
      if (fd >= 0)
        ::close(fd);
    return bad;
  }
  plan.terminal_fd = theirs;
  if ((r.output = add_stream(l, e, 0, stream_output, ours, theirs, -1)) == none) {
    const int bad = errno;
    ::close(input);
    return bad;
  }
  return (r.input = open_input(l, e, 0, input)) == none ? errno : 0;
}

} // namespace

int open_streams(launcher& l, const element& e, const auth::order_view& order,
                 const prepared_spec& spec, std::uint32_t rank_index, child_plan& plan) {
  auto& r = l.ranks[rank_index];
  const auto number = order.rank_of(r.local);
  plan.input_fd = plan.output_fd = plan.error_output_fd = plan.terminal_fd = -1;
  if (spec.view.has_terminal && number == 0)
    return open_terminal(l, e, order, spec, r, plan);
  if (spec.view.stdout_path == "|" &&
      (r.output = open_output(l, e, number, stream_output, plan.output_fd)) == none)
    return errno;
  if (spec.view.stderr_path == "|" && !spec.view.merge_stderr &&
      (r.error_output = open_output(l, e, number, stream_errors, plan.error_output_fd)) == none)
    return errno;
  if (spec.view.stdin_path != "|" || number != 0)
    return 0;
  int ends[2] = {-1, -1};
  make_pipe(l, e, ends);
  plan.input_fd = ends[0];
  if ((r.input = open_input(l, e, number, ends[1])) != none)
    return 0;
  const int bad = errno;
  close_child_input(plan);
  return bad;
}

void close_child_input(child_plan& plan) {
  close_and_forget(plan.input_fd);
}

void send_stream(launcher& l, std::uint32_t index) {
  const auto& s = l.streams[index];
  if (!l.peer_said_hello || s.lent_fd < 0)
    return;
  message<launch::stream> out;
  out.body.id = s.id;
  out.body.key = s.key;
  out.body.node_id = s.node_id;
  out.body.element = s.element;
  out.body.rank = s.rank;
  out.body.which = s.which;
  out.body.uid = s.uid;
  send_datagram(l, &out, sizeof out, s.id);
}

/// At the element's end, leftovers being killed: the reader sees the end of the stream.
void close_stream_writer(launcher& l, std::uint32_t index) {
  auto& s = l.streams[index];
  close_and_forget(s.held_fd);
  if (s.lent_fd < 0)
    l.streams.give_back(index);
}

/// At the element's end: nobody reads it.
void close_input(launcher& l, std::uint32_t index) {
  close_and_forget(l.streams[index].lent_fd);
  close_and_forget(l.streams[index].store_fd);
  l.streams.give_back(index);
}

/// Nobody reads it any more: a rank that still writes gets EPIPE. Of input: nothing more will come,
/// a rank that has read all sees its end. The entry itself stays until its element ended, because
/// the element names it.
void drop_stream(launcher& l, std::uint32_t index) {
  auto& s = l.streams[index];
  close_and_forget(s.lent_fd);
  close_and_forget(s.store_fd);
  if (s.held_fd < 0 && s.which != stream_input)
    l.streams.give_back(index);
}

std::uint32_t find_stream(launcher& l, std::uint64_t id) {
  auto index = static_cast<std::uint32_t>(id & 0xffff);
  return l.streams.valid(index) && l.streams[index].id == id ? index : none;
}

} // namespace troupe::launcher
