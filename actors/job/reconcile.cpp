// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

// Purpose: agree with a node's launcher after either side was away.
// Input:   what the launcher has of this job: what runs, what is queued, what ended unacknowledged;
//          and the launcher's instance, drawn anew at each of its starts.
// Action:  this table, per placed element whose end is not durable:
//
//            launcher's instance | launcher says       | the element
//            as when ordered     | runs                | is adopted, running
//            as when ordered     | queued              | is adopted, starting
//            as when ordered     | ended               | ends, as any record says
//            as when ordered     | nothing, and the    | never left: unstarted, next incarnation;
//                                | order is older than | with its part known elsewhere: lost
//                                | this process        |
//            another             | anything            | lost; unstarted again only with --requeue,
//                                |                     | and if nothing of it can still be running
//
// Caveats: never restarted on silence: without an inventory an element stays as it is.

namespace troupe::actors {

namespace {

using inventory_groups = std::vector<report_inventory::running_group>;

const report_inventory::running_element*
find_running(const inventory_groups& groups, std::uint32_t incarnation, std::uint32_t element) {
  for (const auto& group : groups)
    if (group.group.incarnation == incarnation)
      for (const auto& running : group.running)
        if (running.element == element)
          return &running;
  return nullptr;
}

bool is_queued(const inventory_groups& groups, std::uint32_t incarnation, std::uint32_t element) {
  return std::any_of(groups.begin(), groups.end(), [&](const auto& group) {
    return group.group.incarnation == incarnation &&
           std::any_of(group.queued.begin(), group.queued.end(), [&](const number_range& range) {
             return range.first <= element && element <= range.last;
           });
  });
}

/// The launchers that were given orders, by node; inventories tell whether they are still the same.
/// A window's slots are all on the node of its first one.
std::map<std::uint32_t, launcher_instance> ordered_of(const starting_event& starting) {
  std::map<std::uint32_t, launcher_instance> all;
  for (std::size_t i = 0; i < starting.instances.size(); ++i) {
    const auto& from = starting.instances[i];
    const auto* part = starting.window != 0        ? first_place(starting)
                       : i < starting.parts.size() ? &starting.parts[i]
                                                   : nullptr;
    launcher_instance instance{};
    if (part == nullptr || from.size() != instance.size())
      continue;
    std::copy(from.begin(), from.end(), instance.begin());
    all.insert_or_assign(part->node, instance);
  }
  return all;
}

constexpr std::uint64_t restored_unit_bit = std::uint64_t{1} << 63;

} // namespace

/// Rebuilds what was placed before a restart; who still runs is learnt from the launchers. Every
/// unit gets a new number, which the planner is told.
void job_state_machine::recover(const std::vector<placed_chunk>& chunks,
                                const std::vector<std::shared_ptr<node_entry const>>& nodes) {
  for (const auto& node : nodes)
    slots_on(node->offers->node).node.meet(node);
  for (const auto& what : chunks) {
    incarnations_.insert(what.incarnation);
    if (what.starting.window != 0)
      adopt_lone(what);
  }
  for (const auto& what : chunks)
    if (what.starting.window == 0)
      adopt_wide(what);
}

/// Whether what is there was ordered of the launcher that speaks now. `same_launcher`: it is the
/// one that this life gave its orders to.
bool job_state_machine::is_ordered_of(const active_element& what, const reconcile_job& from,
                                      bool same_launcher) {
  const auto at = what.instances.find(from.node);
  return at == what.instances.end() ? same_launcher : at->second == from.instance;
}

std::uint64_t job_state_machine::restore_unit(std::vector<placement_part> parts, utc_ns started) {
  plan_event event;
  event.what = plan_event::kind::restored;
  event.job = job_;
  event.unit = restored_unit_bit | (job_ << 24) | ++restored_units_;
  event.predicted_end_ns = predicted_end(started);
  event.started_utc_ns = started;
  event.parts = std::move(parts);
  event.spec = std::shared_ptr<job_spec const>{event_, &event_->spec};
  plan_events_.push_back(event);
  return event.unit;
}

/// As it was ordered before the restart, whatever its launcher says of it.
job_state_machine::active_element job_state_machine::adopted_element(const placed_chunk& what,
                                                                     std::uint32_t element) {
  active_element active;
  active.incarnation = what.incarnation;
  active.ordered = active.written = active.adopted = true;
  active.instances = ordered_of(what.starting);
  active.preempted = what.preempted.contains(element);
  active.preempt_reason = what.preempted_why;
  active.cancelled = what.cancelled.contains(element);
  if (active.cancelled)
    active.cancel_reason = what.cancel_reason;
  return active;
}

void job_state_machine::adopt_lone(const placed_chunk& what) {
  const auto& parts = what.starting.parts;
  const auto* first = first_place(what.starting);
  if (first == nullptr)
    return; // recovery sets a job aside of which the ledger says so
  auto& at = slots_on(first->node);
  at.orders_before.push_back({what.incarnation, what.element_first, what.element_last, {}});
  auto& open = at.orders_before.back().open;
  for (std::uint32_t i = 0; i < parts.size(); ++i)
    if (parts[i].ranks > 0) {
      at.before.insert_or_assign(i, parts[i]);
      open.insert(i);
    }
  std::uint32_t queued = 0;
  for (auto element = what.element_first;; ++element) {
    queued += !what.ended.contains(element);
    if (element == what.element_last)
      break;
  }
  const auto number = at.orders.add(queued);
  for (auto element = what.element_first;; ++element) {
    if (!what.ended.contains(element)) {
      auto active = adopted_element(what, element);
      active.parts = {*first};
      active.node = first->node;
      active.nodes_running.insert(first->node);
      active.unasked.insert(first->node);
      active.queued = true;
      active.order = number;
      ++at.queued;
      active_.emplace(element, std::move(active));
    }
    if (element == what.element_last)
      break;
  }
}

/// An element runs in a slot of before the restart: it is the job's, unless it has it already.
void job_state_machine::restore_slot(node_slots& at, std::uint32_t slot, utc_ns started) {
  const auto known = at.before.find(slot);
  if (known == at.before.end())
    return;
  if (at.slots.size() <= slot)
    at.slots.resize(slot + 1);
  if (at.slots[slot].unit == 0) {
    at.slots[slot] =
        slot_state{restore_unit({known->second}, started), known->second, false, true, no_element};
    at.slots[slot].over = !at.node.takes(known->second);
    at.slots[slot].opened_by = at.orders.newest(); // or one before: nobody knows
  }
  at.before.erase(known);
}

void job_state_machine::adopt_wide(const placed_chunk& what) {
  const auto element = what.element_first;
  if (what.ended.contains(element))
    return;
  auto active = adopted_element(what, element);
  active.unit = restore_unit(what.starting.parts, world_.clock.utc());
  active.parts = what.starting.parts;
  const auto& slots = what.starting.slots;
  for (std::size_t i = 0; i < active.parts.size(); ++i) {
    const auto& part = active.parts[i];
    if (i < ordered_parts(active.parts)) {
      active.nodes_running.insert(part.node);
      active.unasked.insert(part.node);
    }
    auto& at = slots_on(part.node);
    // Its number there; of a ledger that does not tell it, any that no other has, or may have.
    std::uint32_t slot = 0;
    if (i < slots.size()) {
      slot = slots[i];
      at.before.erase(slot);
    }
    while (at.before.contains(slot) || (slot < at.slots.size() && at.slots[slot].unit != 0))
      ++slot;
    if (at.slots.size() <= slot)
      at.slots.resize(slot + 1);
    at.slots[slot] = slot_state{active.unit, part, true, false, element};
  }
  active_.emplace(element, std::move(active));
}

/// Where an element started that has ended since is no slot of the job's any more: that may have
/// been given back, and be another job's, though the end was never written. But what is queued may
/// start there yet, if it was ordered for that slot.
void job_state_machine::forget_starts_of_ended(reconcile_job& what) {
  std::set<std::pair<group_key, std::uint32_t>> ended;
  for (const auto& record : what.unacknowledged)
    if (record.what == element_record::kind::exited ||
        record.what == element_record::kind::start_failed)
      ended.insert({record.group, record.element});
  std::set<std::pair<std::uint32_t, std::uint32_t>> awaited; ///< incarnation, slot
  for (const auto& order : slots_on(what.node).orders_before)
    for (const auto& group : what.groups)
      if (group.group.step == 0 && group.group.incarnation == order.incarnation &&
          std::any_of(group.queued.begin(), group.queued.end(), [&](const number_range& range) {
            return range.first <= order.last && order.first <= range.last;
          }))
        for (auto slot : order.open)
          awaited.insert({order.incarnation, slot});
  std::erase_if(what.unacknowledged, [&](const element_record& record) {
    return record.what == element_record::kind::started &&
           ended.contains({record.group, record.element}) &&
           !awaited.contains({record.group.incarnation, record.slot});
  });
}

job_agreed job_state_machine::reconcile(reconcile_job& what) {
  auto& at = slots_on(what.node);
  at.routed = true;
  const auto same_launcher = at.node.instance() == what.instance;
  at.node.compared(what.instance, what.comparison);
  const auto steps_absent = reconcile_steps(what, same_launcher);
  std::set<std::pair<std::uint32_t, std::uint32_t>> reported; // incarnation, element
  for (const auto& record : what.unacknowledged)
    if (record.group.step == 0)
      reported.insert({record.group.incarnation, record.element});
  std::vector<std::uint32_t> here;
  for (const auto& [element, active] : active_)
    if (active.nodes_running.contains(what.node) && !active.unsent.contains(what.node) &&
        !active.ending && !active.returning)
      here.push_back(element);
  for (auto element : here) {
    auto* found = find_element(element);
    if (found == nullptr)
      continue;
    auto& active = *found;
    const auto* running = find_running(what.groups, active.incarnation, element);
    const auto first_answer = active.unasked.erase(what.node) > 0;
    if (!is_ordered_of(active, what, same_launcher)) {
      if (what.uncertain)
        forbid_requeue(active);
      lose(element, active, what.node, "its launcher ended while it ran");
      continue; // it may be gone
    }
    const auto queued = is_queued(what.groups, active.incarnation, element);
    const auto known = running || reported.contains({active.incarnation, element}) || queued;
    if (queued && active.unit != 0)
      at.unseen.insert({active.incarnation, element});
    // A cancel may have come, or another node been lost, while nobody could pass it on.
    if (active.cancelled || active.verdict || !active.again.empty() || active.preempted)
      at.node.tell(
          cap_, end_group{{job_, active.incarnation, 0}, element, element, event_->spec.grace_s});
    if (!known && first_answer)
      active.absent.insert(what.node);
    note_absence(element, active);
  }
  world_.log->info("job {}: agreed with node {}: {} elements there, {} placed in all", job_,
                   what.node, here.size(), active_.size());
  forget_starts_of_ended(what);
  // Records may be older than what runs, in the same slot: they come first.
  apply(what.node, what.unacknowledged);
  adopt_running(what.node, what.groups);
  for (auto number : steps_absent)
    note_step_absence(number);
  go_on(what.node);
  for (auto& [element, active] : active_)
    answer_parked(element);
  return {static_cast<std::uint32_t>(here.size())};
}

/// What runs, as far as the launcher knows, and has not been told to have ended since: as if its
/// `started` record had just come.
void job_state_machine::adopt_running(std::uint32_t node, const inventory_groups& groups) {
  for (const auto& group : groups)
    for (const auto& running : group.running) {
      const auto at = active_.find(running.element);
      if (at == active_.end() || at->second.incarnation != group.group.incarnation ||
          !at->second.nodes_running.contains(node))
        continue;
      element_record record;
      record.what = element_record::kind::started;
      record.group = group.group;
      record.element = running.element;
      record.slot = running.slot;
      record.started_utc_ns = running.started_utc_ns;
      take_started(node, record);
      if (is_mpi())
        tend(running.element, at->second);
    }
}

/// Once all launchers have answered, and some know nothing of it: with none that does, it never
/// left.
void job_state_machine::note_absence(std::uint32_t element, active_element& what) {
  if (!what.unasked.empty() || what.absent.empty())
    return;
  if (ordered_parts(what.parts) <= what.absent.size()) {
    forget_queued(what);
    put_back(element, what, "its order never reached the launcher");
    return;
  }
  forget_absent(what);
  part_lost(element, what, "only a part of it was started when trouped ended");
}

void job_state_machine::forget_absent(active_element& what) {
  if (!what.unasked.empty())
    return;
  for (auto gone : std::exchange(what.absent, {}))
    what.nodes_running.erase(gone);
}

/// Its launcher was killed in a way that something of it may run on, unseen: it must not run beside
/// that, whatever was asked.
void job_state_machine::forbid_requeue(active_element& what) const {
  what.again.clear();
  if (!what.verdict)
    what.verdict =
        exit_report{job_state::lost, 0, 0,
                    "its launcher and the keeper of that were killed while it ran, and "
                    "what it had started may run on; it is not run again by itself: look "
                    "for its processes, then submit it again"};
}

/// The node's launcher is another one now: what it ran of this element is gone.
void job_state_machine::lose(std::uint32_t element, active_element& what, std::uint32_t node,
                             const std::string& why) {
  for (auto& slot : slots_on(node).slots)
    if (slot.element == element && slot.lone)
      slot.busy = false;
  forget_queued(what);
  what.nodes_running.erase(node);
  what.ran = what.ran || what.parts.size() > 1; // it may have, whatever the others could not start
  what.shepherds.erase(node);
  forget_absent(what);
  part_lost(element, what, why);
}

/// What the ledger places on a node of which there is nothing at all: nobody will ever answer for
/// it.
void job_state_machine::lose_gone() {
  const auto is_gone = [this](std::uint32_t node) { return !node_of(node).offers(); };
  const auto gone_of = [&](const active_element& what) {
    std::vector<std::uint32_t> gone;
    if (what.ordered && !what.ending)
      std::copy_if(what.nodes_running.begin(), what.nodes_running.end(), std::back_inserter(gone),
                   is_gone);
    return gone;
  };
  std::map<std::uint32_t, std::vector<std::uint32_t>> elements, steps;
  for (const auto& [number, step] : steps_)
    if (auto gone = gone_of(step.ranks); !gone.empty())
      steps.emplace(number, std::move(gone));
  for (const auto& [element, active] : active_)
    if (auto gone = gone_of(active); !gone.empty())
      elements.emplace(element, std::move(gone));
  for (const auto& [number, nodes] : steps)
    for (auto node : nodes)
      if (auto* step = find_step(number)) {
        step->ranks.unasked.erase(node);
        step->ranks.nodes_running.erase(node);
        step->ranks.verdict =
            exit_report{job_state::lost, 0, 0, node_of(node).name() + " is not in the cluster"};
        end_step_ranks(*step);
        ranks_gone(*step, node);
      }
  for (const auto& [element, nodes] : elements)
    for (auto node : nodes)
      if (auto* active = find_element(element); active && active->unasked.erase(node) > 0)
        lose(element, *active, node, node_of(node).name() + " is not in the cluster");
}

/// It may have run and nobody can say how it ended: reported so, never silently run again. What
/// still runs of it elsewhere ends first, and keeps its cores until then.
void job_state_machine::part_lost(std::uint32_t element, active_element& what,
                                  const std::string& why) {
  end_other_nodes(element, what, no_element);
  lose_steps(element, what.incarnation, why);
  if (!what.verdict && what.again.empty() && event_->spec.requeue && !what.cancelled)
    what.again = why;
  else if (!what.verdict && what.again.empty())
    what.verdict =
        exit_report{job_state::lost, 0, 0, why + "; submit it again if it is to run again"};
  part_over(element, what);
}

} // namespace troupe::actors
