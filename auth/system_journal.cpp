// SPDX-License-Identifier: Apache-2.0
#include "auth/system_journal.hpp"

#include <algorithm>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>

namespace troupe::auth {

bool system_journal::tell(std::span<const std::pair<std::string_view, std::string>> fields) const {
  sockaddr_un address{};
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path)
    return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  std::string entry;
  for (const auto& [name, value] : fields) {
    entry.append(name).append("=");
    // A newline would begin another field.
    std::replace_copy(value.begin(), value.end(), std::back_inserter(entry), '\n', ' ');
    entry += '\n';
  }
  // A socket for each entry: they are rare, and the journal may be restarted in between.
  const unique_fd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  return fd && ::sendto(fd.get(), entry.data(), entry.size(), MSG_NOSIGNAL,
                        reinterpret_cast<const sockaddr*>(&address),
                        sizeof address) == static_cast<ssize_t>(entry.size());
}

} // namespace troupe::auth
