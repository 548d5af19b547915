// SPDX-License-Identifier: Apache-2.0
#include "actors/job_story.hpp"

#include "actors/ledger_codec.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: tell what has become of a job from its events.
// Input:   its events in their order: all that is believed of them is checked here.
// Action:  elements go from unstarted to placed to ended, or back to unstarted in a higher
//          incarnation; what contradicts that ends the telling.
// Caveats: an append that was interrupted is written again, so that an event may be there twice;
//          and one that could not be written may be missing before one that presumes it.

namespace troupe::actors {

namespace {

constexpr std::uint32_t cores_numbered_max = 65'536; ///< of one node
constexpr std::uint32_t places_max = 65'536;         ///< on one node

/// The planner wants sizes, not arguments and environments.
job_spec planning_part(const job_spec& spec) {
  job_spec part = spec;
  part.argv.clear();
  part.env.clear();
  part.script.clear();
  return part;
}

expected<void> no(const std::string& why) {
  return fail(errc::storage, why);
}

/// The lowest number of [first, last] that is in the set.
std::optional<std::uint32_t> first_of(const interval_set& set, std::uint32_t first,
                                      std::uint32_t last) {
  const auto& all = set.intervals();
  const auto at = all.upper_bound(first);
  if (at != all.begin() && std::prev(at)->second >= first)
    return first;
  return at == all.end() || at->first > last ? std::nullopt : std::optional{at->first};
}

expected<void> check_part(const placement_part& part) {
  if (part.node == 0 || part.node > nodes_max)
    return no(fmt::format("names node {}; 1 to {} can be", part.node, nodes_max));
  if (part.ranks > tasks_max)
    return no(fmt::format("has {} ranks on one node; {} can be", part.ranks, tasks_max));
  for (const auto* numbers : {&part.cores, &part.gpus})
    for (auto number : *numbers)
      if (number >= cores_numbered_max)
        return no(
            fmt::format("names core or GPU {}; numbers end below {}", number, cores_numbered_max));
  return {};
}

expected<void> check_places(const starting_event& event) {
  if (event.element_last < event.element_first)
    return no("names no element");
  if (event.window == 0 && event.element_first != event.element_last)
    return no("gives several elements one place");
  if (first_place(event) == nullptr)
    return no("gives no place");
  if (std::any_of(event.slots.begin(), event.slots.end(),
                  [](std::uint32_t slot) { return slot >= places_max; }))
    return no(fmt::format("numbers a place {} or above", places_max));
  for (const auto& part : event.parts)
    if (part.ranks > 0 || event.window == 0)
      if (auto ok = check_part(part); !ok)
        return ok;
  return {};
}

} // namespace

template <class T>
expected<T> job_story::read(const ledger::stored_event& stored) const {
  auto value = from_cbor<T>(stored.payload);
  if (!value)
    return fail(errc::storage, fmt::format("cannot be read: {}", value.error().text));
  return value;
}

void job_story::take(const ledger::stored_event& stored) {
  auto ok = fold(stored);
  if (!ok && job_.aside.empty())
    job_.aside = fmt::format("event {} of the ledger, '{}', {}", stored.seq,
                             ledger::to_string(stored.kind), ok.error().text);
}

expected<void> job_story::fold(const ledger::stored_event& stored) {
  using kind = ledger::event_kind;
  if (!job_.spec && stored.kind != kind::submitted && stored.kind != kind::cancelled)
    return no("comes before the job's submission");
  switch (stored.kind) {
  case kind::submitted: return job_.spec ? no("comes a second time") : submitted(stored);
  case kind::held: job_.birth.row.held = true; break;
  case kind::released: job_.birth.row.held = false; break;
  case kind::starting: return starting(stored);
  case kind::ended: return ended(stored);
  case kind::requeued: return requeued(stored);
  case kind::cancelled: return cancelled(stored);
  case kind::step_started: return step_started(stored);
  case kind::step_ended: return step_ended(stored);
  case kind::modified: return modified(stored);
  case kind::preempted: return preempted(stored);
  default: break;
  }
  return {};
}

recovered_job job_story::finish() {
  auto& birth = job_.birth;
  if (!job_.spec && job_.aside.empty())
    job_.aside = "the ledger does not have its submission";
  apply_cancels();
  std::erase_if(birth.unstarted, [](const auto& each) { return each.second.empty(); });
  std::uint64_t left = 0;
  for (const auto& [incarnation, elements] : birth.unstarted)
    left += elements.count();
  birth.row.elements_pending = static_cast<std::uint32_t>(left);
  if (!job_.live)
    birth.event.reset();
  return std::move(job_);
}

// -- what waits -----------------------------------------------------------------

expected<void> job_story::submitted(const ledger::stored_event& stored) {
  auto event = read<submitted_event>(stored);
  if (!event)
    return no(event.error().text);
  if (auto valid = validate(event->spec); !valid)
    return no("asks for what cannot be: " + valid.error().text);
  auto shared = std::make_shared<submitted_event const>(std::move(*event));
  const auto& spec = shared->spec;
  job_.uid = shared->identity.uid;
  job_.attached = spec.attached;
  job_.birth.row = row_of_submission(stored.job, *shared, stored.time);
  elements_ = {};
  if (spec.array)
    for (const auto& range : spec.array->ranges)
      elements_.insert(static_cast<std::uint32_t>(range.first),
                       static_cast<std::uint32_t>(range.last));
  else
    elements_.insert(no_element, no_element);
  job_.birth.unstarted[1] = elements_;
  job_.spec = std::make_shared<job_spec const>(planning_part(spec));
  job_.birth.event = std::move(shared);
  return {};
}

/// The whole of what was asked, anew; only what had not started was ever modified.
expected<void> job_story::modified(const ledger::stored_event& stored) {
  if (job_.live)
    return no("changes what has started");
  const auto held = job_.birth.row.held;
  const auto since = job_.birth.row.submitted_utc_ns;
  auto done = submitted(stored);
  job_.birth.row.held = held;
  job_.birth.row.submitted_utc_ns = since;
  return done;
}

bool job_story::has(std::uint32_t first, std::uint32_t last) const {
  const auto at = elements_.intervals().upper_bound(first);
  return first <= last && at != elements_.intervals().begin() && std::prev(at)->second >= last;
}

void job_story::withdraw(std::uint32_t first, std::uint32_t last) {
  for (auto& [incarnation, elements] : job_.birth.unstarted)
    elements.erase(first, last);
}

/// Elements that will not start, and placed ones that are to end; without either, all of a job that
/// was set aside.
expected<void> job_story::cancelled(const ledger::stored_event& stored) {
  auto event = read<cancelled_event>(stored);
  if (!event)
    return no(event.error().text);
  if (event->elements.empty() && event->placed.empty()) {
    job_.ending = event->reason.empty() ? "cancelled" : event->reason;
    return {};
  }
  job_.live = true;
  for (const auto* ranges : {&event->elements, &event->placed})
    for (const auto& range : *ranges)
      if (range.last > no_element ||
          !has(static_cast<std::uint32_t>(range.first), static_cast<std::uint32_t>(range.last)))
        return no(fmt::format("names elements {} to {}, which the job does not have", range.first,
                              range.last));
  for (const auto& range : event->elements) {
    withdraw(static_cast<std::uint32_t>(range.first), static_cast<std::uint32_t>(range.last));
    over_.insert(static_cast<std::uint32_t>(range.first), static_cast<std::uint32_t>(range.last));
    job_.birth.ended.push_back({job_state::cancelled, 0, 0, event->reason});
  }
  for (const auto& range : event->placed)
    cancels_.emplace_back(range, event->reason);
  return {};
}

/// Placed elements that were to end: where they still are placed. One whose `starting` was never
/// written does not start any more.
void job_story::apply_cancels() {
  auto& birth = job_.birth;
  for (const auto& [range, reason] : cancels_) {
    const auto first = static_cast<std::uint32_t>(range.first);
    const auto last = static_cast<std::uint32_t>(range.last);
    for (auto& chunk : birth.placed) {
      const auto low = std::max(first, chunk.element_first);
      const auto high = std::min(last, chunk.element_last);
      if (low > high)
        continue;
      chunk.cancelled.insert(low, high);
      chunk.cancel_reason = reason;
    }
    for (auto& [incarnation, elements] : birth.unstarted) {
      const auto before = elements.count();
      elements.erase(first, last);
      if (elements.count() < before)
        birth.ended.push_back({job_state::cancelled, 0, 0, reason});
    }
  }
}

// -- what was placed ------------------------------------------------------------

/// What happens to [first, last] in this incarnation: a sentence where it cannot, because some have
/// ended or have come further already.
expected<void> job_story::check_order(std::uint32_t incarnation, std::uint32_t first,
                                      std::uint32_t last) const {
  if (incarnation == 0 || !has(first, last))
    return no(fmt::format("is of elements {} to {}, which the job does not have", first, last));
  if (const auto gone = first_of(over_, first, last))
    return no(fmt::format("comes after the end of element {}", *gone));
  const auto late = [&](std::uint32_t element, std::uint32_t is_in) {
    return no(fmt::format("is of element {} in incarnation {}, which is in incarnation {} already",
                          element, incarnation, is_in));
  };
  for (const auto& chunk : job_.birth.placed)
    if (chunk.incarnation > incarnation && chunk.element_first <= last &&
        first <= chunk.element_last)
      return late(std::max(first, chunk.element_first), chunk.incarnation);
  for (const auto& [waits_in, elements] : job_.birth.unstarted)
    if (const auto waits = first_of(elements, first, last); waits && waits_in > incarnation)
      return late(*waits, waits_in);
  return {};
}

/// They have left this incarnation, and those before it.
void job_story::close(std::uint32_t incarnation, std::uint32_t first, std::uint32_t last) {
  std::erase_if(job_.birth.placed, [&](placed_chunk& chunk) {
    const auto low = std::max(first, chunk.element_first);
    const auto high = std::min(last, chunk.element_last);
    if (chunk.incarnation > incarnation || low > high)
      return false;
    chunk.ended.insert(low, high);
    return chunk.ended.count() == std::uint64_t{chunk.element_last} - chunk.element_first + 1;
  });
}

expected<void> job_story::starting(const ledger::stored_event& stored) {
  auto event = read<starting_event>(stored);
  if (!event)
    return no(event.error().text);
  if (auto ok = check_places(*event); !ok)
    return ok;
  const auto first = event->element_first;
  const auto last = event->element_last;
  if (auto ok = check_order(stored.incarnation, first, last); !ok)
    return ok;
  auto& birth = job_.birth;
  job_.live = true;
  if (birth.row.started_utc_ns == 0)
    birth.row.started_utc_ns = stored.time;
  // Of what was written twice the last counts, and of what waited again without a word, too.
  close(stored.incarnation, first, last);
  withdraw(first, last);
  placed_chunk chunk;
  chunk.incarnation = stored.incarnation;
  chunk.element_first = first;
  chunk.element_last = last;
  chunk.starting = std::move(*event);
  birth.placed.push_back(std::move(chunk));
  return {};
}

/// The end of one that never started is told, too: it was cancelled on its way.
expected<void> job_story::ended(const ledger::stored_event& stored) {
  auto event = read<ended_event>(stored);
  if (!event)
    return no(event.error().text);
  const auto element = stored.element;
  if (!is_final(event->exit.state))
    return no("is no end");
  if (over_.contains(element)) // written twice
    return {};
  if (auto ok = check_order(stored.incarnation, element, element); !ok)
    return ok;
  job_.live = true;
  close(stored.incarnation, element, element);
  withdraw(element, element);
  over_.insert(element, element);
  job_.birth.ended.push_back(std::move(event->exit));
  return {};
}

expected<void> job_story::requeued(const ledger::stored_event& stored) {
  auto event = read<requeued_event>(stored);
  if (!event)
    return no(event.error().text);
  const auto first = event->element_first;
  const auto last = event->element_last;
  if (auto ok = check_order(stored.incarnation, first, last); !ok)
    return ok;
  for (const auto& chunk : job_.birth.placed)
    if (chunk.incarnation == stored.incarnation && chunk.element_first <= last &&
        first <= chunk.element_last)
      return no(fmt::format("lets element {} wait in incarnation {}, in which it has started",
                            std::max(first, chunk.element_first), stored.incarnation));
  job_.live = true;
  close(stored.incarnation - 1, first, last);
  withdraw(first, last);
  job_.birth.unstarted[stored.incarnation].insert(first, last);
  return {};
}

/// These were told to end and to wait again.
expected<void> job_story::preempted(const ledger::stored_event& stored) {
  auto event = read<requeued_event>(stored);
  if (!event)
    return no(event.error().text);
  for (auto& chunk : job_.birth.placed)
    if (chunk.incarnation == stored.incarnation && chunk.element_first <= event->element_first &&
        event->element_first <= event->element_last && event->element_last <= chunk.element_last) {
      chunk.preempted.insert(event->element_first, event->element_last);
      chunk.preempted_why = event->reason;
    }
  return {};
}

// -- steps ----------------------------------------------------------------------

expected<void> job_story::step_started(const ledger::stored_event& stored) {
  auto event = read<step_started_event>(stored);
  if (!event)
    return no(event.error().text);
  if (event->step == 0 || event->step == no_element)
    return no(fmt::format("names step {}", event->step));
  if (auto valid = validate(event->asked.spec); !valid)
    return no("asks for what cannot be: " + valid.error().text);
  const auto element = event->asked.spec.step_of_element;
  if (event->asked.spec.step_of != stored.job || !has(element, element))
    return no("is no step of this job");
  for (const auto& part : event->parts)
    if (auto ok = check_part(part); !ok)
      return ok;
  auto& steps = job_.birth.steps;
  const auto [at, is_new] = steps_.try_emplace(event->step, steps.size());
  if (is_new)
    steps.emplace_back();
  auto& step = steps[at->second];
  step.incarnation = stored.incarnation;
  step.started = std::move(*event);
  return {};
}

expected<void> job_story::step_ended(const ledger::stored_event& stored) {
  auto event = read<step_ended_event>(stored);
  if (!event)
    return no(event.error().text);
  if (!is_final(event->exit.state))
    return no("is no end");
  if (const auto at = steps_.find(event->step); at != steps_.end())
    job_.birth.steps[at->second].ended = std::move(*event);
  return {};
}

} // namespace troupe::actors
