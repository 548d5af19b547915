// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/types.hpp"

#include <unordered_map>
#include <vector>

namespace troupe::plan {

/// How much of its share an account has used lately. Accounts form a tree; users are its leaves, as
/// accounts of their own, if they are to be told apart. Usage decays with a half-life, so that what
/// was used long ago is forgotten.
///
/// factor = 2^(−usage / share), where both are fractions of the whole: `share` the product of
/// shares ÷ siblings' shares down from the root, and `usage` the account's, mixed on each level
/// with that of its parent by the same fraction (as Slurm's "fair tree"'s predecessor, the
/// multifactor plugin's "effective usage", does). 1: nothing used; ½: exactly the share; towards 0
/// beyond.
class fair_share {
public:
  /// In the caller's unit of time; 0: usage never decays.
  explicit fair_share(duration half_life);

  static constexpr account_id root = 0;

  /// Adds or changes an account. Fails for the root, an unknown parent, and a circle. Shares of 0:
  /// its jobs have the factor 0 as soon as anybody used anything.
  expected<void> set_account(account_id account, account_id parent, std::uint32_t shares);

  bool knows(account_id id) const { return accounts_.contains(id); }

  /// So much was used (cores × time, say) until `now`; counts for all accounts above, too. An
  /// unknown account is a child of the root with one share from then on.
  void charge(account_id account, double usage, instant now);

  /// What is left of the account's usage at `now`, its children's included.
  double usage(account_id account, instant now) const;

  /// 0 … 1. Changes with charges and settings only: all usage decays alike.
  double factor(account_id account) const;

  /// All accounts with their factors, by id: for `planner_core::set_share`.
  std::vector<std::pair<account_id, double>> factors() const;

private:
  struct account {
    account_id parent = root;
    std::uint32_t shares = 1;
    std::uint64_t shares_of_children = 0;
    double used = 0; ///< grown by 2^(time / half-life) instead of decaying
  };

  double growth(instant now) const;
  void rebase(instant now);
  double effective_usage(const account& of) const;
  double share(const account& of) const;

  duration half_life_;
  instant base_ = 0; ///< where `growth` is 1
  std::unordered_map<account_id, account> accounts_;
};

} // namespace troupe::plan
