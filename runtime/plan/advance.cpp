// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/advance.hpp"

#include "runtime/plan/outlook.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

std::string name_of(reservation_id id) {
  return "reservation " + std::to_string(id);
}

} // namespace

bool admits(const advance_reservation& reservation, user_id user, account_id account) {
  auto has = [](const auto& ids, auto id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  return has(reservation.users, user) || has(reservation.accounts, account);
}

const advance_table::entry* advance_table::find(reservation_id id) const {
  auto known = entries_.find(id);
  return known == entries_.end() ? nullptr : &known->second;
}

expected<const advance_table::entry*> advance_table::add(const advance_reservation& wanted,
                                                         instant now) {
  if (wanted.id == 0 || entries_.contains(wanted.id))
    return fail(errc::conflict, name_of(wanted.id) + " exists already, or has no number");
  if (entries_.size() >= advance_reservations_max)
    return fail(errc::exhausted, "there are " + std::to_string(advance_reservations_max) +
                                     " reservations, which is the limit");
  if (wanted.until <= wanted.from || wanted.until <= now || wanted.until >= unknown_ends)
    return fail(errc::invalid, name_of(wanted.id) + " would be over before it begins, or is now");
  auto nodes = wanted.nodes.empty() ? chosen(wanted, now) : named(wanted);
  if (!nodes)
    return fail(nodes.error().code, name_of(wanted.id) + " cannot be made: " + nodes.error().text);
  auto& made = entries_[wanted.id];
  made = {wanted, std::move(*nodes)};
  take(made);
  return &made;
}

bool advance_table::meets_another(std::uint32_t node, const advance_reservation& wanted) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& known) {
    const auto& [id, other] = known;
    return other.asked.from < wanted.until && wanted.from < other.asked.until &&
           std::binary_search(other.nodes.begin(), other.nodes.end(), node);
  });
}

expected<std::vector<std::uint32_t>> advance_table::named(const advance_reservation& wanted) const {
  std::vector<std::uint32_t> nodes;
  for (auto id : wanted.nodes) {
    const auto* index = pool_.index_of(id);
    if (index == nullptr)
      return fail(errc::not_found, "there is no node " + std::to_string(id));
    if (meets_another(*index, wanted))
      return fail(errc::conflict,
                  "node " + std::to_string(id) + " is in another reservation at that time");
    nodes.push_back(*index);
  }
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return nodes;
}

/// The first nodes that nothing is planned on in that time.
expected<std::vector<std::uint32_t>> advance_table::chosen(const advance_reservation& wanted,
                                                           instant now) const {
  std::vector<std::uint32_t> nodes;
  std::uint64_t cores = 0;
  auto enough = [&] {
    return wanted.node_count > 0 ? nodes.size() >= wanted.node_count : cores >= wanted.cores;
  };
  if (wanted.node_count == 0 && wanted.cores == 0)
    return fail(errc::invalid, "it names no nodes and no number of nodes or cores");
  auto from = std::max(wanted.from, now);
  for (std::uint32_t i = 0; i < pool_.all().size() && !enough(); ++i) {
    const auto& node = pool_.at(i);
    if (!node.up() || (node.features & wanted.features) != wanted.features)
      continue;
    auto line = line_from(i, pool_.rooms()[i], pool_.planned(i).steps(), from);
    // What runs beyond its prediction may still be there.
    bool busy_now = from == now && node.units > 0;
    auto room = room_in(line, from, wanted.until);
    if (busy_now || !room.idle() || room.memory_bytes < node.memory_bytes ||
        room.gpus < node.gpus.count())
      continue;
    nodes.push_back(i);
    cores += node.cores;
  }
  if (!enough())
    return fail(errc::conflict, "only " + std::to_string(nodes.size()) + " nodes with " +
                                    std::to_string(cores) + " cores are free all that time");
  return nodes;
}

expected<void> advance_table::remove(reservation_id id) {
  auto known = entries_.find(id);
  if (known == entries_.end())
    return fail(errc::not_found, "there is no " + name_of(id));
  give(known->second);
  entries_.erase(known);
  return {};
}

bool advance_table::expire(instant now) {
  std::vector<reservation_id> over;
  for (const auto& [id, known] : entries_)
    if (known.asked.until <= now)
      over.push_back(id);
  for (auto id : over)
    static_cast<void>(remove(id));
  return !over.empty();
}

std::optional<instant> advance_table::next_change(instant now) const {
  std::optional<instant> next;
  for (const auto& [id, known] : entries_)
    for (auto at : {known.asked.from, known.asked.until})
      if (at > now && (!next || at < *next))
        next = at;
  return next;
}

void advance_table::take(const entry& what) {
  for (auto node : what.nodes)
    pool_.planned(node).take(what.asked.from, what.asked.until, pool_.at(node).all());
}

void advance_table::give(const entry& what) {
  for (auto node : what.nodes)
    pool_.planned(node).give(what.asked.from, what.asked.until, pool_.at(node).all());
}

} // namespace troupe::plan
