// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/socket_address.hpp"

#include <cstring>

namespace troupe::varlink {

expected<sockaddr_un> socket_address(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos)
    return fail(errc::invalid, "a socket needs a path without NUL bytes");
  if (path.size() > socket_path_bytes_max)
    return fail(errc::invalid, "the socket path " + path + " has " + std::to_string(path.size()) +
                                   " bytes, the system's limit is " +
                                   std::to_string(socket_path_bytes_max) +
                                   "; choose a shorter one");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  return address;
}

std::string system_message(int number) {
  // Not strerror(): it need not be thread-safe, and its translation loads locales.
  const auto* text = ::strerrordesc_np(number);
  return text != nullptr ? text : "error " + std::to_string(number);
}

} // namespace troupe::varlink
