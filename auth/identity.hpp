// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/reason.hpp"

#include <string>
#include <vector>

namespace troupe::auth {

/// A user as the system's databases know them; what a warrant and its orders run as.
struct account {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups; ///< supplementary, sorted, unique, with gid; at most 1024
  std::string user;
  std::string home;
  std::string shell;

  bool operator==(const account&) const = default;
};

/// Looks a uid up (getpwuid_r, getgrouplist). Blocks as long as NSS does: never call it in an actor
/// that others wait for. Refused when the uid is unknown or has more than 1024 groups.
checked<account> resolve_account(std::uint32_t uid);

} // namespace troupe::auth
