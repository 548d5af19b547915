// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/shepherd/peer_messages.hpp"
#include "tools/shepherd/relay.hpp"

#include <list>

namespace troupe::shepherd {

/// What the job's ranks have published: kept at one node, for all of a family of steps.
class published_values {
public:
  using lookup_done = std::function<void(std::int32_t status, std::vector<stored_value> values)>;

  std::int32_t publish(const publish_ask& ask);
  /// Answers now, or, where it waits, when all keys are there or at its timeout.
  void lookup(const lookup_ask& ask, lookup_done done);
  void unpublish(const unpublish_ask& ask);
  void rank_ended(const process_name& who);
  void step_ended(const std::string& nspace);

  void tick(steady::time_point now);
  steady::time_point next_tick() const { return next_tick_; }

private:
  static constexpr std::size_t values_all_max = 65'536;
  static constexpr std::size_t bytes_all_max = 256u << 20;
  static constexpr std::size_t parked_max = 65'536;

  struct entry {
    stored_value value;
    std::uint32_t range = 0;
    std::uint32_t persistence = 0;
  };
  struct parked {
    lookup_ask ask;
    lookup_done done;
    steady::time_point until;
  };

  std::list<entry>::iterator find(const std::string& key, const process_name& who);
  bool answer(const lookup_ask& ask, const lookup_done& done, bool all_needed);
  void wake();
  template <class Condition>
  void remove_where(Condition condition);

  std::list<entry> entries_;
  std::size_t bytes_ = 0;
  std::list<parked> parked_;
  steady::time_point next_tick_ = steady::time_point::max();
};

} // namespace troupe::shepherd
