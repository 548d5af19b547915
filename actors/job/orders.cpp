// SPDX-License-Identifier: Apache-2.0
#include "actors/job/orders.hpp"
#include "actors/job/job.hpp"
#include "actors/placing.hpp"
#include "auth/order.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: bring what was placed into launchers' hands.
// Input:   chunks of elements with their places.
// Action:  `starting` is durable, then the authority signs, then the nodes get the orders. An order
//          that is not taken, and may be later, goes again: to the same launcher, in the same
//          incarnation, with a back-off. To another start of the launcher it never goes: what was
//          made for the one before waits again, in its next incarnation.
// Caveats: until a launcher has its order, an element is nowhere: it can be cancelled, preempted or
//          put back without asking anybody.

namespace troupe::actors {

namespace {

constexpr std::int64_t order_life_ns = 30 * ns_per_s;

placement_part hole() {
  placement_part part;
  part.ranks = 0;
  return part;
}

} // namespace

// -- the disk -------------------------------------------------------------------

/// What is left of chunks whose `starting` is to be written: of some, elements were cancelled or
/// put back since.
std::vector<job_state_machine::chunk>
job_state_machine::not_written(const std::vector<chunk>& chunks) const {
  std::vector<chunk> left;
  for (const auto& what : chunks) {
    auto follows = false;
    for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
         ++at) {
      const auto& active = at->second;
      const auto waits = active.incarnation == what.incarnation && !active.written &&
                         !active.ending && !active.returning;
      if (waits && follows && left.back().last + 1 == at->first)
        left.back().last = at->first;
      else if (waits)
        left.push_back({what.incarnation, at->first, at->first, what.parts, what.lone});
      follows = waits;
    }
  }
  return left;
}

ledger_entry job_state_machine::starting_entry(const chunk& what) {
  starting_event starting;
  starting.element_first = what.first;
  starting.element_last = what.last;
  std::map<std::uint32_t, launcher_instance> instances;
  for (const auto& part : what.parts) {
    const auto instance = node_of(part.node).instance().value_or(launcher_instance{});
    instances.insert_or_assign(part.node, instance);
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
  for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
       ++at)
    at->second.instances = instances;
  ledger_entry entry;
  entry.job = job_;
  entry.element = what.first;
  entry.incarnation = what.incarnation;
  entry.what = ledger_entry::kind::starting;
  starting.first_promised_utc_ns = first_promised_utc_ns_;
  starting.last_promised_utc_ns = last_promised_utc_ns_;
  entry.encoded = to_cbor(starting);
  entry.first_promised_utc_ns = starting.first_promised_utc_ns;
  entry.last_promised_utc_ns = starting.last_promised_utc_ns;
  return entry;
}

/// `starting` goes to the disk before anything leaves for a node.
void job_state_machine::write(std::vector<chunk> chunks) {
  if (chunks.empty())
    return;
  auto shared = std::make_shared<std::vector<chunk>>(std::move(chunks));
  writer_.insist(
      "a start",
      [this, shared]() -> std::optional<append_entries> {
        forget_unwritten(*shared);
        *shared = not_written(*shared);
        if (shared->empty())
          return std::nullopt;
        append_entries entries;
        for (const auto& what : *shared)
          entries.entries.push_back(starting_entry(what));
        if (row_.started_utc_ns == 0) {
          row_.started_utc_ns = std::max(row_.submitted_utc_ns, world_.clock.utc());
          started_at_ = world_.clock.now();
        }
        update_row();
        entries.entries.back().row = row_;
        entries.entries.back().uid = event_->identity.uid;
        return entries;
      },
      [this, shared](const entries_kept&) {
        first_promised_utc_ns_ = last_promised_utc_ns_ = 0; // told, with the job's first start
        starts_kept(*shared);
      });
}

/// They were placed, and their start is durable: their orders may leave.
void job_state_machine::starts_kept(const std::vector<chunk>& chunks) {
  for (const auto& what : chunks) {
    for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
         ++at) {
      auto& active = at->second;
      if (active.incarnation != what.incarnation)
        continue;
      active.written = true;
      if (active.returning)
        to_return_.push_back(at->first);
    }
    for (std::size_t i = 0; i < ordered_parts(what.parts); ++i)
      unsent_.push_back({what.incarnation, what.first, what.last, what.parts[i].node, 0});
  }
  send_orders();
}

