// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/job/job_node.hpp"
#include "base/backoff.hpp"

#include <deque>
#include <map>
#include <set>
#include <vector>

// A job's places on one node, as the job and the node's launcher number them.

namespace troupe::actors {

/// A place for one element at a time on one node.
struct slot_state {
  std::uint64_t unit = 0; ///< 0: a hole
  placement_part part;
  bool busy = false; ///< an element was seen to start in it
  bool lone = true;  ///< the unit is on this node alone
  std::uint32_t element = no_element;
  /// Whose elements its launcher may start in it: a launcher counts its slots by group, and an
  /// incarnation is a group.
  std::uint32_t incarnation = 0;

  bool over = false; ///< its node does not offer it any more: nothing more starts in it
  /// No element is to come, but one may: it is given back when none can, and no order opens it.
  bool leaving = false;
  std::uint64_t opened_by = 0; ///< the newest order that opens it; 0: none did

  bool is_idle() const { return unit != 0 && lone && !busy && !over; }
  bool is_kept() const { return is_idle() && !leaving; }
};

/// The orders, by number, that brought what is queued at a node's launcher there, or bring it. A
/// launcher starts what is queued, first come first, in the slots that its newest order opens: all
/// but those of which it is certain that they came before something that has started, and have
/// nothing queued any more, may be its newest while anything is queued. They may come in another
/// order than they were made: what a launcher refuses is offered again by its agent.
class queue_orders {
public:
  /// A new one, for so many elements: its number.
  std::uint64_t add(std::uint32_t elements);
  /// One of its elements is not queued any more; `started`: because its launcher started it.
  void leave(std::uint64_t number, bool started);
  std::uint64_t newest() const { return first_ + orders_.size() - 1; }
  /// May something start yet in a slot that was opened by this one last?
  bool may_use(std::uint64_t number) const { return queued_ > 0 && number >= first_; }

private:
  struct entry {
    std::uint32_t queued = 0;
    bool started = false;      ///< something of it was
    std::uint64_t next_of = 0; ///< the number that was next when nothing of it was queued any more
  };

  std::deque<entry> orders_;
  std::uint64_t first_ = 1; ///< the number of the first of them
  std::uint64_t newest_started_ = 0;
  std::uint64_t queued_ = 0; ///< elements of all of them
};

struct node_slots {
  job_node node;
  std::vector<slot_state> slots;
  std::uint32_t queued = 0; ///< ordered here for any slot, not seen to start
  queue_orders orders;      ///< of those that were made
  /// Elements with slots of their own that were ordered here and not seen to start:
  /// incarnation, element.
  std::set<std::pair<std::uint32_t, std::uint32_t>> unseen;
  std::uint32_t fresh = 0;   ///< units given by the planner that no element was taken for yet
  boot_ns refuses_until = 0; ///< its launcher takes nothing before; 0: it does
  backoff refusals = usual_backoff();
  /// Slots before a restart, as the last order named them. Which of them are still the job's,
  /// the elements tell that run in them: what was given back was never written down.
  std::map<std::uint32_t, placement_part> before;
  struct order_before {
    std::uint32_t incarnation, first, last;
    std::set<std::uint32_t> open; ///< slots
  };
  std::vector<order_before> orders_before; ///< as the ledger has them
  bool routed = false;
};

} // namespace troupe::actors
