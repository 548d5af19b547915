// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/random_history.hpp"

#include "actors/ledger_codec.hpp"
#include "messages/cbor.hpp"
#include "messages/exec.hpp"

#include <algorithm>

namespace troupe::test {

namespace {

constexpr std::uint32_t acts_max = 24; ///< of one job

std::vector<std::uint8_t> instance_of(const scripted_launcher& launcher) {
  return {launcher.instance().begin(), launcher.instance().end()};
}

} // namespace

random_history::random_history(actor_world& world) : world_{world}, random_{world.random} {
  for (std::uint32_t node = 1; node <= world.shape().nodes; ++node)
    for (std::uint32_t core = 0; core < world.shape().cores; ++core)
      free_[node].insert(core);
}

// -- jobs -------------------------------------------------------------------------

job_spec random_history::random_spec(std::uint32_t number) {
  auto spec = single(random_.once_in(12) ? "endless" : random_.once_in(8) ? "failing" : "brief");
  spec.requeue = random_.once_in(3);
  spec.held = random_.once_in(20);
  spec.nice = static_cast<std::int32_t>(random_.below(3));
  if (random_.once_in(6))
    spec.time_limit_s = static_cast<std::uint32_t>(1 + random_.below(20));
  if (random_.once_in(8))
    spec.nodes_required = {"node" + std::to_string(1 + random_.below(world_.shape().nodes))};
  if (number > 1 && random_.once_in(8))
    spec.dependencies = {{random_.once_in(2) ? dependency_kind::after : dependency_kind::afterany,
                          1 + random_.below(number - 1)}};
  switch (random_.below(5)) {
  case 0: // a script, and its steps
    spec.batch = true;
    spec.script = "#!/bin/sh\n";
    spec.tasks = static_cast<std::uint32_t>(1 + random_.below(2));
    break;
  case 1: // on several nodes, or of MPI ranks
    if (world_.shape().nodes > 1 && spec.nodes_required.empty() && random_.once_in(2))
      spec.nodes = spec.tasks = 2;
    else
      spec.mpi = mpi_mode::pmix;
    if (spec.nodes > 1 && random_.once_in(2))
      spec.mpi = mpi_mode::pmix;
    break;
  default:
    spec.tasks = static_cast<std::uint32_t>(1 + random_.below(2));
    if (random_.once_in(2))
      break;
    spec.array.emplace();
    spec.array->ranges = {{1, 1 + random_.below(7)}};
    if (random_.once_in(4))
      spec.array->ranges.push_back({20, 20 + random_.below(3)});
  }
  return spec;
}

void random_history::warrant(const std::vector<job_spec>& specs) {
  request_warrants asked;
  for (const auto& spec : specs)
    asked.submissions.push_back(world_.signed_submission(world_.user, spec));
  auto answer = world_.ask(world_.authority, world_.user.cap, std::move(asked));
  world_.settle();
  if (!*answer || !**answer)
    FAIL("the authority made no warrants");
  for (auto& made : (**answer)->jobs) {
    if (!made)
      FAIL(made.error().text);
    auto& job = jobs_.emplace_back();
    job.id = made->job;
    job.asked = made->event;
    job.row = actors::row_of_submission(job.id, *job.asked, world_.keys.clock.utc());
    if (job.spec().array)
      for (const auto& range : job.spec().array->ranges)
        for (auto i = range.first; i <= range.last; ++i)
          job.elements[static_cast<std::uint32_t>(i)];
    else
      job.elements[no_element];
    job.held = job.spec().held;
  }
}

void random_history::make(std::uint32_t jobs) {
  std::vector<job_spec> specs;
  for (std::uint32_t i = 1; i <= jobs; ++i)
    specs.push_back(random_spec(i));
  warrant(specs);
  std::vector<std::size_t> left;
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    submit(jobs_[i]);
    left.insert(left.end(), random_.below(acts_max), i);
  }
  // In any order, as they come to the ledger.
  for (; !left.empty(); left.pop_back()) {
    std::swap(left[random_.below(left.size())], left.back());
    if (auto& job = jobs_[left.back()]; !job.over)
      act(job);
  }
}

