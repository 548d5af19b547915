// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: the beginning: what was recovered, told to everybody.
// Input:   nodes, also those that the cluster had before and jobs still run on; the jobs as the
//          ledger tells them.
// Action:  nodes first, then reservations, then jobs; those of which something was placed get their
//          actors. A job whose story cannot be told is set aside.
// Caveats: nothing here is a reason for the cluster not to begin.

namespace troupe::actors {

void scheduler_state::begin(scheduler_start start) {
  for (const auto& remark : start.remarks)
    world_.log->error("recovery: {}", remark);
  begin_policy(start);
  begin_nodes(start);
  begin_reservations(start);
  std::vector<std::shared_ptr<node_entry const>> entries;
  for (const auto& [id, node] : nodes_)
    entries.push_back(node.entry);
  std::vector<plan_event> events;
  for (auto& job : start.jobs)
    begin_job(job, entries, events);
  plan(std::move(events));
  // A tick lets each recovered job tell what it holds, and write an end that was cut off.
  for (const auto& [id, job] : jobs_)
    if (job.actor)
      caf::anon_send(job.actor, request<tick>{world_.timer_cap, tick{}});
  for (const auto& [id, node] : nodes_)
    tell(node.entry->actor, cap_, finish_recovery{});
}

void scheduler_state::begin_nodes(const scheduler_start& start) {
  std::vector<plan_event> events;
  const auto add = [&](const node_entry& each, bool leaving) {
    auto& node = nodes_[each.offers->node];
    node.entry = std::make_shared<node_entry>(each);
    node.leaving = leaving;
    plan_event event;
    event.what = plan_event::kind::node_added;
    event.node = each.offers;
    event.state = leaving ? node_state::leaving : node_state::down;
    events.push_back(std::move(event));
  };
  for (const auto& each : to_.nodes) {
    add(each, false);
    if (auto at = start.nodes.find(each.offers->name); at != start.nodes.end())
      nodes_[each.offers->node].drained = at->second;
    if (auto known = names_.add(*each.offers); !known)
      world_.log->error("{}", known.error().text);
    if (auto added = shapes_.add_node(node_config_of(*each.offers, node_state::up, names_)); !added)
      world_.log->error("{}", added.error().text);
  }
  for (const auto& each : to_.leaving) {
    add(each, true);
    world_.log->warn("{} is not in the cluster any more; it goes with what runs there",
                     each.offers->name);
  }
  plan(std::move(events));
}

void scheduler_state::begin_reservations(const scheduler_start& start) {
  for (const auto& [name_of_it, row] : start.reservations) {
    if (row.end_utc_ns <= world_.clock.utc())
      continue;
    for (const auto& node : row.nodes)
      if (!names_.nodes.contains(node))
        world_.log->warn("reservation '{}' is of {}, which is not in the cluster; it is of the "
                         "others",
                         name_of_it, node);
    take_reservation(row);
  }
}

void scheduler_state::begin_job(recovered_job& job,
                                const std::vector<std::shared_ptr<node_entry const>>& nodes,
                                std::vector<plan_event>& events) {
  const auto id = job.birth.job;
  if (!job.aside.empty())
    return set_aside(job, nodes);
  job_record entry;
  auto row = job.birth.row;
  row.queue = queue_of(*job.spec);
  entry.uid = job.uid;
  entry.holds = static_cast<std::uint8_t>((row.held ? by_person : 0) |
                                          (job.open_dependencies.empty() ? 0 : by_dependency));
  if (job.live) {
    job.birth.nodes = nodes;
    const auto placed = job.birth.placed;
    auto actor = spawn_job(std::move(job.birth));
    if (actor) {
      entry.actor = std::move(*actor);
    } else if (placed.empty()) {
      job.unmet = fmt::format("not started: {}", actor.error().text);
    } else {
      job.aside = fmt::format("its warrant cannot be read: {}", actor.error().text);
      job.birth = job_birth{};
      job.birth.job = id;
      job.birth.row = std::move(row);
      job.birth.placed = placed;
      return set_aside(job, nodes);
    }
  }
  events.push_back(submission_of(id, job.spec, row.elements_pending, row));
  // The planner has it from the spec; it may have been held or released since.
  if ((entry.holds != 0) != job.spec->held) {
    plan_event held;
    held.what = entry.holds != 0 ? plan_event::kind::held : plan_event::kind::released;
    held.job = id;
    events.push_back(std::move(held));
  }
  entry.row = rows_.keep(std::move(row));
  if (job.attached)
    attended_[id].unattended_since = world_.clock.boot();
  if (entry.actor)
    for (const auto& node : nodes)
      tell(node->actor, cap_, route_job{id, entry.actor});
  wait_for(insert(id, std::move(entry)), std::move(job.open_dependencies));
  if (!job.unmet.empty())
    doomed_.emplace_back(id, std::move(job.unmet));
}

/// In the queue by its number and its reason; the planner does not know it, and nothing of it is
/// started. What its launchers run of it has somebody it belongs to.
void scheduler_state::set_aside(recovered_job& job,
                                const std::vector<std::shared_ptr<node_entry const>>& nodes) {
  const auto id = job.birth.job;
  world_.log->error("job {} is set aside: {}; 'troupe cancel {}' ends what runs of it", id,
                    job.aside, id);
  aside_birth birth;
  birth.job = id;
  birth.uid = job.uid;
  birth.row = std::move(job.birth.row);
  birth.row.job = id;
  birth.row.elements_pending = 0;
  birth.row.reason = fmt::format("set aside: {}", job.aside);
  if (birth.row.queue.empty())
    birth.row.queue = config_->default_queue;
  if (job.spec)
    birth.spec = *job.spec;
  birth.ending = std::move(job.ending);
  birth.placed = std::move(job.birth.placed);
  birth.nodes = nodes;
  job_record entry;
  entry.uid = job.uid;
  entry.aside = true;
  entry.row = rows_.keep(birth.row);
  entry.actor = self_->template spawn<shell<aside_job>>(
      std::ref(world_), self_->id(), cap_,
      job_links{to_.ledger, to_.authority, scheduler_actor{self_}}, std::move(birth));
  for (const auto& node : nodes)
    tell(node->actor, cap_, route_job{id, entry.actor});
  insert(id, std::move(entry));
}

} // namespace troupe::actors