/// Elements of these chunks that are to wait again, though the disk never took their start: nothing
/// was ever said of this incarnation, so they wait in it.
void job_state_machine::forget_unwritten(const std::vector<chunk>& chunks) {
  auto any = false;
  for (const auto& what : chunks)
    for (auto at = active_.lower_bound(what.first);
         at != active_.end() && at->first <= what.last;) {
      auto& active = at->second;
      if (active.incarnation != what.incarnation || active.written || !active.returning ||
          active.cancelled) {
        ++at;
        continue;
      }

      any = true;
      unstarted_[active.incarnation].insert(at->first, at->first);
      forget_queued(active);
      free_unit(active, at->first);
      at = active_.erase(at);
    }
  if (any)
    tell_planner_of_waiting();
}

// -- orders ---------------------------------------------------------------------

/// No launcher has, or had, anything of it.
bool job_state_machine::is_nowhere(const active_element& what) {
  return !what.ran && std::all_of(what.nodes_running.begin(), what.nodes_running.end(),
                                  [&](std::uint32_t node) { return what.unsent.contains(node); });
}

/// Whether an order for this element is still to go to that node.
bool job_state_machine::awaits_order(const active_element& what, const unsent_order& order) const {
  return what.incarnation == order.incarnation && what.written && !what.ending && !what.returning &&
         !what.cancelled && what.unsent.contains(order.node);
}

/// Neighbours that are to go with one order, by what has become of them.
std::vector<job_state_machine::unsent_order>
job_state_machine::runs_of(const unsent_order& what) const {
  std::vector<unsent_order> runs;
  for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
       ++at) {
    if (!awaits_order(at->second, what) || at->second.signing.contains(what.node))
      continue;
    if (!runs.empty() && runs.back().last + 1 == at->first)
      runs.back().last = at->first;
    else
      runs.push_back({what.incarnation, at->first, at->first, what.node, 0});
  }
  return runs;
}

bool job_state_machine::is_whole(const unsent_order& what) const {
  std::uint64_t count = 0;
  for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
       ++at)
    count += awaits_order(at->second, what);
  return count == std::uint64_t{what.last} - what.first + 1;
}

/// An order that the authority has in its hands is not asked for a second time, whatever the
/// element is told meanwhile: it would refuse that one for good.
void job_state_machine::note_signing(const unsent_order& what, bool on) {
  for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
       ++at) {
    auto& active = at->second;
    if (active.incarnation != what.incarnation)
      continue;
    if (on)
      active.signing.insert(what.node);
    else
      active.signing.erase(what.node);
  }
}

/// A launcher starts what waits in an incarnation in the slots that the newest order of that one
/// names. Those are shared by elements that were ordered for any slot, and are its own for one of
/// several nodes: neither kind goes to a node where one of the other kind waits.
bool job_state_machine::must_wait(const unsent_order& what) {
  const auto element = active_.find(what.first);
  if (element != active_.end() && element->second.unit != 0)
    return queued_incarnation(what.node) == what.incarnation;
  auto& unseen = slots_on(what.node).unseen;
  std::erase_if(unseen, [&](const auto& each) {
    const auto at = active_.find(each.second);
    return at == active_.end() || at->second.incarnation != each.first ||
           !at->second.nodes_running.contains(what.node) || at->second.unsent.contains(what.node);
  });
  const auto first = unseen.lower_bound({what.incarnation, 0});
  return first != unseen.end() && first->first == what.incarnation;
}

/// Whether an element with slots of its own waits until nothing is queued at this node's launcher:
/// nothing is to go there before it.
bool job_state_machine::waits_for_queue(std::uint32_t node) const {
  return std::any_of(unsent_.begin(), unsent_.end(), [&](const unsent_order& each) {
    const auto at = active_.find(each.first);
    return each.node == node && at != active_.end() && at->second.unit != 0 &&
           awaits_order(at->second, each);
  });
}

/// Whether the node's launcher is the one that `starting` names.
bool job_state_machine::is_for_launcher(const unsent_order& what) const {
  const auto at = active_.find(what.first);
  if (at == active_.end())
    return false;
  const auto named = at->second.instances.find(what.node);
  return named != at->second.instances.end() && node_of(what.node).instance() == named->second;
}

/// Its launcher was replaced before it took this order.
void job_state_machine::never_left(const unsent_order& what, const std::string& why) {
  std::vector<std::uint32_t> elements;
  for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
       ++at)
    if (awaits_order(at->second, what))
      elements.push_back(at->first);
  for (auto element : elements)
    if (auto* active = find_element(element))
      part_never_left(element, *active, what.node, why);
}