void random_history::act(job_model& job) {
  switch (random_.below(16)) {
  case 0:
  case 1:
  case 2:
  case 3:
  case 4: place(job); break;
  case 5:
  case 6:
  case 7: end(job); break;
  case 8: requeue(job); break;
  case 9: preempt(job); break;
  case 10: cancel(job); break;
  case 11: hold(job); break;
  case 12: modify(job); break;
  case 13:
  case 14: start_step(job); break;
  default: end_step(job);
  }
}

// -- events -----------------------------------------------------------------------

ledger_entry random_history::entry_of(const job_model& job, ledger_entry::kind what,
                                      std::uint32_t element, std::uint32_t incarnation,
                                      bytes encoded) const {
  ledger_entry entry;
  entry.job = job.id;
  entry.what = what;
  entry.element = element;
  entry.incarnation = incarnation;
  entry.encoded = std::move(encoded);
  entry.uid = job.asked->identity.uid;
  return entry;
}

void random_history::put(job_model& job, ledger_entry entry) {
  events_.push_back(actors::to_event(entry));
  owners_.push_back(job.id);
}

void random_history::submit(job_model& job) {
  auto entry = entry_of(job, ledger_entry::kind::submitted, no_element, 0, to_cbor(*job.asked));
  entry.row = job.row;
  put(job, std::move(entry));
}

void random_history::hold(job_model& job) {
  job.held = !job.held;
  put(job, entry_of(job, job.held ? ledger_entry::kind::held : ledger_entry::kind::released,
                    no_element, 0, {}));
}

void random_history::modify(job_model& job) {
  if (job.live)
    return;
  auto entry = entry_of(job, ledger_entry::kind::modified, no_element, 0, to_cbor(*job.asked));
  entry.row = job.row;
  put(job, std::move(entry));
}

/// An element that waits, or one that is placed.
std::optional<std::uint32_t> random_history::any(const job_model& job, bool placed) const {
  std::vector<std::uint32_t> all;
  for (const auto& [number, element] : job.elements)
    if (!element.over && element.placed == placed)
      all.push_back(number);
  if (all.empty())
    return std::nullopt;
  return all[random_.below(all.size())];
}

std::optional<placement_part> random_history::take_cores(std::uint32_t node, std::uint32_t tasks) {
  auto& free = free_[node];
  if (free.size() < tasks)
    return std::nullopt;
  placement_part part;
  part.node = node;
  part.ranks = tasks;
  for (std::uint32_t i = 0; i < tasks; ++i)
    part.cores.push_back(free.extract(free.begin()).value());
  return part;
}

void random_history::place(job_model& job) {
  const auto element = any(job, false);
  if (!element || job.held || !job.spec().dependencies.empty())
    return;
  if (job.is_wide())
    place_wide(job, *element);
  else
    place_lone(job, *element);
}

void random_history::place_wide(job_model& job, std::uint32_t number) {
  const auto nodes = std::max(job.spec().nodes, 1u);
  chunk_model chunk;
  chunk.starting.window = 0;
  chunk.starting.element_first = chunk.starting.element_last = number;
  for (std::uint32_t node = 1; node <= world_.shape().nodes; ++node) {
    const auto& required = job.spec().nodes_required;
    if (!required.empty() && required.front() != "node" + std::to_string(node))
      continue;
    if (chunk.starting.parts.size() == nodes)
      break;
    if (auto part = take_cores(node, 1)) {
      chunk.starting.parts.push_back(*part);
      chunk.starting.instances.push_back(instance_of(*world_.launchers[node - 1]));
      chunk.starting.slots.push_back(0);
    }
  }
  auto rank = 0u;
  for (auto& part : chunk.starting.parts)
    part.rank_first = rank++;
  if (chunk.starting.parts.size() < nodes) {
    for (const auto& part : chunk.starting.parts)
      free_[part.node].insert(part.cores.begin(), part.cores.end());
    return;
  }
  auto& element = job.elements[number];
  element.placed = true;
  chunk.incarnation = element.incarnation;
  chunk.open.insert(number, number);
  job.live = true;
  auto entry = entry_of(job, ledger_entry::kind::starting, number, element.incarnation,
                        to_cbor(chunk.starting));
  job.row.state = job_state::starting;
  entry.row = job.row;
  put(job, std::move(entry));
  job.chunks.push_back(std::move(chunk));
}

