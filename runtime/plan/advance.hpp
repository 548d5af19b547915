// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/plan/nodes.hpp"

#include <map>
#include <optional>

namespace troupe::plan {

/// The advance reservations there are. What they keep is taken from the nodes' timelines, so that
/// no search has to know of them.
class advance_table {
public:
  struct entry {
    advance_reservation asked;
    std::vector<std::uint32_t> nodes; ///< indexes, sorted
  };

  explicit advance_table(node_pool& pool) : pool_(pool) {}

  expected<const entry*> add(const advance_reservation& wanted, instant now);
  expected<void> remove(reservation_id id);
  /// Forgets what is over. True if there was any.
  bool expire(instant now);

  /// nullptr if there is none, or it is over.
  const entry* find(reservation_id id) const;
  const std::map<reservation_id, entry>& all() const { return entries_; }
  /// The next begin or end after `now`.
  std::optional<instant> next_change(instant now) const;

private:
  expected<std::vector<std::uint32_t>> named(const advance_reservation& wanted) const;
  expected<std::vector<std::uint32_t>> chosen(const advance_reservation& wanted, instant now) const;
  bool meets_another(std::uint32_t node, const advance_reservation& wanted) const;
  void take(const entry& what);
  void give(const entry& what);

  node_pool& pool_;
  std::map<reservation_id, entry> entries_;
};

/// May this user, charged to this account, submit into it?
bool admits(const advance_reservation& reservation, user_id user, account_id account);

} // namespace troupe::plan
