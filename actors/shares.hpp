// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/clock.hpp"
#include "config/cluster_config.hpp"
#include "runtime/plan/fair_share.hpp"

#include <map>
#include <string>
#include <vector>

namespace troupe::actors {

/// Users and accounts by name, as the scheduling core numbers them, and their fair shares: each
/// user under an account is a leaf of the tree of accounts.
class share_table {
public:
  plan::user_id user_of(const std::string& name);

  /// The leaf of `user` under `account`; without a user the account itself. Where any name may be
  /// charged, one that comes after `names_max` others is charged as if it named no account.
  plan::account_id account_of(const std::string& account, const std::string& user);

  /// The accounts of a configuration and no others; what users have used so far stays. On an error
  /// nothing has changed.
  expected<void> configure(const cluster_config& config, plan::instant now);

  void charge(const std::string& account, const std::string& user, double core_seconds,
              plan::instant at);

  /// As if what `runs` had been used until now: a running job counts as it goes.
  std::vector<std::pair<plan::account_id, double>>
  factors(const std::vector<std::pair<plan::account_id, double>>& runs, plan::instant now) const;

  static constexpr std::size_t names_max = 65'536;

private:
  using key = std::pair<std::string, std::string>; ///< account, user
  plan::account_id number_of(const key& of);

  std::map<std::string, plan::user_id, std::less<>> users_;
  std::map<key, plan::account_id> accounts_;
  plan::fair_share shares_{0};
};

/// Can the scheduling core take all of this configuration? One that it could take in part alone is
/// refused as a whole, before anything has changed.
expected<void> check_policy(const cluster_config& config);

} // namespace troupe::actors
