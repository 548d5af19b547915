// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/queue.hpp"

#include <iterator>

namespace troupe::plan {

namespace {

/// Sorted, unique indexes; false if an id is unknown.
bool indexes_of(const std::vector<node_id>& ids, const node_pool& pool,
                std::vector<std::uint32_t>& out) {
  bool all_known = true;
  for (auto id : ids) {
    if (const auto* index = pool.index_of(id))
      out.push_back(*index);
    else
      all_known = false;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return all_known;
}

} // namespace

unit_need resolve(const job_shape& shape, const node_pool& pool) {
  unit_need need;
  need.nodes = shape.nodes;
  need.tasks = shape.tasks;
  need.cores_per_task = shape.cores_per_task;
  need.gpus_per_task = shape.gpus_per_task;
  need.memory_bytes = shape.memory_bytes;
  need.features = shape.features;
  need.exclusive = shape.exclusive;
  need.unknown_node = !indexes_of(shape.required_nodes, pool, need.required);
  indexes_of(shape.excluded_nodes, pool, need.excluded);
  if (shape.nodes > 0) {
    need.least = shape.tasks / shape.nodes;
    need.plus_one = shape.tasks % shape.nodes;
  }
  return need;
}

std::uint64_t job_record::unit_cores() const {
  return group->shape->need.cores();
}

bool job_queue::placeable(const shape_entry& entry) const {
  if (entry.shape->reservation == 0)
    return chooser().fits(entry.need, idle_rooms{pool_, true});
  const auto* inside = advance_.find(entry.shape->reservation);
  return inside != nullptr && chooser().fits(entry.need, idle_inside{pool_, *inside});
}

void job_queue::resolve_again(shape_entry& entry) {
  entry.need = resolve(*entry.shape, pool_);
  entry.placeable = placeable(entry);
  shape_row row{entry.need, entry.placeable, entry.shape->reservation != 0, {}, 0, 0};
  if (const auto* inside = advance_.find(entry.shape->reservation)) {
    row.nodes = inside->nodes;
    row.from = inside->asked.from;
    row.to = inside->asked.until;
  }
  table_.change(entry.row) = std::move(row);
}

job_class* job_queue::join_class(const job_shape& shape, const class_key& kind) {
  auto [it, fresh] = shapes_.try_emplace(shape);
  auto& entry = it->second;
  if (fresh) {
    entry.shape = &it->first;
    entry.row = rows_.take();
    resolve_again(entry);
  }
  auto& group = entry.classes[kind];
  group.shape = &entry;
  group.kind = kind;
  group.counts_for = counts_.group_of(kind.queue, kind.user);
  ++group.jobs;
  return &group;
}

void job_queue::leave_class(job_class* group) {
  if (--group->jobs > 0)
    return;
  auto* shape = group->shape;
  shape->classes.erase(class_key(group->kind));
  if (!shape->classes.empty())
    return;
  rows_.give(shape->row);
  shapes_.erase(shapes_.find(*shape->shape));
}

class_head job_queue::head_of(job_class& group) {
  auto least = least_need::of(group.shape->need);
  least.inside = group.shape->shape->reservation != 0;
  const auto& first = *group.waiting.begin();
  return {first.key, &group, group.shape, group.limit(), least, first.job->view};
}

void job_queue::list(job_class& group) {
  bool wanted = group.shape->placeable && !group.waiting.empty();
  if (group.listed && wanted && group.head == group.waiting.begin()->key)
    return;
  if (group.listed)
    heads_.erase(heads_.find(class_head{group.head}));
  if (wanted)
    heads_.insert(head_of(group));
  group.listed = wanted;
  if (wanted)
    group.head = group.waiting.begin()->key;
}

void job_queue::place(job_record& job, instant now) {
  auto wanted = standing::waiting;
  if (job.held || job.pending == 0)
    wanted = standing::none;
  else if (job.begin_time > now)
    wanted = standing::before_begin;
  else if (job.at_limit())
    wanted = standing::at_array_limit;
  if (wanted == job.stands)
    return;
  withdraw(job);
  job.stands = wanted;
  switch (wanted) {
  case standing::none: break;
  case standing::waiting:
    job.group->waiting.insert({job.key, &job});
    list(*job.group);
    break;
  case standing::at_array_limit: at_array_limit_.insert({job.key, &job}); break;
  case standing::before_begin: before_begin_.insert({job.begin_time, {job.key, &job}}); break;
  }
}

void job_queue::withdraw(job_record& job) {
  switch (job.stands) {
  case standing::none: break;
  case standing::waiting: {
    auto& waiting = job.group->waiting;
    if (waiting.begin()->job == &job)
      waiting.erase(waiting.begin());
    else
      waiting.erase({job.key, nullptr});
    list(*job.group);
    break;
  }
  case standing::at_array_limit: at_array_limit_.erase({job.key, nullptr}); break;
  case standing::before_begin: before_begin_.erase({job.begin_time, {job.key, nullptr}}); break;
  }
  job.stands = standing::none;
}

bool job_queue::begin_due(instant now) {
  bool any = false;
  while (!before_begin_.empty() && before_begin_.begin()->first <= now) {
    place(*before_begin_.begin()->second.job, now);
    any = true;
  }
  return any;
}

std::optional<instant> job_queue::next_begin() const {
  if (before_begin_.empty())
    return std::nullopt;
  return before_begin_.begin()->first;
}

void job_queue::nodes_changed() {
  for (auto& [shape, entry] : shapes_) {
    resolve_again(entry);
    for (auto& [kind, group] : entry.classes)
      list(group);
  }
}

} // namespace troupe::plan
