// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace troupe::actors {

/// A node as a job knows it. What the ledger keeps may name one that the cluster does not have any
/// more: everything here has an answer for that, and nothing else of the node can be reached.
class job_node {
public:
  explicit job_node(std::uint32_t number = 0) : number_{number} {}

  /// "node3", or "node 3" where the cluster has none of that number.
  std::string name() const {
    return entry_ ? entry_->offers->name : fmt::format("node {}", number_);
  }

  /// Of its launcher, as this job was told last.
  std::optional<launcher_instance> instance() const {
    return entry_ ? std::optional{entry_->instance} : std::nullopt;
  }

  /// May something start there on these cores? Not where it leaves and so offers no memory
  /// (actors/leaving.cpp), nor on cores that it had before.
  bool takes(const placement_part& part) const {
    return entry_ && entry_->offers->memory_bytes > 0 &&
           std::all_of(part.cores.begin(), part.cores.end(),
                       [this](auto core) { return core < entry_->offers->cores.size(); });
  }

  /// A sentence where the cluster does not have it.
  expected<std::shared_ptr<node_inventory const>> offers() const {
    if (!entry_)
      return fail(errc::not_found, fmt::format("{} is not in the cluster any more", name()));
    return entry_->offers;
  }

  /// False where there is nobody to tell.
  template <class M>
  bool tell(const verified_capability& cap, M message) const {
    if (!entry_)
      return false;
    actors::tell(entry_->actor, cap, std::move(message));
    return true;
  }

  /// What was told of it, unless that is older than what is known.
  void meet(const std::shared_ptr<node_entry const>& entry) {
    if (entry && entry->offers && (!entry_ || entry_->comparison < entry->comparison))
      entry_ = entry;
  }

  /// Its launcher was compared with what is recorded.
  void compared(const launcher_instance& instance, std::uint64_t comparison) {
    if (!entry_)
      return;
    auto entry = std::make_shared<node_entry>(*entry_);
    entry->instance = instance;
    entry->comparison = comparison;
    entry_ = std::move(entry);
  }

private:
  std::uint32_t number_;
  std::shared_ptr<node_entry const> entry_;
};

} // namespace troupe::actors
