// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include "messages/cbor.hpp"

#include <fmt/format.h>

// What the ledger of an actor_world tells, and what must never be told before it.

namespace troupe::test {

std::vector<job_id> actor_world::all_jobs() {
  std::vector<job_id> all;
  for (job_id job = 1; job <= store().highest_job(); ++job)
    if (store().row_of(job))
      all.push_back(job);
  return all;
}

bool actor_world::queue_is_empty() {
  auto rows = ask(user, list_queue{});
  settle();
  return *rows && **rows && (*rows)->value().rows.empty();
}

job_spec actor_world::spec_of(job_id job) {
  auto payload = store().submitted_payload(job);
  auto submitted = from_cbor<submitted_event>(payload ? *payload : bytes{});
  if (!submitted)
    FAIL("the submission of job " << job << " cannot be read");
  return submitted->spec;
}

std::map<std::uint32_t, element_story> actor_world::story_of(job_id job) {
  std::map<std::uint32_t, element_story> all;
  if (const auto& array = spec_of(job).array)
    for (const auto& range : array->ranges)
      for (auto i = range.first; i <= range.last; ++i)
        all[static_cast<std::uint32_t>(i)];
  else
    all[no_element];
  auto end = [&](std::uint32_t element, exit_report exit) {
    ++all[element].ends;
    all[element].exit = std::move(exit);
  };
  std::vector<cancelled_event> cancels;
  auto cancelled = [&](const cancelled_event& what) {
    cancels.push_back(what);
    const exit_report exit{job_state::cancelled, 0, 0, what.reason};
    for (const auto& range : what.elements)
      for (auto i = range.first; i <= range.last; ++i)
        end(static_cast<std::uint32_t>(i), exit);
    if (what.elements.empty() && what.placed.empty())
      for (auto& [element, story] : all)
        end(element, exit);
  };
  (void)store().events_of(job, [&](const ledger::stored_event& stored) {
    if (stored.kind == ledger::event_kind::ended)
      end(stored.element, from_cbor<ended_event>(stored.payload)->exit);
    if (stored.kind == ledger::event_kind::cancelled)
      cancelled(*from_cbor<cancelled_event>(stored.payload));
    if (stored.kind != ledger::event_kind::starting)
      return;
    const auto starting = from_cbor<starting_event>(stored.payload);
    for (auto& [element, story] : all)
      if (starting->element_first <= element && element <= starting->element_last) {
        story.starts.insert(stored.incarnation);
      }
  });
  // What was placed when it was cancelled has an end of its own, unless it never came to a start.
  for (const auto& what : cancels)
    for (auto& [element, story] : all)
      for (const auto& range : what.placed)
        if (story.ends == 0 && story.starts.empty() && range.first <= element &&
            element <= range.last)
          end(element, {job_state::cancelled, 0, 0, what.reason});
  return all;
}

/// Whether the ledger tells this of a step.
bool actor_world::has_step_event(job_id job, std::uint32_t step, ledger::event_kind kind) {
  auto found = false;
  (void)store().events_of(job, [&](const ledger::stored_event& stored) {
    if (stored.kind != kind)
      return;
    if (kind == ledger::event_kind::step_started)
      found = found || from_cbor<step_started_event>(stored.payload)->step == step;
    else
      found = found || from_cbor<step_ended_event>(stored.payload)->step == step;
  });
  return found;
}

void actor_world::check_order(const auth::order_view& order) {
  ++ordered;
  if (order.step != 0) {
    if (!has_step_event(order.job, order.step, ledger::event_kind::step_started))
      violations.push_back(
          fmt::format("{}.{} was ordered before its start was durable", order.job, order.step));
    return;
  }
  const auto stories = story_of(order.job);
  for (std::uint32_t i = 0; i < order.element_count; ++i) {
    const auto at = stories.find(order.element_first + i);
    if (at == stories.end() || !at->second.starts.contains(order.incarnation))
      violations.push_back(fmt::format("{} was ordered before its start was durable",
                                       format_id(order.job, order.element_first + i)));
  }
}

void actor_world::check_acknowledged(const element_record& record) {
  ++acknowledged;
  if (const auto step = record.group.step; step != 0) {
    if (!has_step_event(record.group.job, step, ledger::event_kind::step_ended))
      violations.push_back(fmt::format("the end of {}.{} was acknowledged before it was durable",
                                       record.group.job, step));
    return;
  }
  auto durable = false;
  (void)store().events_of(record.group.job, [&](const ledger::stored_event& stored) {
    const auto over = stored.kind == ledger::event_kind::ended &&
                      stored.element == record.element &&
                      stored.incarnation >= record.group.incarnation;
    durable = durable || over;
    // Unstarted again counts too: that is how a lost element with a requeue goes on.
    if (stored.kind == ledger::event_kind::requeued &&
        stored.incarnation > record.group.incarnation)
      if (auto event = from_cbor<requeued_event>(stored.payload))
        durable = durable ||
                  (event->element_first <= record.element && record.element <= event->element_last);
  });
  if (!durable)
    violations.push_back(fmt::format("the end of {} was acknowledged before it was durable",
                                     format_id(record.group.job, record.element)));
}

} // namespace troupe::test
