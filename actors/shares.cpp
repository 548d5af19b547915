// SPDX-License-Identifier: Apache-2.0
#include "actors/shares.hpp"

#include "actors/queue_numbers.hpp"

namespace troupe::actors {

plan::user_id share_table::user_of(const std::string& name) {
  return users_.emplace(name, static_cast<plan::user_id>(users_.size() + 1)).first->second;
}

plan::account_id share_table::number_of(const key& of) {
  // 0 is the root.
  return accounts_.emplace(of, static_cast<plan::account_id>(accounts_.size() + 1)).first->second;
}

plan::account_id share_table::account_of(const std::string& account, const std::string& user) {
  const auto full = accounts_.size() >= names_max && !accounts_.contains({account, user});
  const auto& charged = full ? std::string{} : account;
  const auto known = accounts_.size();
  const auto parent = charged.empty() ? plan::fair_share::root : number_of({charged, {}});
  if (user.empty())
    return parent;
  const auto leaf = number_of({charged, user});
  if (accounts_.size() == known)
    return leaf;
  if (parent != plan::fair_share::root && !shares_.knows(parent))
    (void)shares_.set_account(parent, plan::fair_share::root, 1);
  (void)shares_.set_account(leaf, parent, 1);
  return leaf;
}

expected<void> share_table::configure(const cluster_config& config, plan::instant now) {
  plan::fair_share fresh{std::int64_t{config.half_life_s} * ns_per_s};
  for (const auto& account : config.accounts) {
    const auto parent =
        account.parent.empty() ? plan::fair_share::root : number_of({account.parent, {}});
    if (auto done = fresh.set_account(number_of({account.name, {}}), parent, account.shares); !done)
      return done;
  }
  // Users who were seen before their account was known stand below it from now on; an account that
  // is configured no more has one share as long as its users have used anything.
  for (const auto& [of, number] : accounts_) {
    if (of.second.empty())
      continue;
    const auto parent = of.first.empty() ? plan::fair_share::root : accounts_.at({of.first, {}});
    if (parent != plan::fair_share::root && !fresh.knows(parent))
      if (auto done = fresh.set_account(parent, plan::fair_share::root, 1); !done)
        return done;
    if (auto done = fresh.set_account(number, parent, 1); !done)
      return done;
    fresh.charge(number, shares_.usage(number, now), now);
  }
  shares_ = std::move(fresh);
  return {};
}

void share_table::charge(const std::string& account, const std::string& user, double core_seconds,
                         utc_ns at) {
  shares_.charge(account_of(account, user), core_seconds, at);
}

std::vector<std::pair<plan::account_id, double>>
share_table::factors(const std::vector<std::pair<plan::account_id, double>>& runs,
                     plan::instant now) const {
  auto with_running = shares_;
  for (const auto& [account, core_seconds] : runs)
    with_running.charge(account, core_seconds, now);
  return with_running.factors();
}

expected<void> check_policy(const cluster_config& config) {
  queue_numbers numbers;
  if (auto taken = numbers.take(config); !taken)
    return tl::unexpected<error>{taken.error()};
  for (const auto& queue : config.queues)
    for (const auto& other : queue.preempts)
      if (other == queue.name || !config.find_queue(other))
        return fail(errc::invalid, "the queue '" + queue.name + "' cannot preempt jobs of '" +
                                       other + "': that is itself, or no queue");
  if (!config.find_queue(config.default_queue))
    return fail(errc::invalid, "the default queue '" + config.default_queue + "' is no queue");
  return share_table{}.configure(config, 0);
}

} // namespace troupe::actors
