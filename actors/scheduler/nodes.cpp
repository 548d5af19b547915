// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"
#include "messages/cbor.hpp"

#include <fmt/format.h>

// Purpose: the nodes' states, and the beginning: what was recovered, told to everybody.
// Caveats: a node is `down` for the planner until its launcher has been compared with what is
//          recorded; administrators' drains outlive restarts.

namespace troupe::actors {

void scheduler_state::begin(scheduler_start start) {
  begin_policy(start);
  std::vector<plan_event> events;
  for (auto& each : to_.nodes) {
    const auto id = each.offers->node;
    auto& node = nodes_[id];
    node.entry = std::make_shared<node_entry>(each);
    if (auto at = start.nodes.find(each.offers->name); at != start.nodes.end())
      node.drained = at->second;
    if (auto known = names_.add(*each.offers); !known)
      world_.log->error("{}", known.error().text);
    (void)shapes_.add_node(node_config_of(*each.offers, node_state::up, names_));
    plan_event event;
    event.what = plan_event::kind::node_added;
    event.node = each.offers;
    event.state = node_state::down;
    events.push_back(std::move(event));
  }
  plan(std::exchange(events, {}));
  for (const auto& [name_of_it, row] : start.reservations)
    if (row.end_utc_ns > world_.clock.utc())
      take_reservation(row);
  std::vector<std::shared_ptr<node_entry const>> entries;
  for (const auto& [id, node] : nodes_)
    entries.push_back(node.entry);
  std::vector<job_actor> live;
  for (auto& job : start.jobs) {
    const auto id = job.birth.job;
    job_record entry;
    auto row = job.birth.row;
    row.queue = queue_of(*job.spec);
    entry.holds = static_cast<std::uint8_t>((row.held ? by_person : 0) |
                                            (job.open_dependencies.empty() ? 0 : by_dependency));
    events.push_back(submission_of(id, job.spec, job.birth.row.elements_pending, row));
    entry.row = rows_.keep(std::move(row));
    // The planner has it from the spec; it may have been held or released since.
    if ((entry.holds != 0) != job.spec->held) {
      plan_event held;
      held.what = entry.holds != 0 ? plan_event::kind::held : plan_event::kind::released;
      held.job = id;
      events.push_back(std::move(held));
    }
    entry.uid = job.uid;
    if (job.attached)
      attended_[id].unattended_since = world_.clock.boot();
    if (job.live) {
      job.birth.nodes = entries;
      if (auto actor = spawn_job(std::move(job.birth)))
        entry.actor = std::move(*actor);
      else
        world_.log->error("job {}: {}", id, actor.error().text);
    }
    if (entry.actor) {
      live.push_back(entry.actor);
      for (const auto& [number, node] : nodes_)
        tell(node.entry->actor, cap_, route_job{id, entry.actor});
    }
    wait_for(insert(id, std::move(entry)), std::move(job.open_dependencies));
    if (!job.unmet.empty())
      doomed_.emplace_back(id, std::move(job.unmet));
  }
  plan(std::move(events));
  // A tick lets each recovered job tell what it holds, and write an end that was cut off.
  for (const auto& job : live)
    caf::anon_send(job, request<tick>{world_.timer_cap, tick{}});
  for (const auto& [id, node] : nodes_)
    tell(node.entry->actor, cap_, finish_recovery{});
}

void scheduler_state::plan_node(std::uint32_t id) {
  plan_event event;
  event.what = plan_event::kind::node_changed;
  event.node_id = id;
  event.state = nodes_.at(id).state();
  plan({std::move(event)});
}

/// A node's launcher came or went. Its jobs hear of it from the node itself.
void scheduler_state::take_inventory(report_inventory& what) {
  auto at = nodes_.find(what.node);
  if (at == nodes_.end())
    return;
  auto& node = at->second;
  node.connected = what.connected;
  if (what.connected) {
    auto entry = std::make_shared<node_entry>(*node.entry);
    entry->instance = what.instance;
    entry->comparison = what.comparison;
    node.entry = std::move(entry);
  }
  plan_node(what.node);
}

caf::result<node_rows> scheduler_state::list(request<list_nodes>&) {
  auto promise = self_->make_response_promise<node_rows>();
  ask(self_, to_.planner, cap_, list_nodes{})
      .then(
          [this, promise](node_rows& rows) mutable {
            for (auto& row : rows.nodes) {
              const auto& node = nodes_.at(names_.nodes.at(row.name));
              row.state = node.state();
              row.oversubscribed = node.entry->offers->oversubscribed;
              row.features = node.entry->offers->features;
              row.gpus = static_cast<std::uint32_t>(node.entry->offers->gpus.size());
              if (node.drained)
                row.reason = node.drained->reason;
              if (!node.connected)
                row.reason = "its launcher is not connected";
              if (row.state == node_state::draining && row.elements_running == 0)
                row.state = node_state::drained;
            }
            promise.deliver(std::move(rows));
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

caf::result<node_rows> scheduler_state::set(request<set_nodes>& what) {
  append_entries entries;
  if (what.msg.nodes.empty())
    return auth::to_caf(error{errc::invalid, "no node is named; 'troupe nodes' lists them"});
  for (const auto& name_of_node : what.msg.nodes) {
    if (!names_.nodes.contains(name_of_node))
      return auth::to_caf(
          error{errc::not_found, fmt::format("there is no node '{}'; 'troupe nodes' "
                                             "lists them",
                                             name_of_node)});
    if (!what.cap.covers(auth::resource_kind::nodes, names_.nodes.at(name_of_node)))
      return auth::to_caf(
          auth::refuse(auth::reason::outside_resource,
                       fmt::format("the capability does not reach node '{}'", name_of_node))
              .value());
    ledger_entry entry;
    entry.what = ledger_entry::kind::node_changed;
    entry.encoded =
        to_cbor(node_event{name_of_node, what.msg.state, what.msg.reason, what.cap.who().uid});
    entries.entries.push_back(std::move(entry));
  }
  auto promise = self_->make_response_promise<node_rows>();
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, promise, asked = what.msg, cap = what.cap](entries_kept&) mutable {
            for (const auto& name_of_node : asked.nodes) {
              const auto id = names_.nodes.at(name_of_node);
              auto& node = nodes_.at(id);
              node.drained.reset();
              if (asked.state != node_state::up)
                node.drained = node_event{name_of_node, asked.state, asked.reason, cap.who().uid};
              plan_node(id);
            }
            promise.delegate(scheduler_actor{self_}, request<list_nodes>{cap, {}});
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

} // namespace troupe::actors
