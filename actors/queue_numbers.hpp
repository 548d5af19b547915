// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/cluster_config.hpp"
#include "runtime/plan/types.hpp"

#include <map>
#include <string>
#include <vector>

namespace troupe::actors {

/// What the scheduling core calls each queue. A queue keeps its number from one configuration to
/// the next; that of a queue that is gone, and in which no job is left then, is given to another.
class queue_numbers {
public:
  /// Of jobs in queues that the configuration does not have; it has no limits and no priority.
  static constexpr plan::queue_index none = 0;

  /// Fails, changing nothing, for more queues than the core has numbers. Answers the numbers that
  /// are free from now on.
  expected<std::vector<plan::queue_index>> take(const cluster_config& config) {
    if (config.queues.size() >= plan::queues_max)
      return fail(errc::exhausted, std::to_string(config.queues.size()) +
                                       " queues are configured; " +
                                       std::to_string(plan::queues_max - 1) + " are the limit");
    std::vector<plan::queue_index> freed;
    for (auto at = names_.begin(); at != names_.end();) {
      const auto stays = config.find_queue(at->second) != nullptr;
      if (!stays)
        freed.push_back(at->first);
      at = stays ? std::next(at) : names_.erase(at);
    }
    for (const auto& queue : config.queues)
      if (of(queue.name) == none)
        names_.emplace(lowest_free(), queue.name);
    std::erase_if(freed, [&](plan::queue_index number) { return names_.contains(number); });
    return freed;
  }

  plan::queue_index of(std::string_view name) const {
    for (const auto& [number, each] : names_)
      if (each == name)
        return number;
    return none;
  }

  std::string name_of(plan::queue_index number) const {
    const auto at = names_.find(number);
    return at == names_.end() ? "(not configured)" : at->second;
  }

  std::size_t size() const { return names_.size(); }

private:
  plan::queue_index lowest_free() const {
    auto number = none + 1;
    for (const auto& [taken, name] : names_)
      number += taken == number ? 1 : 0;
    return number;
  }

  std::map<plan::queue_index, std::string> names_;
};

} // namespace troupe::actors
