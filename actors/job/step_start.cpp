// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"
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

constexpr std::int64_t order_life_ns = 30 * ns_per_s;

bool named(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

} // namespace

step_wish job_state_machine::wish_of(const job_spec& spec, const active_element& element) const {
  step_wish wish{spec.tasks, spec.cores_per_task, spec.nodes, {}, spec.map_by};
  for (const auto& part : element.parts) {
    const auto& node = nodes_.at(part.node).entry->offers->name;
    if (named(spec.nodes_excluded, node) ||
        (!spec.nodes_required.empty() && !named(spec.nodes_required, node)))
      wish.excluded.insert(part.node);
  }
  return wish;
}

/// What the element's other steps have.
taken_cores job_state_machine::cores_taken(std::uint32_t element) const {
  const auto& parts = active_.at(element).parts;
  taken_cores taken(parts.size());
  for (const auto& [number, step] : steps_) {
    if (step.element != element || step.asked->spec.overlap ||
        step.ranks.parts.size() != parts.size())
      continue;
    for (std::size_t i = 0; i < parts.size(); ++i)
      taken[i].insert(step.ranks.parts[i].cores.begin(), step.ranks.parts[i].cores.end());
  }
  return taken;
}

void job_state_machine::refuse(waiting_step& waiting, const error& why) {
  if (waiting.spawned.spawn_request == 0) {
    waiting.promise.deliver(auth::to_caf(why));
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
    begin(std::move(waiting), std::move(*parts));
  }
  std::move(left.begin(), left.end(), std::back_inserter(waiting_steps_));
}

/// It has its cores from now on.
void job_state_machine::begin(waiting_step waiting, std::vector<placement_part> parts) {
  const auto number = next_step_++;
  auto& step = steps_[number];
  step.element = waiting.element;
  step.request = waiting.request;
  step.spawned = waiting.spawned;
  step.ranks.step = number;
  step.ranks.incarnation = active_.at(waiting.element).incarnation;
  step.ranks.parts = std::move(parts);
  for (const auto& part : step.ranks.parts)
    if (part.ranks > 0)
      step.ranks.nodes_running.insert(part.node);
  // Until its warrant has come it stands for what was asked for.
  auto asked = std::make_shared<submitted_event>();
  asked->spec = *waiting.what.spec;
  step.asked = std::move(asked);
  auto shared = std::make_shared<waiting_step>(std::move(waiting));
  warrant_step message{event_, number, step.ranks.incarnation, shared->what};
  ++writes_in_flight_;
  ask(self_, links_.authority, shared->cap, std::move(message))
      .then(
          [this, number, shared](step_warranted& made) {
            --writes_in_flight_;
            auto& warranted = steps_.at(number);
            warranted.asked = std::move(made.event);
            if (auto encoded = auth::encode_exec_spec(to_exec_spec(warranted.asked->spec))) {
              warranted.exec_bytes = std::move(*encoded);
              warranted.exec_digest = auth::exec_spec_digest(warranted.exec_bytes);
            }
            write_step(number, std::move(*shared));
          },
          [this, number, shared](caf::error& why) {
            --writes_in_flight_;
            const auto element = shared->element;
            refuse(*shared, from_caf(why));
            steps_.erase(number);
            go_on_without_steps(element);
          });
}

/// Its start goes to the disk before anybody hears of it.
void job_state_machine::write_step(std::uint32_t number, waiting_step waiting) {
  auto& step = steps_.at(number);
  auto event = step.spawned;
  event.step = number;
  event.asked = *step.asked;
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
  ++writes_in_flight_;
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, number, shared](entries_kept&) {
            --writes_in_flight_;
            steps_.at(number).durable = true;
            if (shared->spawned.spawn_request == 0)
              shared->promise.deliver(step_begun{number});
            order_step(number);
          },
          [this, number, shared](caf::error& why) {
            --writes_in_flight_;
            const auto element = shared->element;
            refuse(*shared, from_caf(why));
            steps_.erase(number);
            go_on_without_steps(element);
          });
}

expected<bytes> job_state_machine::encode_step_order(const job_step& what,
                                                     std::size_t part_index) const {
  const auto& spec = what.asked->spec;
  const auto& part = what.ranks.parts[part_index];
  const auto& at = nodes_.at(part.node);
  const auto& node = *at.entry->offers;
  auto order = identity_order();
  order.bind_mode = static_cast<std::uint8_t>(spec.bind);
  order.node_id = part.node;
  order.instance = at.entry->instance;
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
  order.node_name = node.name;
  std::vector<std::shared_ptr<node_entry const>> entries;
  for (const auto& each : what.ranks.parts)
    if (each.ranks > 0)
      entries.push_back(nodes_.at(each.node).entry);
  order.nodelist = nodelist_of(entries);
  order.job_name = spec.name;
  return auth::encode_order(order);
}

void job_state_machine::order_step(std::uint32_t number) {
  auto& step = steps_.at(number);
  const auto element = active_.find(step.element);
  if (step.ranks.cancelled || element == active_.end() || element->second.waits_for_steps ||
      element->second.incarnation != step.ranks.incarnation) {
    step.ranks.cancelled = true;
    step.ranks.nodes_running.clear();
    ranks_gone(step, no_element);
    publish();
    return;
  }
  sign_orders drafts;
  std::vector<std::uint32_t> nodes;
  std::vector<sealed_order> orders;
  for (std::size_t i = 0; i < step.ranks.parts.size(); ++i) {
    if (step.ranks.parts[i].ranks == 0)
      continue;
    auto encoded = encode_step_order(step, i);
    if (!encoded) {
      fail_step(number, encoded.error().text);
      return;
    }
    drafts.orders.push_back({*encoded, step.asked});
    nodes.push_back(step.ranks.parts[i].node);
    orders.push_back(
        {{job_, step.ranks.incarnation, number}, std::move(*encoded), {}, step.exec_bytes});
  }
  ++writes_in_flight_;
  ask(self_, links_.authority, cap_, std::move(drafts))
      .then(
          [this, number, nodes, orders](orders_signed& seals) mutable {
            --writes_in_flight_;
            auto& signed_step = steps_.at(number);
            for (std::size_t i = 0; i < orders.size(); ++i) {
              orders[i].seal = std::move(seals.seals.at(i));
              auto& at = slots_on(nodes[i]);
              route(nodes[i], at);
              launch_orders message;
              message.orders.push_back(std::move(orders[i]));
              tell(at.entry->actor, cap_, std::move(message));
            }
            signed_step.ranks.ordered = true;
            if (spec_of(signed_step.ranks).mpi != mpi_mode::none)
              signed_step.unregistered = tend(signed_step.element, signed_step.ranks);
            answer_parked_step(number);
            if (signed_step.ranks.cancelled)
              end_step_ranks(signed_step);
            publish();
          },
          [this, number](caf::error& why) {
            --writes_in_flight_;
            fail_step(number, from_caf(why).text);
          });
}

/// It never left.
void job_state_machine::fail_step(std::uint32_t number, const std::string& why) {
  auto& step = steps_.at(number);
  world_.log->error("job {}: its step {} was not started: {}", job_, number, why);
  step.ranks.verdict = exit_report{job_state::failed, 0, 0, "not started: " + why};
  step.ranks.nodes_running.clear();
  ranks_gone(step, no_element);
  publish();
}

} // namespace troupe::actors
