// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include <algorithm>

// Purpose: give slots back that no element is coming for.
// Input:   what is queued at a node's launcher, and the orders that it is queued by.
// Action:  slots beyond what is queued and what the planner counts on are left out of the orders
//          that are made from now on; each is given back once no order that opens it can bring
//          anything into it.
// Caveats: which slot an element starts in is its launcher's to say, by the newest order that it
//          has: how many slots are free does not tell which of them are used. An order that is
//          being signed, or is on its way, is as good as there.

namespace troupe::actors {

std::uint64_t queue_orders::add(std::uint32_t elements) {
  orders_.push_back({elements, false, 0});
  queued_ += elements;
  return newest();
}

/// One of which something has started has nothing behind it in the queue that came before it; nor
/// has one that nothing is queued of any more, once a later one's has started.
void queue_orders::leave(std::uint64_t number, bool started) {
  auto& left = orders_[number - first_];
  --left.queued;
  --queued_;
  if (started) {
    left.started = true;
    newest_started_ = std::max(newest_started_, number);
  }
  if (left.queued == 0)
    left.next_of = newest() + 1;
  const auto is_past = [this](const entry& each) {
    return each.queued == 0 && (queued_ == 0 || each.started || each.next_of <= newest_started_);
  };
  while (!orders_.empty() && is_past(orders_.front())) {
    orders_.pop_front();
    ++first_;
  }
}

/// One whose number no slot of before a restart has: what waits at the launcher may yet start
/// there.
slot_state& job_state_machine::free_slot(node_slots& at) {
  for (std::uint32_t number = 0;; ++number) {
    if (number == at.slots.size())
      at.slots.emplace_back();
    if (at.slots[number].unit == 0 && !at.before.contains(number))
      return at.slots[number];
  }
}

/// The order for these elements is made: what it opens stays the job's as long as any of them is
/// queued.
void job_state_machine::note_order(const unsent_order& what) {
  const auto first = active_.find(what.first);
  if (first == active_.end() || first->second.unit != 0)
    return; // with slots of its own
  auto& at = slots_on(what.node);
  const auto number = at.orders.add(what.last - what.first + 1);
  for (auto element = first; element != active_.end() && element->first <= what.last; ++element) {
    forget_order(element->second, false);
    element->second.order = number;
  }
  const chunk lone{what.incarnation, what.first, what.last, {}, true};
  for (auto& slot : at.slots)
    if (is_open(slot, lone))
      slot.opened_by = number;
}

/// It does not bring this element any more.
void job_state_machine::forget_order(active_element& what, bool started) {
  if (const auto number = std::exchange(what.order, 0); number != 0) {
    slots_on(what.node).orders.leave(number, started);
    left_.insert(what.node);
  }
}

/// The order for these did not come to its launcher: they get another one.
void job_state_machine::forget_orders(const unsent_order& what) {
  for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
       ++at)
    if (at->second.incarnation == what.incarnation && at->second.unit == 0)
      forget_order(at->second, false);
}

/// An element that was ordered for a slot of one node is not coming there any more, or has come.
void job_state_machine::forget_queued(active_element& what, bool started) {
  forget_order(what, started);
  if (!std::exchange(what.queued, false))
    return;
  --slots_on(what.node).queued;
  left_.insert(what.node);
}

/// What was kept for elements that are not coming any more goes to others, or is given back.
void job_state_machine::use_slots_left() {
  const auto nodes = std::exchange(left_, {});
  std::vector<chunk> chunks;
  for (auto node : nodes)
    fill(node, chunks);
  write(std::move(chunks));
  for (auto node : nodes)
    release_idle_slots(node);
}

/// So many idle slots are to be used: those that were to be given back are, if there are too few.
void job_state_machine::keep_idle(node_slots& at, std::uint64_t count) {
  auto kept = static_cast<std::uint64_t>(std::count_if(
      at.slots.begin(), at.slots.end(), [](const slot_state& slot) { return slot.is_kept(); }));
  for (auto& slot : at.slots)
    if (kept < count && slot.is_idle() && slot.leaving) {
      slot.leaving = false;
      ++kept;
    }
}

/// Gives slots back that no element is coming for.
void job_state_machine::release_idle_slots(std::uint32_t node) {
  auto& at = slots_on(node);
  left_.erase(node);
  if (unstarted_count() == 0)
    at.fresh = 0;
  const auto waiting = queued_incarnation(node);
  std::uint64_t idle = 0, awaited = 0; // awaited: by what is queued here
  const auto is_awaited = [&](const slot_state& slot) {
    return waiting && slot.incarnation == *waiting;
  };
  for (const auto& slot : at.slots) {
    idle += slot.is_kept();
    awaited += slot.is_kept() && is_awaited(slot);
  }
  const std::uint64_t queued = waiting ? at.queued : 0;
  // Those first that can go at once, and among them the highest: lower ones are used first.
  const auto let_go = [&](bool those_awaited, bool opened, std::uint64_t keep) {
    for (auto slot = at.slots.rbegin(); slot != at.slots.rend(); ++slot) {
      if (idle <= queued + at.fresh || (those_awaited ? awaited : idle - awaited) <= keep)
        return;
      if (!slot->is_kept() || is_awaited(*slot) != those_awaited ||
          at.orders.may_use(slot->opened_by) != opened)
        continue;
      --idle;
      awaited -= those_awaited;
      slot->leaving = true;
    }
  };
  for (const auto opened : {false, true})
    let_go(false, opened, 0);
  for (const auto opened : {false, true})
    let_go(true, opened, queued);
  for (auto& slot : at.slots) {
    // What waits at the launcher since before may still start in one that is not offered any more.
    const auto goes = slot.is_idle() ? slot.leaving && !at.orders.may_use(slot.opened_by)
                                     : slot.over && !slot.busy && !waiting;
    if (!goes)
      continue;
    planner_event(plan_event::kind::ended, slot.unit);
    slot = {};
  }
  while (!at.slots.empty() && at.slots.back().unit == 0)
    at.slots.pop_back();
}

} // namespace troupe::actors
