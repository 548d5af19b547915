// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::plan {

/// Which cores of one node are free, and which of them to hand out: compact runs of low numbers,
/// within one group (socket, L3) where possible. The same calls give the same cores everywhere.
class core_map {
public:
  core_map() = default;
  /// All free. `groups` is empty or holds one value per core.
  core_map(std::uint32_t cores, std::span<const std::uint32_t> groups);

  std::uint32_t free() const { return free_; }
  bool is_free(std::uint32_t core) const;

  /// Appends `tasks` × `per_task` cores to `out` and takes them. At least so many must be free.
  void take(std::uint32_t tasks, std::uint32_t per_task, std::vector<std::uint16_t>& out);

  /// Takes these; each must be free.
  void take_exactly(std::span<const std::uint16_t> cores);
  void give(std::span<const std::uint16_t> cores);

private:
  using words = std::vector<std::uint64_t>;

  /// The group with the fewest free cores that still has `count`, so that fuller groups are used up
  /// and empty ones stay whole; nullptr if none has.
  const words* tightest_group(std::uint32_t count) const;
  void take_lowest(std::uint32_t count, const words* within, std::vector<std::uint16_t>& out);
  bool take_run(std::uint32_t count, const words* within, std::vector<std::uint16_t>& out);
  void take_one(std::uint32_t core, std::vector<std::uint16_t>& out);
  std::uint64_t word(std::size_t i, const words* within) const {
    return within ? bits_[i] & (*within)[i] : bits_[i];
  }

  words bits_; ///< 1 = free
  std::vector<words> groups_;
  std::uint32_t free_ = 0;
};

} // namespace troupe::plan