/// It, and those behind it that wait in its incarnation, in as many slots as there is room for.
void random_history::place_lone(job_model& job, std::uint32_t first) {
  auto node = static_cast<std::uint32_t>(1 + random_.below(world_.shape().nodes));
  if (const auto& required = job.spec().nodes_required; !required.empty())
    node = static_cast<std::uint32_t>(std::stoul(required.front().substr(4)));
  auto& slots = job.slots[node];
  // A launcher counts the slots of each incarnation by itself: only one has those of a node.
  const auto incarnation = job.elements[first].incarnation;
  for (const auto& chunk : job.chunks)
    if (!chunk.open.empty() && chunk.starting.parts.front().node == node &&
        chunk.incarnation != incarnation)
      return;
  const auto wanted = 1 + random_.below(2);
  while (slots.size() < wanted)
    if (auto part = take_cores(node, job.spec().tasks))
      slots.push_back(std::move(*part));
    else
      break;
  if (slots.empty())
    return;
  chunk_model chunk;
  chunk.incarnation = incarnation;
  auto last = first;
  const auto count = 1 + random_.below(4);
  for (std::uint64_t i = 1; i < count; ++i) {
    const auto next = job.elements.find(last + 1);
    if (next == job.elements.end() || next->second.over || next->second.placed ||
        next->second.incarnation != incarnation)
      break;
    ++last;
  }
  chunk.starting.element_first = first;
  chunk.starting.element_last = last;
  chunk.starting.window = static_cast<std::uint32_t>(slots.size());
  chunk.starting.parts = slots;
  chunk.starting.instances = {instance_of(*world_.launchers[node - 1])};
  chunk.open.insert(first, last);
  for (auto number = first;; ++number) {
    job.elements[number].placed = true;
    if (number == last)
      break;
  }
  job.live = true;
  auto entry =
      entry_of(job, ledger_entry::kind::starting, first, incarnation, to_cbor(chunk.starting));
  job.row.state = job_state::starting;
  entry.row = job.row;
  put(job, std::move(entry));
  job.chunks.push_back(std::move(chunk));
}

/// Places that nothing of the job is in any more are everybody's.
void random_history::give_back(job_model& job) {
  std::set<std::uint32_t> busy;
  for (const auto& chunk : job.chunks)
    if (!chunk.open.empty())
      for (const auto& part : chunk.starting.parts)
        busy.insert(part.node);
  std::erase_if(job.chunks, [&](const chunk_model& chunk) {
    if (!chunk.open.empty())
      return false;
    if (chunk.starting.window == 0)
      for (const auto& part : chunk.starting.parts)
        free_[part.node].insert(part.cores.begin(), part.cores.end());
    return true;
  });
  std::erase_if(job.slots, [&](const auto& each) {
    if (busy.contains(each.first))
      return false;
    for (const auto& part : each.second)
      free_[each.first].insert(part.cores.begin(), part.cores.end());
    return true;
  });
}

/// With the job's own end, where it is the last.
void random_history::finish_element(job_model& job, std::uint32_t number, job_state state,
                                    bool told) {
  auto& element = job.elements[number];
  element.over = true;
  for (auto& chunk : job.chunks)
    chunk.open.erase(number, number);
  job.over = std::all_of(job.elements.begin(), job.elements.end(),
                         [](const auto& each) { return each.second.over; });
  if (told) {
    ended_event ended;
    ended.exit.state = state;
    ended.exit.exit_code = state == job_state::failed ? 3 : 0;
    ended.ended_utc_ns = world_.keys.clock.utc();
    auto entry =
        entry_of(job, ledger_entry::kind::ended, number, element.incarnation, to_cbor(ended));
    entry.element_end = element_view{};
    entry.element_end->element = number;
    entry.element_end->state = state;
    if (job.over) {
      job.row.state = state;
      entry.row = job.row;
      entry.finishes = true;
    }
    put(job, std::move(entry));
  }
  give_back(job);
}

/// An element's steps end before it does.
void random_history::end(job_model& job) {
  const auto number = any(job, true);
  if (!number)
    return;
  for (auto& step : job.steps)
    if (!step.over && step.element == *number)
      return;
  const auto cancelled = job.elements[*number].cancelled;
  finish_element(job, *number,
                 cancelled            ? job_state::cancelled
                 : random_.once_in(4) ? job_state::failed
                                      : job_state::completed,
                 true);
}

