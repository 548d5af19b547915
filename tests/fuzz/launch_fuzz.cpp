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

launcher* make_launcher() {
  if (sodium_init() < 0)
    std::abort();
  auto* memory = ::mmap(nullptr, sizeof(launcher), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    std::abort();
  auto* l = static_cast<launcher*>(memory);
  l->rules.mode = troupe::launch::launcher_mode::cluster;
  l->rules.uid_min = 1000;
  l->listen_fd = l->peer_fd = l->lock_fd = l->error_read = l->error_write = -1;
  l->children_fd = l->cgroup_dir = l->chain.fd = -1;
  l->announce_head = l->announce_tail = l->ended_head = l->all_elements = troupe::launcher::none;
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
  static launcher* l = make_launcher();
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
