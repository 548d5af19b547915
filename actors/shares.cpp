// SPDX-License-Identifier: Apache-2.0
#include "actors/shares.hpp"

namespace troupe::actors {

plan::user_id share_table::user_of(const std::string& name) {
  return users_.emplace(name, static_cast<plan::user_id>(users_.size() + 1)).first->second;
}

plan::account_id share_table::number_of(const key& of) {
  // 0 is the root.
  return accounts_.emplace(of, static_cast<plan::account_id>(accounts_.size() + 1)).first->second;
}

plan::account_id share_table::account_of(const std::string& account, const std::string& user) {
  const auto known = accounts_.size();
  const auto parent = account.empty() ? plan::fair_share::root : number_of({account, {}});
  if (user.empty())
    return parent;
  const auto leaf = number_of({account, user});
  if (accounts_.size() != known)
    (void)shares_.set_account(leaf, parent, 1);
  return leaf;
}

expected<void> share_table::configure(const cluster_config& config, utc_ns now) {
  if (config.half_life_s != half_life_s_) {
    plan::fair_share fresh{std::int64_t{config.half_life_s} * ns_per_s};
    for (const auto& [of, number] : accounts_)
      if (!of.second.empty()) {
        const auto parent =
            of.first.empty() ? plan::fair_share::root : accounts_.at({of.first, {}});
        if (parent != plan::fair_share::root)
          (void)fresh.set_account(parent, plan::fair_share::root, 1);
        (void)fresh.set_account(number, parent, 1);
        fresh.charge(number, shares_.usage(number, now), now);
      }
    shares_ = std::move(fresh);
    half_life_s_ = config.half_life_s;
  }
  for (const auto& account : config.accounts) {
    const auto parent =
        account.parent.empty() ? plan::fair_share::root : number_of({account.parent, {}});
    if (auto done = shares_.set_account(number_of({account.name, {}}), parent, account.shares);
        !done)
      return done;
  }
  // Users who were seen before their account was known stand below it from now on.
  for (const auto& [of, number] : accounts_)
    if (!of.second.empty() && config.find_account(of.first))
      if (auto done = shares_.set_account(number, accounts_.at({of.first, {}}), 1); !done)
        return done;
  return {};
}

void share_table::charge(const std::string& account, const std::string& user, double core_seconds,
                         utc_ns at) {
  shares_.charge(account_of(account, user), core_seconds, at);
}

std::vector<std::pair<plan::account_id, double>>
share_table::factors(const std::vector<std::pair<plan::account_id, double>>& runs,
                     utc_ns now) const {
  auto with_running = shares_;
  for (const auto& [account, core_seconds] : runs)
    with_running.charge(account, core_seconds, now);
  return with_running.factors();
}

} // namespace troupe::actors
