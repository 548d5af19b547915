// SPDX-License-Identifier: Apache-2.0
#include "tools/stub/host_name.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

namespace troupe::stub {

namespace {

constexpr std::size_t name_bytes_max = 64; // the kernel's

bool is_called(const char* name) {
  char own[name_bytes_max + 1] = {};
  if (::gethostname(own, sizeof own - 1) != 0)
    return false;
  own[std::strcspn(own, ".")] = '\0';
  return std::strcmp(own, name) == 0;
}

bool write_to(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  const auto bytes = std::strlen(text);
  const bool good = fd >= 0 && ::write(fd, text, bytes) == static_cast<ssize_t>(bytes);
  if (fd >= 0)
    ::close(fd);
  return good;
}

/// In the new user namespace everybody keeps the number that they had: there is but one.
bool map(const char* path, unsigned id) {
  char line[64];
  std::snprintf(line, sizeof line, "%u %u 1\n", id, id);
  return write_to(path, line);
}

} // namespace

int take_host_name(const char* node) {
  const auto bytes = std::strlen(node);
  if (is_called(node))
    return 0;
  if (bytes == 0 || bytes > name_bytes_max)
    return ENAMETOOLONG;
  if (::unshare(CLONE_NEWUTS) != 0) {
    // Who is not root may do so in a user namespace; its privileges end with the next exec.
    const auto uid = ::geteuid();
    const auto gid = ::getegid();
    if (::unshare(CLONE_NEWUSER | CLONE_NEWUTS) != 0)
      return errno;
    if (!write_to("/proc/self/setgroups", "deny") || !map("/proc/self/uid_map", uid) ||
        !map("/proc/self/gid_map", gid)) {
      std::fprintf(stderr, "troupe-stub: who runs this in a user namespace: %s\n",
                   std::strerror(errno));
      ::_exit(126);
    }
  }
  return ::sethostname(node, bytes) == 0 ? 0 : errno;
}

} // namespace troupe::stub
