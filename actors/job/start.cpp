// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "actors/placing.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: give elements their places.
// Input:   units from the planner; free slots, where the job may refill them.
// Action:  chunks of elements, whose start is written and which are ordered then (orders.cpp).
// Caveats: elements on one node are ordered in chunks: the launcher starts the next by itself when
//          a slot falls free, so that few slots are kept busy without a round trip per element.

namespace troupe::actors {

namespace {

/// How far ahead of need elements are ordered: what is ordered delays whoever comes next.
constexpr double ahead_ns = 200e6;
constexpr std::uint32_t ahead_elements_max = 512;

} // namespace

void job_state_machine::start(std::vector<placed_unit> units,
                              std::vector<std::shared_ptr<node_entry const>> nodes) {
  if (stopping_) {
    for (const auto& unit : units)
      planner_event(plan_event::kind::ended, unit.unit);
    return;
  }
  // Both the scheduler and, once a route stands, the node itself tell of a new launcher instance.
  for (const auto& node : nodes)
    slots_on(node->offers->node).node.meet(node);
  std::vector<std::uint32_t> touched;
  std::vector<chunk> chunks;
  for (auto& unit : units) {
    if (unit.parts.size() == 1 && !is_mpi())
      place_lone(std::move(unit), touched);
    else
      place_wide(std::move(unit), chunks);
  }
  for (auto node : touched)
    fill(node, chunks);
  write(std::move(chunks));
  for (auto node : touched)
    release_idle_slots(node);
}

node_slots& job_state_machine::slots_on(std::uint32_t node) {
  const auto [at, is_new] = nodes_.try_emplace(node);
  if (is_new)
    at->second.node = job_node{node};
  return at->second;
}

/// Also of one that this job has met nowhere but in the ledger.
job_node job_state_machine::node_of(std::uint32_t node) const {
  const auto at = nodes_.find(node);
  return at == nodes_.end() ? job_node{node} : at->second.node;
}

/// "node1,node2": those of an allocation that have ranks.
std::string job_state_machine::nodelist_of(const std::vector<placement_part>& parts) const {
  std::string list;
  for (const auto& part : parts)
    if (part.ranks > 0)
      list += fmt::format("{}{}", list.empty() ? "" : ",", node_of(part.node).name());
  return list;
}

/// The node learns where this job's news goes before its first order can make any.
void job_state_machine::route(std::uint32_t, node_slots& at) {
  if (!at.routed)
    at.routed = at.node.tell(cap_, route_job{job_, job_actor{self_}});
}

void job_state_machine::place_lone(placed_unit unit, std::vector<std::uint32_t>& touched) {
  auto node = unit.parts.front().node;
  auto& at = slots_on(node);
  free_slot(at) = slot_state{unit.unit, std::move(unit.parts.front()), false, true, no_element};
  ++at.fresh;
  if (touched.empty() || touched.back() != node)
    touched.push_back(node);
}

/// An element on several nodes, or of MPI ranks: ordered alone, one order per node.
void job_state_machine::place_wide(placed_unit unit, std::vector<chunk>& chunks) {
  auto next = take_unstarted(1);
  if (!next) {
    planner_event(plan_event::kind::ended, unit.unit);
    return;
  }
  const auto element = next->second.first;
  if (!runs_once())
    number_ranks(unit.parts, event_->spec.map_by);
  active_element active;
  active.incarnation = next->first;
  active.unit = unit.unit;
  active.parts = unit.parts;
  for (std::size_t i = 0; i < ordered_parts(unit.parts); ++i)
    active.nodes_running.insert(unit.parts[i].node);
  active.unsent = active.nodes_running;
  for (const auto& part : unit.parts) {
    free_slot(slots_on(part.node)) = slot_state{unit.unit, part, true, false, element};
  }
  chunks.push_back({next->first, element, element, std::move(unit.parts), false});
  active_.emplace(element, std::move(active));
}

std::optional<std::pair<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>>>
job_state_machine::take_unstarted(std::uint64_t count_max) {
  while (!unstarted_.empty()) {
    auto first = unstarted_.begin();
    if (auto range = first->second.take_front(count_max))
      return std::pair{first->first, *range};
    unstarted_.erase(first);
  }
  return std::nullopt;
}

/// How many elements may wait at a node's launcher beyond those that run.
std::uint32_t job_state_machine::ahead_target(const node_slots& at) const {
  if (!lease_ || mean_run_ns_ <= 0)
    return 0;
  const auto lone = std::count_if(at.slots.begin(), at.slots.end(), [](const slot_state& s) {
    return s.unit != 0 && s.lone && !s.over;
  });
  auto per_slot = ahead_ns / mean_run_ns_;
  auto count = per_slot * static_cast<double>(lone);
  return static_cast<std::uint32_t>(std::min<double>(count, ahead_elements_max));
}

/// The incarnation of what waits at a node's launcher.
std::optional<std::uint32_t> job_state_machine::queued_incarnation(std::uint32_t node) const {
  if (const auto at = nodes_.find(node); at == nodes_.end() || at->second.queued == 0)
    return std::nullopt;
  for (const auto& [element, active] : active_)
    if (active.queued && active.node == node)
      return active.incarnation;
  return std::nullopt;
}

/// May an element of this chunk start in `slot`? A wide one has its own; lone ones have those that
/// are their incarnation's.
bool job_state_machine::is_open(const slot_state& slot, const chunk& what) const {
  if (slot.unit == 0 || slot.over || slot.lone != what.lone)
    return false;
  return what.lone ? slot.incarnation == what.incarnation && !slot.leaving
                   : slot.element == what.first;
}

/// Makes a node's free slots those of this incarnation. False if none is: what is ordered would
/// wait there for ever.
bool job_state_machine::open_slots(node_slots& at, std::uint32_t incarnation) const {
  auto any = false;
  for (auto& slot : at.slots) {
    if (slot.unit == 0 || slot.over || !slot.lone || slot.leaving)
      continue;
    if (!slot.busy)
      slot.incarnation = incarnation;
    any = any || slot.incarnation == incarnation;
  }
  return any;
}

/// Orders as many elements for `node` as its slots can take now, and a few ahead.
void job_state_machine::fill(std::uint32_t node, std::vector<chunk>& chunks) {
  if (stopping_)
    return;
  auto& at = slots_on(node);
  if (at.refuses_until > world_.clock.boot() || waits_for_queue(node))
    return; // nothing more goes to its launcher now; what the planner gave waits for it
  const auto free = static_cast<std::uint32_t>(std::count_if(
      at.slots.begin(), at.slots.end(), [](const slot_state& slot) { return slot.is_idle(); }));
  auto fresh = std::min(at.fresh, free);
  // Units that what waited at the launcher has begun to use: their own elements come after it.
  const auto used = at.fresh - fresh;
  const auto target = ahead_target(at);
  std::uint32_t reusable = 0;
  if (lease_ && at.queued < free + target / 2)
    reusable = free - fresh + target - std::min(free - fresh + target, at.queued);
  auto left = std::uint64_t{fresh} + reusable;
  keep_idle(at, std::uint64_t{at.queued} + at.fresh + reusable);
  // Only one incarnation waits at a launcher: its elements have the node's free slots.
  auto only = queued_incarnation(node);
  auto blocked = false;
  while (left > 0) {
    while (!unstarted_.empty() && unstarted_.begin()->second.count() == 0)
      unstarted_.erase(unstarted_.begin());
    if (unstarted_.empty())
      break;
    const auto incarnation = unstarted_.begin()->first;
    blocked = (only && incarnation != *only) || !open_slots(at, incarnation);
    if (blocked)
      break;
    auto next = take_unstarted(left);
    only = next->first;
    auto [first, last] = next->second;
    const auto count = last - first + 1;
    chunk what{next->first, first, last, {}, true};
    for (const auto& slot : at.slots)
      if (is_open(slot, what)) {
        what.parts.push_back(slot.part);
        break;
      }
    for (auto element = first;; ++element) {
      active_element active;
      active.incarnation = next->first;
      active.node = node;
      active.queued = true;
      active.nodes_running.insert(node);
      active.unsent.insert(node);
      active.parts = what.parts; // its cores are those of its slot, known when it has started
      active_.emplace(element, std::move(active));
      if (element == last)
        break;
    }
    at.queued += count;
    // Elements that the planner did not place itself were taken ahead: it counts them as started.
    const auto by_planner = std::min(fresh, count);
    if (count > by_planner) {
      auto holder = std::find_if(at.slots.begin(), at.slots.end(), [](const slot_state& s) {
        return s.unit != 0 && s.lone && !s.over;
      });
      planner_event(plan_event::kind::refilled, holder->unit, count - by_planner,
                    predicted_end(world_.clock.utc()));
    }
    fresh -= by_planner;
    left -= count;
    chunks.push_back(std::move(what));
  }
  // What the other incarnation keeps from being used is kept until that has left; the planner
  // counts on an element in it.
  at.fresh = used + (blocked ? fresh : 0);
}

} // namespace troupe::actors
