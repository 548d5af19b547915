// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "actors/placing.hpp"
#include "auth/order.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: bring elements from "unstarted" to an order in a launcher's hands.
// Input:   units from the planner; free slots, where the job may refill them.
// Action:  `starting` is durable first, then the authority signs, then the node gets the orders.
// Caveats: elements on one node are ordered in chunks: the launcher starts the next by itself when
//          a slot falls free, so that few slots are kept busy without a round trip per element.

namespace troupe::actors {

namespace {

/// How far ahead of need elements are ordered: what is ordered delays whoever comes next.
constexpr double ahead_ns = 200e6;
constexpr std::uint32_t ahead_elements_max = 512;
constexpr std::int64_t order_life_ns = 30 * ns_per_s;

placement_part hole() {
  placement_part part;
  part.ranks = 0;
  return part;
}

} // namespace

void job_state_machine::start(std::vector<placed_unit> units,
                              std::vector<std::shared_ptr<node_entry const>> nodes) {
  // Both the scheduler and, once a route stands, the node itself tell of a new launcher instance.
  for (auto& node : nodes)
    if (auto& at = slots_on(node->offers->node);
        !at.entry || at.entry->comparison < node->comparison)
      at.entry = node;
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

job_state_machine::node_slots& job_state_machine::slots_on(std::uint32_t node) {
  return nodes_[node];
}

/// The node learns where this job's news goes before its first order can make any.
void job_state_machine::route(std::uint32_t, node_slots& at) {
  if (at.routed || !at.entry)
    return;
  at.routed = true;
  tell(at.entry->actor, cap_, route_job{job_, job_actor{self_}});
}

void job_state_machine::place_lone(placed_unit unit, std::vector<std::uint32_t>& touched) {
  auto node = unit.parts.front().node;
  auto& slots = slots_on(node).slots;
  auto hole =
      std::find_if(slots.begin(), slots.end(), [](const slot_state& s) { return s.unit == 0; });
  if (hole == slots.end())
    hole = slots.emplace(slots.end());
  *hole = slot_state{unit.unit, std::move(unit.parts.front()), false, true, no_element};
  ++slots_on(node).fresh;
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
  for (const auto& part : unit.parts) {
    auto& slots = slots_on(part.node).slots;
    auto hole =
        std::find_if(slots.begin(), slots.end(), [](const slot_state& s) { return s.unit == 0; });
    if (hole == slots.end())
      hole = slots.emplace(slots.end());
    *hole = slot_state{unit.unit, part, true, false, element};
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
  const auto lone = std::count_if(at.slots.begin(), at.slots.end(),
                                  [](const slot_state& s) { return s.unit != 0 && s.lone; });
  auto per_slot = ahead_ns / mean_run_ns_;
  auto count = per_slot * static_cast<double>(lone);
  return static_cast<std::uint32_t>(std::min<double>(count, ahead_elements_max));
}

/// The incarnation of what waits at a node's launcher.
std::optional<std::uint32_t> job_state_machine::queued_incarnation(std::uint32_t node) const {
  if (nodes_.at(node).queued == 0)
    return std::nullopt;
  for (const auto& [element, active] : active_)
    if (active.unit == 0 && active.node == node && !active.ending)
      return active.incarnation;
  return std::nullopt;
}

/// May an element of this chunk start in `slot`? A wide one has its own; lone ones have those that
/// are their incarnation's.
bool job_state_machine::is_open(const slot_state& slot, const chunk& what) const {
  if (slot.unit == 0 || slot.lone != what.lone)
    return false;
  return what.lone ? slot.incarnation == what.incarnation : slot.element == what.first;
}

/// Makes a node's free slots those of this incarnation. False if none is: what is ordered would
/// wait there for ever.
bool job_state_machine::open_slots(node_slots& at, std::uint32_t incarnation) const {
  auto any = false;
  for (auto& slot : at.slots) {
    if (slot.unit == 0 || !slot.lone)
      continue;
    if (!slot.busy)
      slot.incarnation = incarnation;
    any = any || slot.incarnation == incarnation;
  }
  return any;
}

/// Orders as many elements for `node` as its slots can take now, and a few ahead.
void job_state_machine::fill(std::uint32_t node, std::vector<chunk>& chunks) {
  auto& at = slots_on(node);
  const auto free = static_cast<std::uint32_t>(std::count_if(
      at.slots.begin(), at.slots.end(), [](const slot_state& slot) { return slot.is_idle(); }));
  auto fresh = std::min(at.fresh, free);
  const auto target = ahead_target(at);
  std::uint32_t reusable = 0;
  if (lease_ && at.queued < free + target / 2)
    reusable = free - fresh + target - std::min(free - fresh + target, at.queued);
  auto left = std::uint64_t{fresh} + reusable;
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
      active.nodes_running.insert(node);
      active.parts = what.parts; // its cores are those of its slot, known when it has started
      active_.emplace(element, std::move(active));
      if (element == last)
        break;
    }
    at.queued += count;
    // Elements that the planner did not place itself were taken ahead: it counts them as started.
    const auto by_planner = std::min(fresh, count);
    if (count > by_planner) {
      auto holder = std::find_if(at.slots.begin(), at.slots.end(),
                                 [](const slot_state& s) { return s.unit != 0 && s.lone; });
      planner_event(plan_event::kind::refilled, holder->unit, count - by_planner,
                    predicted_end(world_.clock.utc()));
    }
    fresh -= by_planner;
    left -= count;
    chunks.push_back(std::move(what));
  }
  // What the other incarnation keeps from being used is kept until that has left; the planner
  // counts on an element in it.
  at.fresh = blocked ? fresh : 0;
}

/// Gives slots back that no element is coming for.
void job_state_machine::release_idle_slots(std::uint32_t node) {
  auto& at = slots_on(node);
  if (unstarted_count() == 0)
    at.fresh = 0;
  const auto waiting = queued_incarnation(node);
  std::uint64_t idle = 0, awaited = 0; // awaited: by what is queued here
  const auto is_awaited = [&](const slot_state& slot) {
    return waiting && slot.incarnation == *waiting;
  };
  for (const auto& slot : at.slots) {
    idle += slot.is_idle();
    awaited += slot.is_idle() && is_awaited(slot);
  }
  const std::uint64_t queued = waiting ? at.queued : 0;
  const auto release = [&](bool those_awaited, std::uint64_t keep) {
    for (auto slot = at.slots.rbegin(); slot != at.slots.rend(); ++slot) {
      if (idle <= queued + at.fresh || (those_awaited ? awaited : idle - awaited) <= keep)
        return;
      if (!slot->is_idle() || is_awaited(*slot) != those_awaited)
        continue;
      --idle;
      awaited -= those_awaited;
      planner_event(plan_event::kind::ended, slot->unit);
      *slot = {};
    }
  };
  release(false, 0);
  release(true, queued);
  while (!at.slots.empty() && at.slots.back().unit == 0)
    at.slots.pop_back();
}

/// `starting` goes to the disk before anything leaves for a node.
void job_state_machine::write(std::vector<chunk> chunks) {
  std::erase_if(chunks, [this](const chunk& what) { return resolve_unordered(what); });
  if (chunks.empty())
    return;
  append_entries entries;
  for (const auto& what : chunks) {
    starting_event starting;
    starting.element_first = what.first;
    starting.element_last = what.last;
    starting.first_promised_utc_ns = std::exchange(first_promised_utc_ns_, 0);
    starting.last_promised_utc_ns = std::exchange(last_promised_utc_ns_, 0);
    for (const auto& part : what.parts) {
      const auto& instance = slots_on(part.node).entry->instance;
      starting.instances.emplace_back(instance.begin(), instance.end());
    }
    if (what.lone) {
      const auto& slots = slots_on(what.parts.front().node).slots;
      starting.window = static_cast<std::uint32_t>(slots.size());
      for (const auto& slot : slots)
        starting.parts.push_back(is_open(slot, what) ? slot.part : hole());
    } else {
      starting.window = 0;
      starting.parts = what.parts;
      for (const auto& part : what.parts) {
        const auto& slots = slots_on(part.node).slots;
        const auto own = std::find_if(slots.begin(), slots.end(),
                                      [&](const slot_state& slot) { return is_open(slot, what); });
        starting.slots.push_back(static_cast<std::uint32_t>(own - slots.begin()));
      }
    }
    ledger_entry entry;
    entry.job = job_;
    entry.element = what.first;
    entry.incarnation = what.incarnation;
    entry.what = ledger_entry::kind::starting;
    entry.encoded = to_cbor(starting);
    entries.entries.push_back(std::move(entry));
  }
  if (row_.started_utc_ns == 0)
    row_.started_utc_ns = std::max(row_.submitted_utc_ns, world_.clock.utc());
  update_row();
  entries.entries.back().row = row_;
  entries.entries.back().uid = event_->identity.uid;
  ++writes_in_flight_;
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, chunks](entries_kept&) {
            --writes_in_flight_;
            order(chunks);
          },
          [this, chunks](caf::error& why) {
            // Nothing has left: the elements keep their places and are written again.
            --writes_in_flight_;
            world_.log->error("job {}: cannot record a start: {}; trying again", job_,
                              from_caf(why).text);
            std::move(chunks.begin(), chunks.end(), std::back_inserter(unwritten_));
            tick_later(self_, world_, std::chrono::seconds(1));
          });
}

