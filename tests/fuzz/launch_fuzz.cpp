// SPDX-License-Identifier: Apache-2.0
// The launcher's own parsers: a datagram of its peer, and a batch of orders. Nothing is ever
// started: there is no keyring, so that every order ends as a refusal.
#include "tools/launcher/launcher.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using troupe::launcher::launcher;

int peer_end = -1;

launcher* launcher_without_keys() {
  auto* l = sodium_init() < 0 ? nullptr : troupe::launcher::make_launcher();
  if (l == nullptr)
    std::abort();
  l->rules.mode = troupe::launch::launcher_mode::cluster;
  l->rules.uid_min = 1000;
  l->epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  l->opts.state = "/nonexistent";
  return l;
}

void connect(launcher& l) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    std::abort();
  if (peer_end >= 0)
    ::close(peer_end);
  peer_end = ends[0];
  l.peer_fd = ends[1];
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = l.peer_fd;
  (void)::epoll_ctl(l.epoll_fd, EPOLL_CTL_ADD, l.peer_fd, &event);
}

void drain() {
  char bytes[troupe::launch::datagram_bytes_max];
  while (::recv(peer_end, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
}

void take_batch(launcher& l, const std::uint8_t* data, std::size_t size) {
  int fd = ::memfd_create("batch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size) ||
      ::fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    std::abort();
  troupe::launcher::admit_batch(l, {1, size}, fd);
  ::close(fd);
}

void take_datagram(launcher& l, const std::uint8_t* data, std::size_t size) {
  l.peer_said_hello = true;
  (void)::send(peer_end, data, size, MSG_NOSIGNAL);
  troupe::launcher::read_peer(l);
  l.stopping = l.reexec_wanted = false;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static launcher* l = launcher_without_keys();
  if (size == 0 || size > 8000)
    return 0;
  if (l->peer_fd < 0)
    connect(*l);
  if (data[0] % 2 == 0)
    take_batch(*l, data + 1, size - 1);
  else
    take_datagram(*l, data + 1, size - 1);
  drain();
  return 0;
}
