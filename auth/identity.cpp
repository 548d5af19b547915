// SPDX-License-Identifier: Apache-2.0
#include "auth/identity.hpp"

#include "auth/warrant.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace troupe::auth {

namespace {

constexpr std::size_t passwd_bytes_max = 1024 * 1024;

checked<std::vector<std::uint32_t>> groups_of(const char* user, gid_t gid) {
  std::vector<gid_t> found(64);
  int count = static_cast<int>(found.size());
  if (::getgrouplist(user, gid, found.data(), &count) < 0) {
    if (count > static_cast<int>(warrant_groups_max))
      return refuse(reason::too_many, "user '" + std::string{user} + "' is in " +
                                          std::to_string(count) + " groups, the limit is 1024");
    found.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(user, gid, found.data(), &count) < 0)
      return refuse(reason::unknown_user, "the groups of user '" + std::string{user} +
                                              "' changed while they were read; try again");
  }
  std::vector<std::uint32_t> groups(found.begin(), found.begin() + count);
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  return groups;
}

} // namespace

checked<account> resolve_account(std::uint32_t uid) {
  std::vector<char> buffer(4096);
  passwd entry{};
  passwd* found = nullptr;
  int status = 0;
  while ((status = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found)) == ERANGE &&
         buffer.size() < passwd_bytes_max)
    buffer.resize(buffer.size() * 2);
  if (status != 0)
    return refuse(reason::unknown_user, "uid " + std::to_string(uid) +
                                            " could not be looked up: " + std::strerror(status));
  if (found == nullptr)
    return refuse(reason::unknown_user,
                  "uid " + std::to_string(uid) + " is in no user database of this machine");
  auto groups = groups_of(entry.pw_name, entry.pw_gid);
  if (!groups)
    return tl::unexpected{groups.error()};
  return account{uid,           entry.pw_gid, std::move(*groups),
                 entry.pw_name, entry.pw_dir, entry.pw_shell};
}

} // namespace troupe::auth
