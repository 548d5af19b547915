// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <optional>
#include <set>
#include <span>
#include <vector>

namespace troupe::actors {

/// What a step asks for of its job's allocation.
struct step_wish {
  std::uint32_t tasks = 1;
  std::uint32_t cores_per_task = 1;
  std::uint32_t nodes = 0;          ///< 0: as few as will do
  std::set<std::uint32_t> excluded; ///< nodes that it must not or cannot use
  map_mode map_by = map_mode::slot;
};

/// Cores that other steps have, for each part of an allocation.
using taken_cores = std::vector<std::set<std::uint32_t>>;

/// Places for a step within an allocation: as many parts, in the same order, without ranks where it
/// has none. Nothing if it does not fit beside what is taken. Pure.
std::optional<std::vector<placement_part>> place_step(std::span<const placement_part> allocation,
                                                      const taken_cores& taken,
                                                      const step_wish& wish);

} // namespace troupe::actors