void job_state_machine::part_never_left(std::uint32_t element, active_element& what,
                                        std::uint32_t node, const std::string& why, boot_ns due) {
  if (is_nowhere(what)) {
    forget_queued(what);
    return put_back(element, what, why, due);
  }
  what.nodes_running.erase(node);
  what.unsent.erase(node);
  part_lost(element, what, why);
}

/// What all orders of the job have in common: for whom they are and how long they are good.
auth::launch_order job_state_machine::identity_order() const {
  auth::launch_order order;
  order.cluster_id = world_.verifier.options().cluster;
  order.job = job_;
  order.issued_ns = world_.clock.boot();
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
  const auto at = nodes_.find(part.node);
  const auto offers = node_of(part.node).offers();
  if (!offers)
    return tl::unexpected<error>{offers.error()};
  const auto& node = **offers;
  const auto& slots = at->second.slots;
  const auto ranks_here = runs_once() ? 1 : part.ranks;
  const auto cores_each = [&](const placement_part& of) {
    return runs_once() ? static_cast<std::uint32_t>(of.cores.size()) : spec.cores_per_task;
  };
  const auto map_by = runs_once() ? map_mode::slot : spec.map_by;
  auto order = identity_order();
  order.bind_mode = static_cast<std::uint8_t>(spec.bind);
  order.node_id = part.node;
  order.instance = node_of(part.node).instance().value_or(launcher_instance{});
  order.incarnation = what.incarnation;
  order.element_first = what.first;
  order.element_count = what.last - what.first + 1;
  order.window = static_cast<std::uint32_t>(slots.size());
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
  for (const auto& slot : slots) {
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
  if (shares_files(spec))
    order.first_start_ns = row_.started_utc_ns;
  order.node_name = node.name;
  order.nodelist = nodelist_of(what.parts);
  order.job_name = spec.name;
  return auth::encode_order(order);
}

/// The order for a run of elements; an error where it cannot be made.
expected<bytes> job_state_machine::encode_run(const unsent_order& what) const {
  const auto at = active_.find(what.first);
  if (at == active_.end())
    return fail(errc::not_found, "the element is not placed any more");
  const auto& active = at->second;
  const auto part =
      std::find_if(active.parts.begin(), active.parts.end(),
                   [&](const placement_part& each) { return each.node == what.node; });
  if (part == active.parts.end())
    return fail(errc::internal,
                fmt::format("{} has no part on node {}", format_id(job_, what.first), what.node));
  const chunk run{what.incarnation, what.first, what.last, active.parts, active.unit == 0};
  return encode_order_for(run, static_cast<std::size_t>(part - active.parts.begin()));
}

/// Has what is due signed, and sends it. What is not taken stays until its time has come.
void job_state_machine::send_orders() {
  if (stopping_)
    return; // what no launcher has by now waits again
  const auto now = world_.clock.boot();
  auto drafts = std::make_shared<std::vector<drafted_order>>();
  for (const auto& each : std::exchange(unsent_, {})) {
    if (each.due > now) {
      unsent_.push_back(each);
      continue;
    }
    for (const auto& run : runs_of(each)) {
      if (!is_for_launcher(run)) {
        never_left(run, "its launcher ended before the order left");
        continue;
      }
      if (must_wait(run)) {
        unsent_.push_back(run);
        continue;
      }
      auto encoded = encode_run(run);
      if (!encoded && encoded.error().code == errc::not_found)
        never_left(run, encoded.error().text);
      else if (!encoded)
        fail_run(run, encoded.error().text);
      else {
        note_signing(run, true);
        note_order(run);
        drafts->push_back(
            {run, {{job_, run.incarnation, 0}, std::move(*encoded), {}, exec_bytes_}});
      }
    }
  }
  sign(std::move(drafts));
}

void job_state_machine::sign(std::shared_ptr<std::vector<drafted_order>> drafts) {
  if (drafts->empty())
    return;
  sign_orders message;
  for (const auto& each : *drafts) {
    incarnations_.insert(each.what.incarnation);
    message.orders.push_back({each.order.order, event_});
    note_signing(each.what, true);
  }
  const auto answered = [this, drafts] {
    --asks_in_flight_;
    for (const auto& each : *drafts)
      note_signing(each.what, false);
  };
  ++asks_in_flight_;
  ask(self_, links_.authority, cap_, std::move(message))
      .then(
          [this, drafts, answered](orders_signed& answer) {
            answered();
            if (answer.seals.size() == drafts->size()) {
              for (std::size_t i = 0; i < drafts->size(); ++i)
                (*drafts)[i].order.seal = std::move(answer.seals[i]);
              send(*drafts);
            } else {
              hold_back(*drafts, "the authority signed another number of orders");
            }
            follow_up();
          },
          [this, drafts, answered](caf::error& why) {
            answered();
            not_signed(drafts, why);
            follow_up();
          });
}

/// If one order of several is bad, each gets its own answer.
void job_state_machine::not_signed(const std::shared_ptr<std::vector<drafted_order>>& drafts,
                                   const caf::error& why) {
  const auto text = from_caf(why).text;
  if (passes(why))
    return hold_back(*drafts, text);
  if (drafts->size() > 1) {
    for (auto& each : *drafts)
      sign(std::make_shared<std::vector<drafted_order>>(1, std::move(each)));
    return;
  }
  world_.log->error("job {}: its order was not signed: {}", job_, text);
  forget_orders(drafts->front().what);
  fail_run(drafts->front().what, text);
}

/// The authority signs them later.
void job_state_machine::hold_back(const std::vector<drafted_order>& drafts,
                                  const std::string& why) {
  const auto due = hold_signing(why);
  for (const auto& each : drafts) {
    forget_orders(each.what);
    unsent_.push_back(each.what);
    unsent_.back().due = due;
  }
}

/// Until when the authority is not asked again: each refusal that passes waits longer.
boot_ns job_state_machine::hold_signing(const std::string& why) {
  const auto now = world_.clock.boot();
  if (signing_due_ <= now)
    signing_due_ = now + signing_wait_.next().count();
  world_.log->warn("job {}: its orders are not signed yet: {}; trying again", job_, why);
  waits_because_ = why;
  return signing_due_;
}

/// Orders leave only as they were signed: what changed meanwhile is made anew.
void job_state_machine::send(std::vector<drafted_order>& drafts) {
  signing_wait_.reset();
  std::map<std::uint32_t, launch_orders> by_node;
  auto anew = false;
  std::set<std::uint32_t> elements;
  for (auto& each : drafts) {
    if (!is_whole(each.what) || !is_for_launcher(each.what) || must_wait(each.what)) {
      forget_signed(each.what);
      forget_orders(each.what);
      unsent_.push_back(each.what);
      anew = true;
      continue;
    }
    for (auto at = active_.find(each.what.first);
         at != active_.end() && at->first <= each.what.last; ++at) {
      at->second.unsent.erase(each.what.node);
      at->second.ordered = true;
      if (at->second.unit != 0)
        slots_on(each.what.node).unseen.insert({each.what.incarnation, at->first});
      elements.insert(elements.end(), at->first);
    }
    by_node[each.what.node].orders.push_back(std::move(each.order));
  }
  for (auto& [node, orders] : by_node) {
    auto& at = slots_on(node);
    route(node, at);
    at.node.tell(cap_, std::move(orders));
  }
  for (auto element : elements) {
    if (auto* active = find_element(element); active && is_mpi())
      tend(element, *active);
    answer_parked(element);
  }
  if (anew)
    send_orders();
  retry_preemptions();
}

/// The authority may sign another order for these elements, which never started.
void job_state_machine::forget_signed(const unsent_order& what) {
  tell(links_.authority, cap_,
       release_orders{{job_, what.incarnation, 0}, what.node, what.first, what.last});
}

/// They never run: nobody will take this order.
void job_state_machine::fail_run(const unsent_order& what, const std::string& why) {
  for (auto at = active_.lower_bound(what.first); at != active_.end() && at->first <= what.last;
       ++at)
    if (awaits_order(at->second, what)) {
      forget_queued(at->second);
      part_refused(at->first, at->second, what.node, why);
    }
  if (const auto node = nodes_.find(what.node); node != nodes_.end())
    release_idle_slots(what.node);
}

/// One of its launchers will not take its part, now or later: the element fails, everywhere.
void job_state_machine::part_refused(std::uint32_t element, active_element& what,
                                     std::uint32_t node, const std::string& why) {
  if (!what.verdict)
    what.verdict = exit_report{job_state::failed, 0, 0, fmt::format("not started: {}", why)};
  for (auto other : what.unsent)
    what.nodes_running.erase(other);
  what.unsent.clear();
  what.nodes_running.erase(node);
  what.again.clear();
  end_other_nodes(element, what, no_element);
  part_over(element, what);
}

} // namespace troupe::actors
