// SPDX-License-Identifier: Apache-2.0
#include "actors/node.hpp"

#include <fmt/format.h>
#include <memory>

namespace troupe::actors {

node_state_actor::node_state_actor(self_pointer self, world& around, verified_capability cap,
                                   std::shared_ptr<node_inventory const> offers)
    : self_{self}, world_{around}, cap_{std::move(cap)}, offers_{std::move(offers)} {}

node_actor::behavior_type node_state_actor::make_behavior(auth::guard_observer& guard) {
  auto forward = [this](auto& what) { tell(agent_, what.cap, std::move(what.msg)); };
  return secure_behavior<node_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<launch_orders>([this, forward](request<launch_orders>& what) {
        orders_ += what.msg.orders.size();
        forward(what);
      }),
      on<signal_group>([forward](request<signal_group>& what) { forward(what); }),
      on<end_group>([forward](request<end_group>& what) { forward(what); }),
      on<revoke_group>([forward](request<revoke_group>& what) { forward(what); }),
      on<acknowledge_records>([forward](request<acknowledge_records>& what) { forward(what); }),
      on<forget_group>([this, forward](request<forget_group>& what) {
        if (what.msg.group.step == 0)
          routes_.erase(what.msg.group.job);
        forward(what);
      }),
      on<read_output>(
          [this](request<read_output>& what) { return self_->delegate(agent_, std::move(what)); }),
      on<write_input>(
          [this](request<write_input>& what) { return self_->delegate(agent_, std::move(what)); }),
      on<tell_shepherd>([forward](request<tell_shepherd>& what) { forward(what); }),
      on<hear_shepherd>([this](request<hear_shepherd>& what) {
        if (auto at = routes_.find(what.msg.group.job); at != routes_.end())
          tell(at->second, what.cap, std::move(what.msg));
      }),
      on<route_job>([this](request<route_job>& what) { routes_[what.msg.job] = what.msg.to; }),
      on<finish_recovery>([this](request<finish_recovery>&) {
        recovered_ = true;
        compare();
      }),
      on<join_node>([this](request<join_node>& what) {
        agent_ = what.msg.agent;
        scheduler_ = what.msg.scheduler;
        compare();
      }),
      on<report_records>([this](request<report_records>& what) { take_records(what.msg); }),
      on<report_inventory>([this](request<report_inventory>& what) { take_inventory(what.msg); }));
}

void node_state_actor::take_inventory(report_inventory& what) {
  connected_ = what.connected;
  early_.clear(); // the inventory has them
  if (!connected_) {
    inventory_.reset();
    tell(scheduler_, cap_, std::move(what));
    return;
  }
  inventory_ = std::move(what);
  compare();
}

/// Every job with a route hears what the launcher has of it; what belongs to nobody is ended. The
/// scheduler hears when all have answered: by then it has been told what they hold.
void node_state_actor::compare() {
  if (!recovered_ || !inventory_ || !scheduler_)
    return;
  auto inventory = std::move(*inventory_);
  inventory_.reset();
  inventory.comparison = ++comparisons_;
  std::map<job_id, reconcile_job> per_job;
  for (const auto& [job, to] : routes_)
    per_job[job] = {inventory.node,     inventory.instance, inventory.comparison, {}, {},
                    inventory.uncertain};
  acknowledge_records known;
  known.instance = instance_ = inventory.instance;
  for (auto& group : inventory.groups) {
    if (auto at = per_job.find(group.group.job); at != per_job.end()) {
      at->second.groups.push_back(std::move(group));
      continue;
    }
    world_.log->warn("node {}: job {} runs here but is not known; it is ended", offers_->name,
                     group.group.job);
    tell(agent_, cap_, end_group{group.group, 0, no_element, 10});
  }
  for (auto& record : inventory.unacknowledged) {
    if (auto at = per_job.find(record.group.job); at != per_job.end())
      at->second.unacknowledged.push_back(std::move(record));
    else
      known.sequences.push_back(record.sequence);
  }
  if (!known.sequences.empty())
    tell(agent_, cap_, std::move(known));
  struct gathering {
    report_inventory inventory;
    std::size_t missing = 0;
  };
  inventory.groups.clear();
  inventory.unacknowledged.clear();
  auto all = std::make_shared<gathering>(gathering{std::move(inventory), per_job.size() + 1});
  auto one_more = [this, all] {
    if (--all->missing == 0 && all->inventory.comparison == comparisons_ && connected_)
      tell(scheduler_, cap_, std::move(all->inventory));
  };
  // A job that has gone meanwhile holds nothing.
  for (auto& [job, message] : per_job)
    ask(self_, routes_.at(job), cap_, std::move(message))
        .then([one_more](job_agreed&) { one_more(); },
              [one_more](const caf::error&) { one_more(); });
  one_more();
  for (auto& records : std::exchange(early_, {}))
    take_records(records);
}

void node_state_actor::take_records(report_records& what) {
  if (inventory_) { // what it tells is older: first things first
    early_.push_back(std::move(what));
    return;
  }
  records_ += what.records.size();
  std::map<job_id, report_records> per_job;
  acknowledge_records known;
  known.instance = instance_;
  for (auto& record : what.records) {
    const auto job = record.group.job;
    if (!routes_.contains(job)) {
      known.sequences.push_back(record.sequence);
      continue;
    }
    auto& message = per_job[job];
    message.node = what.node;
    message.records.push_back(std::move(record));
  }
  for (auto& [job, message] : per_job)
    tell(routes_.at(job), cap_, std::move(message));
  if (!known.sequences.empty())
    tell(agent_, cap_, std::move(known));
}

status_report node_state_actor::status() const {
  status_report report;
  report.actor = display_name();
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("launcher connected", connected_);
  add("cores", offers_->cores.size());
  add("jobs routed", routes_.size());
  add("orders passed on", orders_);
  add("records passed back", records_);
  return report;
}

} // namespace troupe::actors