void random_history::requeue(job_model& job) {
  const auto number = any(job, true);
  if (!number || job.elements[*number].cancelled || job.elements[*number].incarnation >= 6)
    return;
  for (auto& step : job.steps)
    if (!step.over && step.element == *number)
      return;
  auto& element = job.elements[*number];
  ++element.incarnation;
  element.placed = false;
  for (auto& chunk : job.chunks)
    chunk.open.erase(*number, *number);
  put(job, entry_of(job, ledger_entry::kind::requeued, *number, element.incarnation,
                    to_cbor(requeued_event{*number, *number, "its launcher ended"})));
  give_back(job);
}

void random_history::preempt(job_model& job) {
  const auto number = any(job, true);
  if (!number)
    return;
  put(job, entry_of(job, ledger_entry::kind::preempted, *number, job.elements[*number].incarnation,
                    to_cbor(requeued_event{*number, *number, "preempted by job 9"})));
}

void random_history::cancel(job_model& job) {
  if (!job.live || !random_.once_in(3))
    return;
  cancelled_event event;
  event.reason = "cancelled";
  std::vector<std::uint32_t> withdrawn;
  for (auto& [number, element] : job.elements) {
    if (element.over || element.cancelled || random_.once_in(2))
      continue;
    (element.placed ? event.placed : event.elements).push_back({number, number});
    if (element.placed)
      element.cancelled = true;
    else
      withdrawn.push_back(number);
  }
  if (event.elements.empty() && event.placed.empty())
    return;
  auto entry = entry_of(job, ledger_entry::kind::cancelled, no_element, 0, to_cbor(event));
  for (auto number : withdrawn)
    finish_element(job, number, job_state::cancelled, false);
  entry.row = job.row;
  if (job.over) {
    entry.row->state = job_state::cancelled;
    entry.finishes = true;
  }
  put(job, std::move(entry));
}

void random_history::start_step(job_model& job) {
  const auto number = any(job, true);
  if (!number || !(job.spec().batch || job.is_wide()) || job.steps.size() > 4)
    return;
  const auto chunk = std::find_if(job.chunks.begin(), job.chunks.end(),
                                  [&](const auto& each) { return each.open.contains(*number); });
  auto spec = single(random_.once_in(6) ? "endless" : "brief");
  spec.step_of = job.id;
  spec.step_of_element = *number;
  spec.overlap = true;
  step_model step;
  step.element = *number;
  step.incarnation = chunk->incarnation;
  step.started.step = static_cast<std::uint32_t>(job.steps.size() + 1);
  warrant_step asked{job.asked, step.started.step, step.incarnation,
                     world_.signed_submission(world_.user, spec)};
  auto answer = world_.ask(world_.authority, world_.user.cap, std::move(asked));
  world_.settle();
  if (!*answer || !**answer)
    FAIL("the authority made no warrant for a step: " << (*answer ? (**answer).error().text
                                                                  : std::string{}));
  step.started.asked = *(**answer)->event;
  step.started.parts = chunk->starting.window == 0 ? chunk->starting.parts
                                                   : std::vector{chunk->starting.parts.front()};
  for (auto& part : step.started.parts)
    part.ranks = &part == &step.started.parts.front() ? 1 : 0;
  if (job.is_wide() && random_.once_in(2)) {
    step.started.spawn_request = step.started.step;
    step.started.parent_nspace = "troupe";
  }
  put(job, entry_of(job, ledger_entry::kind::step_started, *number, step.incarnation,
                    to_cbor(step.started)));
  job.steps.push_back(std::move(step));
}

void random_history::end_step(job_model& job) {
  for (auto& step : job.steps) {
    if (step.over || random_.once_in(3))
      continue;
    step.over = true;
    put(job, entry_of(job, ledger_entry::kind::step_ended, step.element, step.incarnation,
                      to_cbor(step_ended_event{step.started.step, {}, 0, 0})));
    return;
  }
}

// -- damage -----------------------------------------------------------------------

job_id random_history::damage() {
  const auto index = random_.below(events_.size());
  const auto job = owners_[index];
  auto& event = events_[index];
  const auto at = static_cast<std::ptrdiff_t>(index);
  switch (random_.below(4)) {
  case 0:
    if (event.kind != ledger::event_kind::submitted && !(event.change && event.change->ends)) {
      events_.erase(events_.begin() + at);
      owners_.erase(owners_.begin() + at);
      break;
    }
    [[fallthrough]];
  case 1:
    if (event.kind != ledger::event_kind::submitted && !(event.change && event.change->ends)) {
      auto again = event;
      events_.insert(events_.begin() + at, std::move(again));
      owners_.insert(owners_.begin() + at, job);
      break;
    }
    [[fallthrough]];
  default:
    if (!event.payload.empty())
      event.payload[random_.below(event.payload.size())] ^=
          static_cast<std::uint8_t>(1 + random_.below(255));
  }
  return job;
}

