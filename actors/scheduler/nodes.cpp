// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: the nodes' states.
// Caveats: a node is `down` for the planner until its launcher has been compared with what is
//          recorded; administrators' drains outlive restarts. One that leaves is no node that
//          somebody could name, and is listed while something runs there.

namespace troupe::actors {

const scheduler_state::node_record*
scheduler_state::find_node(const std::string& name_of_node) const {
  const auto at = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& each) {
    return each.second.entry->offers->name == name_of_node;
  });
  return at == nodes_.end() ? nullptr : &at->second;
}

scheduler_state::node_record* scheduler_state::node_named(const std::string& name_of_node) {
  const auto number = names_.nodes.find(name_of_node);
  const auto at = number == names_.nodes.end() ? nodes_.end() : nodes_.find(number->second);
  return at == nodes_.end() ? nullptr : &at->second;
}

void scheduler_state::plan_node(std::uint32_t id) {
  const auto at = nodes_.find(id);
  if (at == nodes_.end())
    return;
  plan_event event;
  event.what = plan_event::kind::node_changed;
  event.node_id = id;
  event.state = at->second.state();
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
            std::erase_if(rows.nodes, [this](const node_row& row) {
              const auto* node = find_node(row.name);
              // What runs there is known once its launcher has been compared with its jobs.
              return node == nullptr ||
                     (node->leaving && row.elements_running == 0 && node->entry->comparison != 0);
            });
            for (auto& row : rows.nodes) {
              const auto* there = find_node(row.name);
              if (!there)
                continue;
              const auto& node = *there;
              row.state = node.state();
              row.oversubscribed = node.entry->offers->oversubscribed;
              row.features = node.entry->offers->features;
              row.gpus = static_cast<std::uint32_t>(node.entry->offers->gpus.size());
              if (node.drained)
                row.reason = node.drained->reason;
              if (node.leaving)
                row.reason = "the cluster does not have it any more; it goes with what runs there";
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
  const std::set<std::string> named{what.msg.nodes.begin(), what.msg.nodes.end()};
  for (const auto& name_of_node : named) {
    if (!node_named(name_of_node))
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
          [this, promise, named, asked = what.msg, cap = what.cap](entries_kept&) mutable {
            for (const auto& name_of_node : named) {
              auto* node = node_named(name_of_node);
              if (!node)
                continue;
              node->drained.reset();
              if (asked.state != node_state::up)
                node->drained = node_event{name_of_node, asked.state, asked.reason, cap.who().uid};
              plan_node(node->entry->offers->node);
            }
            promise.delegate(scheduler_actor{self_}, request<list_nodes>{cap, {}});
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

} // namespace troupe::actors