/// A chunk that was cancelled before it left never leaves. True if none of it is left.
bool job_state_machine::resolve_unordered(const chunk& what) {
  for (auto element = what.first;; ++element) {
    if (!active_.at(element).cancelled)
      return false;
    if (element == what.last)
      break;
  }
  for (auto element = what.first;; ++element) {
    auto& active = active_.at(element);
    active.nodes_running.clear();
    element_over(element, active);
    if (element == what.last)
      break;
  }
  if (what.lone) {
    auto& at = slots_on(what.parts.front().node);
    at.queued -= std::min(at.queued, what.last - what.first + 1);
    release_idle_slots(what.parts.front().node);
  }
  return true;
}

/// Nothing of a chunk has left: its elements wait again.
void job_state_machine::put_back(const chunk& what, const std::string& why) {
  for (auto element = what.first;; ++element) {
    auto& active = active_.at(element);
    forget_queued(active);
    put_back(element, active, why);
    if (element == what.last)
      break;
  }
  if (what.lone)
    release_idle_slots(what.parts.front().node);
}

/// What all orders of the job have in common: for whom they are and how long they are good.
auth::launch_order job_state_machine::identity_order() const {
  auth::launch_order order;
  order.cluster_id = world_.verifier.options().cluster;
  order.job = job_;
  order.issued_ns = world_.clock.utc();
  order.expires_ns = order.issued_ns + order_life_ns;
  order.uid = event_->identity.uid;
  order.gid = event_->identity.gid;
  order.groups = event_->identity.groups;
  order.user = event_->identity.user;
  order.home = event_->identity.home;
  order.shell = event_->identity.shell;
  order.memory_bytes = event_->spec.memory_bytes;
  order.submit_dir = event_->spec.cwd;
  return order;
}

