// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/fair_share.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace troupe::plan {

namespace {

/// Above it all usage is divided down, so that it never overflows.
constexpr double growth_max = 1e100;

} // namespace

fair_share::fair_share(duration half_life) : half_life_(half_life) {
  accounts_[root];
}

expected<void> fair_share::set_account(account_id id, account_id parent, std::uint32_t shares) {
  auto name = "account " + std::to_string(id);
  if (id == root)
    return fail(errc::invalid, name + " is the root of all accounts and cannot be set");
  if (!accounts_.contains(parent))
    return fail(errc::not_found,
                name + " cannot be below account " + std::to_string(parent) + ", which is unknown");
  for (auto above = parent; above != root; above = accounts_[above].parent)
    if (above == id)
      return fail(errc::invalid, name + " cannot be below itself");
  auto known = accounts_.find(id);
  double used = 0;
  if (known != accounts_.end()) {
    used = known->second.used;
    accounts_[known->second.parent].shares_of_children -= known->second.shares;
    // What it used is its new parents' from now on.
    for (auto above = known->second.parent;; above = accounts_[above].parent) {
      accounts_[above].used -= used;
      if (above == root)
        break;
    }
  }
  auto& mine = accounts_[id];
  mine.parent = parent;
  mine.shares = shares;
  accounts_[parent].shares_of_children += shares;
  for (auto above = parent;; above = accounts_[above].parent) {
    accounts_[above].used += used;
    if (above == root)
      break;
  }
  return {};
}

double fair_share::growth(instant now) const {
  if (half_life_ <= 0)
    return 1;
  return std::exp2(static_cast<double>(now - base_) / static_cast<double>(half_life_));
}

void fair_share::rebase(instant now) {
  auto by = growth(now);
  for (auto& [id, known] : accounts_)
    known.used /= by;
  base_ = now;
}

void fair_share::charge(account_id id, double usage, instant now) {
  if (!accounts_.contains(id))
    static_cast<void>(set_account(id, root, 1));
  if (accounts_[root].used == 0)
    base_ = now;
  else if (growth(now) > growth_max)
    rebase(now);
  auto amount = usage * growth(now);
  for (auto at = id;; at = accounts_[at].parent) {
    accounts_[at].used += amount;
    if (at == root)
      return;
  }
}

double fair_share::usage(account_id id, instant now) const {
  auto known = accounts_.find(id);
  return known == accounts_.end() ? 0 : std::max(known->second.used, 0.0) / growth(now);
}

double fair_share::share(const account& of) const {
  double fraction = 1;
  for (const auto* at = &of; at != &accounts_.at(root); at = &accounts_.at(at->parent)) {
    const auto& above = accounts_.at(at->parent);
    fraction *= above.shares_of_children == 0 ? 0
                                              : static_cast<double>(at->shares) /
                                                    static_cast<double>(above.shares_of_children);
  }
  return fraction;
}

double fair_share::effective_usage(const account& of) const {
  const auto& top = accounts_.at(root);
  if (&of == &top)
    return 1;
  auto own = top.used > 0 ? std::max(of.used, 0.0) / top.used : 0;
  const auto& above = accounts_.at(of.parent);
  // A child of the root stands for itself; below, siblings answer for each other in part.
  if (&above == &top || above.shares_of_children == 0)
    return own;
  auto part = static_cast<double>(of.shares) / static_cast<double>(above.shares_of_children);
  return own + (effective_usage(above) - own) * part;
}

double fair_share::factor(account_id id) const {
  auto known = accounts_.find(id);
  if (known == accounts_.end() || id == root || accounts_.at(root).used <= 0)
    return 1;
  auto fraction = share(known->second);
  return fraction > 0 ? std::exp2(-effective_usage(known->second) / fraction) : 0;
}

std::vector<std::pair<account_id, double>> fair_share::factors() const {
  std::vector<std::pair<account_id, double>> out;
  for (const auto& [id, known] : accounts_)
    if (id != root)
      out.emplace_back(id, factor(id));
  std::sort(out.begin(), out.end());
  return out;
}

} // namespace troupe::plan