// -- launchers --------------------------------------------------------------------

sealed_order random_history::order_of(const job_model& job, const chunk_model& chunk,
                                      std::size_t part, std::uint32_t first,
                                      std::uint32_t last) const {
  const auto& starting = chunk.starting;
  const auto lone = starting.window != 0;
  const auto& slots = starting.parts;
  auth::launch_order order;
  order.cluster_id = world_.keys.cluster;
  order.node_id = slots[part].node;
  order.instance = world_.launchers[order.node_id - 1]->instance();
  order.job = job.id;
  order.incarnation = chunk.incarnation;
  order.element_first = first;
  order.element_count = last - first + 1;
  order.window = lone ? starting.window : 1;
  order.issued_ns = world_.keys.clock.boot();
  order.expires_ns = order.issued_ns + 30 * ns_per_s;
  order.uid = job.asked->identity.uid;
  order.gid = job.asked->identity.gid;
  order.groups = job.asked->identity.groups;
  order.user = job.asked->identity.user;
  order.home = job.asked->identity.home;
  order.shell = job.asked->identity.shell;
  order.node_count = lone ? 1 : static_cast<std::uint32_t>(slots.size());
  order.node_index = lone ? 0 : static_cast<std::uint32_t>(part);
  order.rank_first = slots[part].rank_first;
  order.ranks_total = job.spec().tasks;
  order.time_limit_s = job.spec().time_limit_s;
  order.cpu_words = 1;
  order.node_name = "node" + std::to_string(order.node_id);
  order.nodelist = order.node_name;
  order.job_name = job.spec().name;
  order.submit_dir = job.spec().cwd;
  for (std::uint32_t slot = 0; slot < order.window; ++slot) {
    std::uint64_t mask = 0;
    for (auto core : slots[lone ? slot : part].cores)
      mask |= std::uint64_t{1} << core;
    order.cpusets.push_back(mask);
  }
  auto encoded = auth::encode_order(order);
  if (!encoded)
    FAIL(encoded.error().text);
  return {{job.id, chunk.incarnation, 0}, std::move(*encoded), {1}, {}};
}

/// Its order may have come, in part, or not at all.
void random_history::fill_with(const job_model& job, const chunk_model& chunk) {
  const auto parts =
      chunk.starting.window != 0 || job.spec().batch ? 1 : chunk.starting.parts.size();
  for (std::size_t part = 0; part < parts; ++part) {
    if (random_.once_in(4))
      continue;
    auto& launcher = *world_.launchers[chunk.starting.parts[part].node - 1];
    for (auto [first, last] : chunk.open.intervals())
      launcher.had(order_of(job, chunk, part, first, last));
  }
}

void random_history::fill_launchers() {
  for (const auto& job : jobs_) {
    for (const auto& chunk : job.chunks)
      if (!chunk.open.empty())
        fill_with(job, chunk);
    for (const auto& step : job.steps) {
      const auto running = [&](const chunk_model& chunk) {
        return chunk.incarnation == step.incarnation && chunk.open.contains(step.element);
      };
      const auto chunk = std::find_if(job.chunks.begin(), job.chunks.end(), running);
      if (step.over || chunk == job.chunks.end() || random_.once_in(3))
        continue;
      auto order = order_of(job, *chunk, 0, step.element, step.element);
      order.group.step = step.started.step;
      auto& launcher = *world_.launchers[chunk->starting.parts.front().node - 1];
      if (launcher.incarnation_of(job.id, step.element) == step.incarnation)
        launcher.had(order);
    }
  }
  // Some of it has ended since, and some launchers have been replaced.
  world_.keys.clock.advance(std::int64_t(random_.below(2000)) * ns_per_ms);
  for (auto& launcher : world_.launchers) {
    launcher->work();
    while (random_.once_in(3))
      launcher->end_one(random_.once_in(3) ? 3 : 0);
    if (random_.once_in(6))
      launcher->restart();
  }
}

} // namespace troupe::test