/// The order for one node's part of a chunk.
expected<bytes> job_state_machine::encode_order_for(const chunk& what,
                                                    std::size_t part_index) const {
  const auto& spec = event_->spec;
  const auto& part = what.parts[part_index];
  const auto& at = nodes_.at(part.node);
  const auto& node = *at.entry->offers;
  const auto ranks_here = runs_once() ? 1 : part.ranks;
  const auto cores_each = [&](const placement_part& of) {
    return runs_once() ? static_cast<std::uint32_t>(of.cores.size()) : spec.cores_per_task;
  };
  const auto map_by = runs_once() ? map_mode::slot : spec.map_by;
  auto order = identity_order();
  order.bind_mode = static_cast<std::uint8_t>(spec.bind);
  order.node_id = part.node;
  order.instance = at.entry->instance;
  order.incarnation = what.incarnation;
  order.element_first = what.first;
  order.element_count = what.last - what.first + 1;
  order.window = static_cast<std::uint32_t>(at.slots.size());
  order.rank_first = part.rank_first;
  order.ranks = part.rank_numbers;
  if (runs_once() && what.parts.size() <= auth::order_nodes_max)
    for (const auto& each : what.parts)
      order.node_tasks.push_back(each.ranks);
  order.ranks_here = ranks_here;
  order.ranks_total = spec.tasks;
  order.node_index = static_cast<std::uint32_t>(part_index);
  order.node_count = static_cast<std::uint32_t>(what.parts.size());
  order.cores_per_rank = spec.cores_per_task;
  order.time_limit_s = spec.time_limit_s;
  order.grace_s = spec.grace_s;
  order.cpu_words = cpuset_words(node);
  for (const auto& slot : at.slots) {
    auto sets =
        is_open(slot, what)
            ? rank_cpusets(node, slot.part, {ranks_here, cores_each(slot.part), spec.bind, map_by},
                           order.cpu_words)
            : std::vector<std::uint64_t>(std::size_t{ranks_here} * order.cpu_words);
    order.cpusets.insert(order.cpusets.end(), sets.begin(), sets.end());
    if (spec.gpus_per_task == 0)
      continue;
    const auto gpus_each =
        runs_once() ? static_cast<std::uint32_t>(slot.part.gpus.size()) : spec.gpus_per_task;
    auto masks = is_open(slot, what) ? rank_gpus(node, slot.part, ranks_here, gpus_each)
                                     : std::vector<std::uint64_t>(ranks_here);
    order.gpus.insert(order.gpus.end(), masks.begin(), masks.end());
  }
  order.spec_digest = exec_digest_;
  order.node_name = node.name;
  std::vector<std::shared_ptr<node_entry const>> entries;
  for (const auto& each : what.parts)
    entries.push_back(nodes_.at(each.node).entry);
  order.nodelist = nodelist_of(entries);
  order.job_name = spec.name;
  return auth::encode_order(order);
}

