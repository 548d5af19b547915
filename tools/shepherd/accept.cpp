// SPDX-License-Identifier: Apache-2.0
#include "runtime/pmix/socket_owner.hpp"
#include "tools/shepherd/say.hpp"

#include <cerrno>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

// PMIx's listener accepts whoever connects to its loopback port and then believes what the peer
// says of itself: its `native` credential is the uid that the peer sends. There is no call of the
// library between its accept() and the first byte it parses, so accept() itself is where a foreign
// uid is refused: this definition is found before libc's. A refused connection looks to the library
// like one whose peer gave up (ECONNABORTED), and not a byte of it is read.

namespace {

bool is_internet(int fd) {
  int domain = 0;
  socklen_t bytes = sizeof domain;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 &&
         (domain == AF_INET || domain == AF_INET6);
}

/// Root may be asked to serve a user's job by nobody: the shepherd's own uid alone.
bool may_speak(int fd) {
  const auto owner = troupe::pmix::owner_of_peer(fd);
  if (owner && *owner == ::geteuid())
    return true;
  if (owner)
    troupe::shepherd::say("uid %u tried to speak to this job's PMIx server: refused", *owner);
  else
    troupe::shepherd::say("a connection to this job's PMIx server is refused: %s",
                          owner.error().text.c_str());
  return false;
}

} // namespace

extern "C" [[gnu::visibility("default")]] int accept(int listener, sockaddr* address,
                                                     socklen_t* bytes) {
  const int fd = ::accept4(listener, address, bytes, SOCK_CLOEXEC);
  if (fd < 0 || !is_internet(fd) || may_speak(fd))
    return fd;
  ::close(fd);
  errno = ECONNABORTED;
  return -1;
}
