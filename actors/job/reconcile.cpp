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
//            another             | anything            | lost; unstarted again only with --requeue
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

constexpr std::uint64_t restored_unit_bit = std::uint64_t{1} << 63;

} // namespace

/// Rebuilds what was placed before a restart; who still runs is learnt from the launchers. Every
/// unit gets a new number, which the planner is told.
void job_state_machine::recover(const std::vector<placed_chunk>& chunks,
                                const std::vector<std::shared_ptr<node_entry const>>& nodes) {
  for (const auto& node : nodes)
    slots_on(node->offers->node).entry = node;
  for (const auto& what : chunks) {
    incarnations_.insert(what.incarnation);
    remember_instances(what.starting);
    if (what.starting.window != 0)
      adopt_lone(what);
  }
  for (const auto& what : chunks)
    if (what.starting.window == 0)
      adopt_wide(what);
}

/// The instance that the orders named; the inventory tells whether it is still the same.
void job_state_machine::remember_instances(const starting_event& starting) {
  for (std::size_t i = 0; i < starting.instances.size(); ++i) {
    const auto part =
        std::find_if(starting.parts.begin() + static_cast<std::ptrdiff_t>(i), starting.parts.end(),
                     [](const placement_part& each) { return each.ranks > 0; });
    auto& at = slots_on(part->node);
    if (!at.entry || starting.instances[i].size() != at.entry->instance.size())
      continue;
    auto entry = std::make_shared<node_entry>(*at.entry);
    std::copy(starting.instances[i].begin(), starting.instances[i].end(), entry->instance.begin());
    at.entry = std::move(entry);
  }
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
  active.ordered = active.adopted = true;
  active.preempted = what.preempted.contains(element);
  active.preempt_reason = what.preempted_why;
  active.cancelled = what.cancelled.contains(element);
  if (active.cancelled)
    active.cancel_reason = what.cancel_reason;
  return active;
}

void job_state_machine::adopt_lone(const placed_chunk& what) {
  const auto& parts = what.starting.parts;
  const auto first = std::find_if(parts.begin(), parts.end(),
                                  [](const placement_part& each) { return each.ranks > 0; });
  auto& at = slots_on(first->node);
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (parts[i].ranks > 0)
      at.before.insert_or_assign(static_cast<std::uint32_t>(i), parts[i]);
  for (auto element = what.element_first;; ++element) {
    if (!what.ended.contains(element)) {
      auto active = adopted_element(what, element);
      active.parts = {*first};
      active.node = first->node;
      active.nodes_running.insert(first->node);
      active.unasked.insert(first->node);
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
  if (at.slots[slot].unit == 0)
    at.slots[slot] =
        slot_state{restore_unit({known->second}, started), known->second, false, true, no_element};
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

job_agreed job_state_machine::reconcile(reconcile_job& what) {
  reconcile_steps(what);
  auto& at = slots_on(what.node);
  at.routed = true;
  std::set<std::uint32_t> reported;
  for (const auto& record : what.unacknowledged)
    reported.insert(record.element);
  std::vector<std::uint32_t> here;
  for (const auto& [element, active] : active_)
    if (active.nodes_running.contains(what.node) && active.ordered && !active.ending)
      here.push_back(element);
  const auto same_instance = at.entry && at.entry->instance == what.instance;
  for (auto element : here) {
    auto& active = active_.at(element);
    const auto* running = find_running(what.groups, active.incarnation, element);
    const auto first_answer = active.unasked.erase(what.node) > 0;
    if (!same_instance) {
      lose(element, active, what.node);
      continue; // it may be gone
    }
    const auto known = running || reported.contains(element) ||
                       is_queued(what.groups, active.incarnation, element);
    // A cancel may have come, or another node been lost, while nobody could pass it on.
    if (active.cancelled || active.verdict || !active.again.empty() || active.preempted)
      tell(at.entry->actor, cap_,
           end_group{{job_, active.incarnation, 0}, element, element, event_->spec.grace_s});
    if (!known && first_answer)
      active.absent.insert(what.node);
    note_absence(element, active);
  }
  if (at.entry) {
    auto entry = std::make_shared<node_entry>(*at.entry);
    entry->instance = what.instance;
    entry->comparison = what.comparison;
    at.entry = std::move(entry);
  }
  world_.log->info("job {}: agreed with node {}: {} elements there, {} placed in all", job_,
                   what.node, here.size(), active_.size());
  // Records may be older than what runs, in the same slot: they come first.
  apply(what.node, what.unacknowledged);
  if (same_instance)
    adopt_running(what.node, what.groups);
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

/// An element that was ordered for a slot of one node is not coming there any more.
void job_state_machine::forget_queued(const active_element& what) {
  if (what.unit == 0)
    slots_on(what.node).queued -= std::min(slots_on(what.node).queued, 1u);
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

/// The node's launcher is another one now: what it ran of this element is gone.
void job_state_machine::lose(std::uint32_t element, active_element& what, std::uint32_t node) {
  for (auto& slot : slots_on(node).slots)
    if (slot.element == element && slot.lone)
      slot.busy = false;
  forget_queued(what);
  what.nodes_running.erase(node);
  what.shepherds.erase(node);
  forget_absent(what);
  part_lost(element, what, "its launcher ended while it ran");
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

/// Unstarted again, durably, in the next incarnation. `what` is gone afterwards.
void job_state_machine::put_back(std::uint32_t element, active_element& what,
                                 const std::string& why) {
  if (what.cancelled) {
    what.nodes_running.clear();
    element_over(element, what);
    return;
  }
  const auto incarnation = what.incarnation + 1;
  requeued_event event{element, element, why};
  ledger_entry entry;
  entry.job = job_;
  entry.element = element;
  entry.incarnation = incarnation;
  entry.what = ledger_entry::kind::requeued;
  entry.encoded = to_cbor(event);
  // The planner forgets a job that neither waits nor runs: it hears of the waiting first.
  unstarted_[incarnation].insert(element, element);
  planner_event(plan_event::kind::pending_changed, 0,
                static_cast<std::uint32_t>(unstarted_count()));
  const auto unacknowledged =
      std::make_shared<std::vector<node_record>>(std::move(what.unacknowledged));
  putting_back_[element] = unacknowledged;
  free_unit(what, element);
  active_.erase(element);
  update_row();
  entry.row = row_;
  entry.uid = event_->identity.uid;
  append_entries entries;
  entries.essential = true;
  entries.entries.push_back(std::move(entry));
  ++writes_in_flight_;
  const auto over = [this, element, unacknowledged] {
    --writes_in_flight_;
    if (auto at = putting_back_.find(element);
        at != putting_back_.end() && at->second == unacknowledged)
      putting_back_.erase(at);
  };
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, over, unacknowledged](entries_kept&) {
            over();
            acknowledge(*unacknowledged);
            publish();
          },
          [this, over](caf::error& failure) {
            // The ledger still says it was placed; the next restart finds the same answer.
            over();
            world_.log->error("job {}: cannot record a requeue: {}", job_, from_caf(failure).text);
            publish();
          });
}

} // namespace troupe::actors
