// SPDX-License-Identifier: Apache-2.0
#include "actors/users.hpp"

#include <array>
#include <fmt/format.h>
#include <pwd.h>

namespace troupe::actors {

std::string user_name_of(std::uint32_t uid) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
    return std::to_string(uid);
  return found->pw_name;
}

expected<std::uint32_t> uid_of(const std::string& name) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
    return fail(errc::not_found, fmt::format("there is no user '{}' on this machine", name));
  return found->pw_uid;
}

} // namespace troupe::actors
