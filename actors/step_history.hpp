// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/protocol.hpp"
#include "runtime/ledger/event.hpp"

#include <map>
#include <optional>
#include <vector>

namespace troupe::actors {

/// The steps of one job as the ledger's events tell them, in their order.
class step_history {
public:
  /// Events of other kinds are passed over.
  void take(const ledger::stored_event& stored);

  std::vector<step_view> views() const;
  /// Where it ran and how it ended; nothing if there was no such step.
  std::optional<element_location> location(std::uint32_t step) const;
  /// The next step of a family, or 0.
  std::uint32_t next_spawned(const await_spawned& what) const;

private:
  struct entry;
  std::string nodelist_of(const entry& step) const;

  struct entry {
    std::uint32_t element = no_element;
    std::uint32_t incarnation = 0;
    step_started_event started;
    std::optional<step_ended_event> ended;
  };
  std::map<std::uint32_t, entry> steps_;
  /// Of each element and incarnation, once it has ended.
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::string> nodelists_;
};

} // namespace troupe::actors
