// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include <algorithm>

// Purpose: go on when a launcher does not take an order.
// Input:   its refusal, which passes or not, of elements that it has nothing of.
// Action:  what passes goes again, in the same incarnation and with a back-off, or waits again
//          where its launcher ends; what does not ends the element.
// Caveats: a refusal may be of elements that were cancelled, or are refused already.

namespace troupe::actors {

/// Until when nothing is ordered of this node: each refusal that passes waits longer, up to a
/// bound.
boot_ns job_state_machine::hold_node(std::uint32_t node, const std::string& why) {
  auto& at = slots_on(node);
  const auto now = world_.clock.boot();
  if (at.refuses_until <= now)
    at.refuses_until = now + at.refusals.next().count();
  waits_because_ = why;
  return at.refuses_until;
}

/// The launcher took none of these elements: they never ran.
void job_state_machine::take_refusal(std::uint32_t node, const element_record& record) {
  world_.log->warn("job {}: the launcher of node {} refused an order: {}", job_, node, record.text);
  const unsent_order order{record.group.incarnation, record.element, record.element_last, node, 0};
  std::vector<std::uint32_t> elements;
  for (auto at = active_.lower_bound(order.first); at != active_.end() && at->first <= order.last;
       ++at) {
    const auto& active = at->second;
    const auto started_here = active.unit == 0 ? active.state != job_state::starting : false;
    if (active.incarnation == order.incarnation && !active.ending && !active.returning &&
        !started_here && active.nodes_running.contains(node) && !active.unsent.contains(node))
      elements.push_back(at->first);
  }
  if (elements.empty())
    return;
  const auto due = record.passes ? hold_node(node, record.text) : 0;
  if (record.passes)
    forget_signed(order);
  for (auto element : elements) {
    auto* active = find_element(element);
    if (active == nullptr)
      continue;
    if (!record.passes) {
      forget_queued(*active);
      part_refused(element, *active, node, record.text);
      continue;
    }
    active->unsent.insert(node);
    forget_order(*active, false);
    if (is_nowhere(*active))
      active->ordered = false;
    if (active->cancelled)
      end_unsent(element, *active);
    else if (record.launcher_ends)
      part_never_left(element, *active, node, record.text, due);
  }
  if (record.passes)
    unsent_.push_back({order.incarnation, order.first, order.last, node, due});
}

/// What no launcher has of an element whose cancel is durable never starts.
void job_state_machine::end_unsent(std::uint32_t element, active_element& what) {
  if (what.returning && !what.written)
    what.returning = false; // its start was never written, and is not any more
  if (what.ending || what.returning || !what.cancelled)
    return;

  for (auto node : std::exchange(what.unsent, {}))
    what.nodes_running.erase(node);
  if (!what.nodes_running.empty())
    return;
  forget_queued(what);
  part_over(element, what);
}

} // namespace troupe::actors
