// SPDX-License-Identifier: Apache-2.0
#include "actors/recovery.hpp"

#include "actors/job_story.hpp"
#include "actors/ledger_codec.hpp"
#include "actors/scheduler/depend.hpp"
#include "actors/users.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace troupe::actors {

namespace {

/// Compares each dependency with what has become of the other job.
expected<void> settle_dependencies(ledger::store& store, recovered_job& job) {
  for (const auto& each : job.spec->dependencies) {
    auto table = store.row_of(each.job);
    if (!table && table.error().code != errc::not_found)
      return tl::unexpected<error>{table.error()};
    job_row row;
    if (table)
      apply_table_row(row, *table);
    if (table && is_met(each, row))
      continue;
    if (job.unmet.empty())
      job.unmet = table ? unmet(each, row) : fmt::format("there is no job {}", each.job);
    job.open_dependencies.push_back(each);
  }
  return {};
}

/// Of a job that is set aside the ledger's table tells what its events do not.
void describe_aside(ledger::store& store, recovered_job& job) {
  const auto table = store.row_of(job.birth.job);
  if (!table)
    return;
  apply_table_row(job.birth.row, *table);
  job.uid = table->uid;
  if (job.birth.row.user.empty())
    job.birth.row.user = user_name_of(table->uid);
}

/// Of an event that is of no job and cannot be read: what it changed is as it was before.
void remark(scheduler_start& to, const ledger::stored_event& stored, const error& why) {
  to.remarks.push_back(fmt::format("event {} of the ledger, '{}', cannot be read and is passed "
                                   "over: {}",
                                   stored.seq, ledger::to_string(stored.kind), why.text));
}

void take_reservation(scheduler_start& to, const ledger::stored_event& stored) {
  auto event = from_cbor<reservation_event>(stored.payload);
  if (!event)
    return remark(to, stored, event.error());
  if (event->dropped)
    to.reservations.erase(event->what.name);
  else
    to.reservations[event->what.name] = event->what;
}

} // namespace

expected<scheduler_start> recover_jobs(ledger::store& store) {
  scheduler_start result;
  std::optional<job_story> current;
  job_id current_id = 0;
  auto done = store.load_unfinished([&](const ledger::stored_event& stored) {
    if (stored.job != current_id && current) {
      result.jobs.push_back(current->finish());
      current.reset();
    }
    if (!current) {
      current.emplace(stored.job);
      current_id = stored.job;
    }
    current->take(stored);
  });
  if (current)
    result.jobs.push_back(current->finish());
  if (!done)
    return tl::unexpected<error>{done.error()};
  for (auto& job : result.jobs) {
    if (!job.aside.empty())
      describe_aside(store, job);
    else if (auto settled = settle_dependencies(store, job); !settled)
      return tl::unexpected<error>{settled.error()};
  }
  done = store.events_of(0, [&](const ledger::stored_event& stored) {
    if (stored.kind == ledger::event_kind::reservation)
      take_reservation(result, stored);
    if (stored.kind != ledger::event_kind::node)
      return;
    auto event = from_cbor<node_event>(stored.payload);
    if (!event)
      return remark(result, stored, event.error());
    if (event->state == node_state::up)
      result.nodes.erase(event->node);
    else
      result.nodes[event->node] = *event;
  });
  if (!done)
    return tl::unexpected<error>{done.error()};
  return result;
}

} // namespace troupe::actors
