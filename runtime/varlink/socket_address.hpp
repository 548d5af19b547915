// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.hpp"

namespace troupe::varlink {

/// A path fits into sockaddr_un with its NUL.
inline constexpr std::size_t socket_path_bytes_max = sizeof(sockaddr_un::sun_path) - 1;

/// The address of the Unix socket at `path`; an error names the limit when the path is too long or
/// empty.
expected<sockaddr_un> socket_address(const std::string& path);

/// What errno `number` means, in the system's words.
std::string system_message(int number);

} // namespace troupe::varlink
