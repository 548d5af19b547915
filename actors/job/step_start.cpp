// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"
#include "actors/job/orders.hpp"
#include "actors/placing.hpp"
#include "auth/order.hpp"
#include "messages/cbor.hpp"
#include "messages/exec.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: bring a step from "waiting" to an order in its launchers' hands.
// Input:   the cores of its element that no other step has.
// Action:  the authority makes a warrant for it, its start is durable, the orders are signed, and
//          only then do they leave; its number is told when its start is durable.

namespace troupe::actors {

namespace {

bool named(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

} // namespace

step_wish job_state_machine::wish_of(const job_spec& spec, const active_element& element) const {
  step_wish wish{spec.tasks, spec.cores_per_task, spec.nodes, {}, spec.map_by};
  for (const auto& part : element.parts) {
    const auto node = node_of(part.node).name();
    if (named(spec.nodes_excluded, node) ||
        (!spec.nodes_required.empty() && !named(spec.nodes_required, node)))
      wish.excluded.insert(part.node);
  }
  return wish;
}

/// What the element's other steps have.
taken_cores job_state_machine::cores_taken(std::uint32_t element) const {
  const auto at = active_.find(element);
  if (at == active_.end())
    return {};
  const auto& parts = at->second.parts;
  taken_cores taken(parts.size());
  for (const auto& [number, step] : steps_) {
    if (step.element != element || step.ranks.asked->spec.overlap ||
        step.ranks.parts.size() != parts.size())
      continue;
    for (std::size_t i = 0; i < parts.size(); ++i)
      taken[i].insert(step.ranks.parts[i].cores.begin(), step.ranks.parts[i].cores.end());
  }
  return taken;
}

void job_state_machine::refuse(waiting_step& waiting, const error& why) {
  if (waiting.spawned.spawn_request == 0) {
    waiting.promise.refuse(why);
    return;
  }
  answer_spawn(waiting.element, waiting.spawned, {}, why.text);
}

/// Begins what fits now, in the order in which it was asked for.
void job_state_machine::begin_waiting_steps() {
  std::set<std::uint32_t> blocked; ///< elements whose first waiting step does not fit yet
  std::vector<waiting_step> left;
  for (auto& waiting : std::exchange(waiting_steps_, {})) {
    const auto at = active_.find(waiting.element);
    if (at == active_.end() || at->second.ending || at->second.waits_for_steps ||
        at->second.cancelled) {
      refuse(waiting, {errc::conflict,
                       fmt::format("job {} is at its end", format_id(job_, waiting.element))});
      continue;
    }
    auto& element = at->second;
    // Its cores are those of its slot, known when it has been seen to run.
    const auto settled = element.unit != 0 && element.ordered && element.unasked.empty();
    if (!settled || blocked.contains(waiting.element)) {
      left.push_back(std::move(waiting));
      continue;
    }
    const auto& spec = *waiting.what.spec;
    const auto wish = wish_of(spec, element);
    const taken_cores none(element.parts.size());
    auto parts =
        place_step(element.parts, spec.overlap ? none : cores_taken(waiting.element), wish);
    // Who spawns waits for what it spawns: they share cores rather than wait for each other.
    if (!parts && waiting.spawned.spawn_request != 0)
      parts = place_step(element.parts, none, wish);
    if (!parts) {
      blocked.insert(waiting.element);
      left.push_back(std::move(waiting));
      continue;
    }
    begin(std::move(waiting), element.incarnation, std::move(*parts));
  }
  std::move(left.begin(), left.end(), std::back_inserter(waiting_steps_));
}

/// It has its cores from now on.
void job_state_machine::begin(waiting_step waiting, std::uint32_t incarnation,
                              std::vector<placement_part> parts) {
  const auto number = next_step_++;
  auto& step = steps_[number];
  step.element = waiting.element;
  step.request = waiting.request;
  step.spawned = waiting.spawned;
  step.ranks.step = number;
  step.ranks.incarnation = incarnation;
  step.ranks.parts = std::move(parts);
  for (const auto& part : step.ranks.parts)
    if (part.ranks > 0)
      step.ranks.nodes_running.insert(part.node);
  // Until its warrant has come it stands for what was asked for.
  auto asked = std::make_shared<submitted_event>();
  asked->spec = *waiting.what.spec;
  step.ranks.asked = std::move(asked);
  auto shared = std::make_shared<waiting_step>(std::move(waiting));
  warrant_step message{event_, number, step.ranks.incarnation, shared->what};
  ++asks_in_flight_;
  ask(self_, links_.authority, shared->cap, std::move(message))
      .then(
          [this, number, shared](step_warranted& made) {
            --asks_in_flight_;
            if (auto* begun = find_step(number))
              take_asked(*begun, std::move(made.event));
            write_step(number, std::move(*shared));
            follow_up();
          },
          [this, number, shared](caf::error& why) {
            --asks_in_flight_;
            give_up_step(number, *shared, from_caf(why));
            follow_up();
          });
}

/// It never was: who asked for it hears why, and so does who asked about it.
void job_state_machine::give_up_step(std::uint32_t number, waiting_step& waiting,
                                     const error& why) {
  refuse(waiting, why);
  std::erase_if(step_waiters_, [&](step_waiter& waiter) {
    if (waiter.step == number)
      waiter.promise.refuse(why);
    return waiter.step == number;
  });
  std::erase_if(parked_, [&](parked_location& parked) {
    if (parked.step == number)
      parked.promise.refuse(why);
    return parked.step == number;
  });
  steps_.erase(number);
  go_on_without_steps(waiting.element);
}

/// Its start goes to the disk before anybody hears of it.
void job_state_machine::write_step(std::uint32_t number, waiting_step waiting) {
  auto* found = find_step(number);
  if (found == nullptr)
    return refuse(waiting, {errc::conflict, fmt::format("job {} is at its end", job_)});
  auto& step = *found;
  auto event = step.spawned;
  event.step = number;
  event.asked = *step.ranks.asked;
  event.parts = step.ranks.parts;
  ledger_entry entry;
  entry.job = job_;
  entry.element = step.element;
  entry.incarnation = step.ranks.incarnation;
  entry.what = ledger_entry::kind::step_started;
  entry.encoded = to_cbor(event);
  entry.uid = event_->identity.uid;
  append_entries entries;
  entries.entries.push_back(std::move(entry));
  auto shared = std::make_shared<waiting_step>(std::move(waiting));
  writer_.attempt(
      std::move(entries),
      [this, number, shared](const entries_kept&) {
        if (auto* kept = find_step(number))
          kept->durable = true;
        if (shared->spawned.spawn_request == 0)
          shared->promise.answer(step_begun{number});
        order_step(number);
      },
      [this, number, shared](const error& why) { give_up_step(number, *shared, why); });
}

expected<bytes> job_state_machine::encode_step_order(const job_step& what,
                                                     std::size_t part_index) const {
  const auto& spec = what.ranks.asked->spec;
  const auto& part = what.ranks.parts[part_index];
  const auto offers = node_of(part.node).offers();
  if (!offers)
    return tl::unexpected<error>{offers.error()};
  const auto& node = **offers;
  auto order = identity_order();
  order.bind_mode = static_cast<std::uint8_t>(spec.bind);
  order.node_id = part.node;
  order.instance = node_of(part.node).instance().value_or(launcher_instance{});
  order.incarnation = what.ranks.incarnation;
  order.step = what.ranks.step;
  order.element_first = what.element;
  order.rank_first = part.rank_first;
  order.ranks = part.rank_numbers;
  order.ranks_here = part.ranks;
  order.ranks_total = spec.tasks;
  order.node_index = static_cast<std::uint32_t>(part_index);
  order.node_count = static_cast<std::uint32_t>(what.ranks.parts.size());
  order.cores_per_rank = spec.cores_per_task;
  const auto limit = event_->spec.time_limit_s;
  order.time_limit_s = spec.time_limit_s == 0 || (limit != 0 && limit < spec.time_limit_s)
                           ? limit
                           : spec.time_limit_s;
  order.grace_s = spec.grace_s;
  order.cpu_words = cpuset_words(node);
  order.cpusets = rank_cpusets(
      node, part, {part.ranks, spec.cores_per_task, spec.bind, spec.map_by}, order.cpu_words);
  order.spec_digest = what.exec_digest;
  if (shares_files(spec) && what.ranks.ordered_utc_ns != 0)
    order.first_start_ns = what.ranks.ordered_utc_ns;
  order.node_name = node.name;
  order.nodelist = nodelist_of(what.ranks.parts);
  order.job_name = spec.name;
  return auth::encode_order(order);
}

void job_state_machine::order_step(std::uint32_t number) {
  auto* step = find_step(number);
  if (step == nullptr)
    return;
  step->ranks.unsent = step->ranks.nodes_running;
  step->ranks.ordered_utc_ns = world_.clock.utc();
  for (auto node : step->ranks.unsent)
    unsent_steps_.push_back({number, node, 0});
  send_step_orders();
}

/// Has what is due signed, and sends it.
void job_state_machine::send_step_orders() {
  const auto now = world_.clock.boot();
  std::map<std::uint32_t, std::vector<std::uint32_t>> due;
  for (const auto& each : std::exchange(unsent_steps_, {})) {
    if (each.due > now)
      unsent_steps_.push_back(each);
    else
      due[each.step].push_back(each.node);
  }
  for (auto& [number, nodes] : due)
    sign_step(number, std::move(nodes));
}

void job_state_machine::sign_step(std::uint32_t number, std::vector<std::uint32_t> nodes) {
  auto* step = find_step(number);
  if (step == nullptr)
    return;
  const auto element = active_.find(step->element);
  if (step->ranks.cancelled || element == active_.end() || element->second.waits_for_steps ||
      element->second.incarnation != step->ranks.incarnation) {
    step->ranks.cancelled = true;
    drop_unsent(*step);
    return;
  }
  std::erase_if(nodes, [&](std::uint32_t node) { return !step->ranks.unsent.contains(node); });
  sign_orders drafts;
  auto orders = std::make_shared<std::vector<std::pair<std::uint32_t, sealed_order>>>();
  for (std::size_t i = 0; i < step->ranks.parts.size(); ++i) {
    const auto node = step->ranks.parts[i].node;
    if (step->ranks.parts[i].ranks == 0 ||
        std::find(nodes.begin(), nodes.end(), node) == nodes.end())
      continue;
    auto encoded = encode_step_order(*step, i);
    if (!encoded)
      return fail_step(number, encoded.error().text);
    drafts.orders.push_back({*encoded, step->ranks.asked});
    orders->emplace_back(node, sealed_order{{job_, step->ranks.incarnation, number},
                                            std::move(*encoded),
                                            {},
                                            step->exec_bytes});
  }
  if (orders->empty())
    return;
  ++asks_in_flight_;
  ask(self_, links_.authority, cap_, std::move(drafts))
      .then(
          [this, number, orders](orders_signed& answer) {
            --asks_in_flight_;
            if (answer.seals.size() != orders->size())
              return fail_step(number, "the authority signed another number of orders");
            for (std::size_t i = 0; i < orders->size(); ++i)
              (*orders)[i].second.seal = std::move(answer.seals[i]);
            send_step(number, *orders);
            follow_up();
          },
          [this, number, nodes](caf::error& why) {
            --asks_in_flight_;
            const auto text = from_caf(why).text;
            if (!passes(why))
              return fail_step(number, text);
            const auto due = hold_signing(text);
            for (auto node : nodes)
              unsent_steps_.push_back({number, node, due});
            follow_up();
          });
}

/// To those nodes that are still to have it: it may have been ended meanwhile.
void job_state_machine::send_step(std::uint32_t number,
                                  std::vector<std::pair<std::uint32_t, sealed_order>>& orders) {
  auto* step = find_step(number);
  if (step == nullptr)
    return;
  signing_wait_.reset();
  for (auto& [node, order] : orders) {
    if (step->ranks.unsent.erase(node) == 0)
      continue;
    step->ranks.ordered = true;
    auto& at = slots_on(node);
    route(node, at);
    launch_orders message;
    message.orders.push_back(std::move(order));
    at.node.tell(cap_, std::move(message));
  }
  if (!step->ranks.ordered)
    return;
  if (spec_of(step->ranks).mpi != mpi_mode::none)
    step->unregistered = tend(step->element, step->ranks);
  answer_parked_step(number);
}

/// What no launcher has of a step that is to end never starts.
void job_state_machine::drop_unsent(job_step& what) {
  if (what.ranks.unsent.empty())
    return;
  for (auto node : std::exchange(what.ranks.unsent, {}))
    what.ranks.nodes_running.erase(node);
  if (what.ranks.nodes_running.empty())
    ranks_gone(what, no_element);
}

/// It never left.
void job_state_machine::fail_step(std::uint32_t number, const std::string& why) {
  auto* step = find_step(number);
  if (step == nullptr)
    return;
  world_.log->error("job {}: its step {} was not started: {}", job_, number, why);
  if (!step->ranks.verdict)
    step->ranks.verdict = exit_report{job_state::failed, 0, 0, "not started: " + why};
  end_step_ranks(*step);
  drop_unsent(*step);
  follow_up();
}

} // namespace troupe::actors