/// Has orders signed and sends them; elements cancelled in the meantime are ended right behind.
void job_state_machine::order(std::vector<chunk> chunks) {
  std::erase_if(chunks, [this](const chunk& what) { return resolve_unordered(what); });
  sign_orders drafts;
  struct destination {
    std::size_t chunk;
    std::uint32_t node;
    launcher_instance instance;
    sealed_order order;
  };
  auto destinations = std::make_shared<std::vector<destination>>();
  std::optional<error> broken;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    const auto& what = chunks[c];
    for (std::size_t i = 0; i < ordered_parts(what.parts); ++i) {
      auto encoded = encode_order_for(what, i);
      if (!encoded) {
        broken = encoded.error();
        continue;
      }
      incarnations_.insert(what.incarnation);
      drafts.orders.push_back({*encoded, event_});
      destinations->push_back(
          {c,
           what.parts[i].node,
           nodes_.at(what.parts[i].node).entry->instance,
           {{job_, what.incarnation, 0}, std::move(*encoded), {}, exec_bytes_}});
    }
  }
  write_ends();
  auto fail_all = [this, chunks](const error& why) {
    world_.log->error("job {}: its orders were not signed: {}", job_, why.text);
    for (const auto& what : chunks) {
      for (auto element = what.first;; ++element) {
        auto& active = active_.at(element);
        active.nodes_running.clear();
        active.verdict = exit_report{job_state::failed, 0, 0, why.text};
        element_over(element, active);
        if (element == what.last)
          break;
      }
      if (what.lone) {
        auto& at = slots_on(what.parts.front().node);
        at.queued -= std::min(at.queued, what.last - what.first + 1);
        release_idle_slots(what.parts.front().node);
      }
    }
    write_ends();
    publish();
  };
  if (broken) {
    fail_all(*broken);
    return;
  }
  if (drafts.orders.empty()) {
    publish();
    return;
  }
  ++writes_in_flight_;
  ask(self_, links_.authority, cap_, std::move(drafts))
      .then(
          [this, chunks, destinations](orders_signed& signed_orders) {
            --writes_in_flight_;
            // A launcher that was replaced meanwhile would refuse what was meant for the old one,
            // and one incarnation is not ordered twice.
            std::set<std::size_t> stale;
            for (const auto& to : *destinations)
              if (to.instance != nodes_.at(to.node).entry->instance)
                stale.insert(to.chunk);
            std::map<std::uint32_t, launch_orders> by_node;
            for (std::size_t i = 0; i < destinations->size(); ++i) {
              auto& to = (*destinations)[i];
              if (stale.contains(to.chunk))
                continue;
              to.order.seal = std::move(signed_orders.seals.at(i));
              by_node[to.node].orders.push_back(std::move(to.order));
            }
            for (auto& [node, orders] : by_node) {
              auto& at = slots_on(node);
              route(node, at);
              tell(at.entry->actor, cap_, std::move(orders));
            }
            std::vector<number_range> cancelled;
            for (std::size_t c = 0; c < chunks.size(); ++c) {
              const auto& what = chunks[c];
              if (stale.contains(c)) {
                put_back(what, "its launcher ended before the order left");
                continue;
              }
              for (auto element = what.first;; ++element) {
                auto& active = active_.at(element);
                active.ordered = true;
                if (is_mpi())
                  tend(element, active);
                if (active.cancelled)
                  cancelled.push_back({element, element});
                answer_parked(element);
                if (element == what.last)
                  break;
              }
            }
            if (!cancelled.empty())
              cancel_active(cancelled, "");
            publish();
          },
          [this, fail_all](caf::error& why) {
            --writes_in_flight_;
            fail_all(from_caf(why));
          });
}

} // namespace troupe::actors
