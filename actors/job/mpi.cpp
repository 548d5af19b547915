// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"
#include "actors/placing.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: let the MPI ranks of an element find each other.
// Input:   what the shepherds beside them say: words for each other, aborts, who has connected.
// Action:  each shepherd is told which ranks are where, before they start and again after a
// restart;
//          their words are passed on between the element's nodes.
// Caveats: shepherds run as the user. They are believed nothing but this one job, and what they say
//          to each other is not looked at.

namespace troupe::actors {

namespace {

/// "0-3,8" of a set of processing units.
std::string list_of(std::span<const std::uint64_t> words) {
  std::string text;
  const auto size = static_cast<std::uint32_t>(words.size() * 64);
  const auto has = [&](std::uint32_t unit) {
    return unit < size && ((words[unit / 64] >> (unit % 64)) & 1) != 0;
  };
  for (std::uint32_t unit = 0; unit < size; ++unit) {
    if (!has(unit))
      continue;
    const auto first = unit;
    while (has(unit + 1))
      ++unit;
    text += fmt::format("{}{}", text.empty() ? "" : ",", first);
    if (unit > first)
      text += fmt::format("-{}", unit);
  }
  return text;
}

shepherd::mpi_kind kind_of(mpi_mode mode) {
  switch (mode) {
  case mpi_mode::pmi1: return shepherd::mpi_kind::pmi1;
  case mpi_mode::rte: return shepherd::mpi_kind::rte;
  default: return shepherd::mpi_kind::pmix;
  }
}

} // namespace

std::string job_state_machine::nspace_of(std::uint32_t element, const active_element& what) const {
  return fmt::format("troupe.{}.{}.{}", format_id(job_, element), what.incarnation, what.step);
}

/// What a shepherd has to know of the step before its ranks may start.
shepherd::register_step job_state_machine::step_of(std::uint32_t element,
                                                   const active_element& what,
                                                   std::uint32_t node_index) const {
  const auto& spec = spec_of(what);
  shepherd::register_step step;
  step.job = job_;
  step.element = element;
  step.incarnation = what.incarnation;
  step.step = what.step;
  step.nspace = nspace_of(element, what);
  const auto& origin = origin_of(what);
  if (origin.spawn_request != 0)
    step.parent = shepherd::process_name{origin.parent_nspace, origin.parent_rank};
  step.keeper = keeper_of(what);
  step.node_index = node_index;
  for (const auto& part : what.parts) {
    shepherd::step_node node;
    node.name = node_of(part.node).name();
    node.rank_first = part.rank_first;
    node.rank_count = part.ranks;
    node.ranks = part.rank_numbers;
    step.nodes.push_back(std::move(node));
  }
  step.ranks_total = spec.tasks;
  step.cores_per_rank = spec.cores_per_task;
  step.universe_size = std::max(event_->spec.tasks, spec.tasks);
  step.mpi = kind_of(spec.mpi);
  step.cwd = spec.cwd;
  step.notify_failures = spec.notify_failures;
  step.apps = origin.apps;
  if (step.apps.empty())
    step.apps.push_back({0, spec.tasks, spec.argv, {}, {}});
  const auto& here = what.parts[node_index];
  const auto known = node_of(here.node).offers();
  if (!known)
    return step; // nobody is there to be told
  const auto& offers = **known;
  // Ranks that were spawned may have to share cores with those that wait for them.
  step.shares_cores = offers.oversubscribed || step.parent.has_value();
  if (spec.bind != bind_mode::none) {
    const auto words = cpuset_words(offers);
    const auto sets = rank_cpusets(
        offers, here, {here.ranks, spec.cores_per_task, spec.bind, spec.map_by}, words);
    for (std::uint32_t rank = 0; rank < here.ranks; ++rank)
      step.cpusets.push_back(list_of(std::span{sets}.subspan(std::size_t{rank} * words, words)));
  }
  return step;
}

void job_state_machine::tell_its_shepherd(std::uint32_t node, std::uint32_t element,
                                          const active_element& what, shepherd::to_shepherd frame) {
  tell_shepherd message;
  message.group = {job_, what.incarnation, what.step};
  message.element = element;
  message.what = std::make_shared<shepherd::to_shepherd const>(std::move(frame));
  tell_node(node, std::move(message));
}

/// Tells the shepherds of a step's family which ranks are where; answers on which nodes they are.
/// May be said again.
std::set<std::uint32_t> job_state_machine::tend(std::uint32_t element, const active_element& what) {
  auto family = relatives_of(element, what);
  family.insert(family.begin(), &what);
  std::set<std::uint32_t> nodes;
  for (const auto* each : family)
    nodes.insert(each->nodes_running.begin(), each->nodes_running.end());
  for (std::uint32_t i = 0; i < what.parts.size(); ++i)
    for (const auto* each : family) {
      if (!nodes.contains(what.parts[i].node))
        break;
      if (i >= each->parts.size()) // the ledger said so; it is on no node that could be told
        continue;
      shepherd::to_shepherd frame;
      frame.register_step = step_of(element, *each, i);
      tell_its_shepherd(what.parts[i].node, element, *each, std::move(frame));
    }
  return nodes;
}

/// The step that begins its family: it, or whoever spawned whom until it was there.
std::uint32_t job_state_machine::root_of(const active_element& what) const {
  if (what.step == 0)
    return 0;
  const auto& origin = origin_of(what);
  return origin.spawn_request == 0 ? what.step : origin.root_step;
}

/// Index of the node that keeps what a family of steps publishes: the first one with ranks of the
/// step that began it, handed down to what it spawned because it may be over before they are.
std::uint32_t job_state_machine::keeper_of(const active_element& what) const {
  if (const auto& origin = origin_of(what); origin.spawn_request != 0)
    return origin.keeper;
  const auto first = std::find_if(what.parts.begin(), what.parts.end(),
                                  [](const placement_part& part) { return part.ranks > 0; });
  return first == what.parts.end() ? 0 : static_cast<std::uint32_t>(first - what.parts.begin());
}

/// The steps that its ranks may meet: the others of its family.
std::vector<const job_state_machine::active_element*>
job_state_machine::relatives_of(std::uint32_t element, const active_element& what) const {
  std::vector<const active_element*> all;
  const auto add = [&](const active_element& one) {
    if (one.step != what.step && one.incarnation == what.incarnation && one.ordered &&
        root_of(one) == root_of(what))
      all.push_back(&one);
  };
  if (const auto at = active_.find(element); at != active_.end() && is_mpi())
    add(at->second);
  for (const auto& [number, step] : steps_)
    if (step.element == element)
      add(step.ranks);
  return all;
}

/// The ranks of a step of an element, if it runs.
job_state_machine::active_element* job_state_machine::ranks_of(std::uint32_t element,
                                                               std::uint32_t step) {
  if (step == 0) {
    const auto at = active_.find(element);
    return at == active_.end() ? nullptr : &at->second;
  }
  const auto at = steps_.find(step);
  return at == steps_.end() || at->second.element != element ? nullptr : &at->second.ranks;
}

void job_state_machine::hear(hear_shepherd& what) {
  const auto at = active_.find(what.element);
  if (at == active_.end() || at->second.incarnation != what.group.incarnation)
    return;
  auto& active = at->second;
  const auto here = [&](const placement_part& part) { return part.node == what.node; };
  if (std::none_of(active.parts.begin(), active.parts.end(), here))
    return;
  if (what.what) {
    note_shepherd(what.element, active, what.node);
    hear(what.element, active, what.node, *what.what);
  } else {
    if (!what.replaced)
      shepherd_gone(what.element, active, what.node);
    tell_of_gone(what.element, active, what.node);
  }
  follow_up();
}

/// A shepherd that has spoken will have a last word about each step that it serves.
void job_state_machine::note_shepherd(std::uint32_t element, active_element& active,
                                      std::uint32_t node) {
  if (is_mpi() && active.nodes_running.contains(node))
    active.shepherds.insert(node);
  for (auto& [number, step] : steps_)
    if (step.element == element && step.ranks.asked->spec.mpi != mpi_mode::none &&
        step.ranks.nodes_running.contains(node))
      step.ranks.shepherds.insert(node);
}

void job_state_machine::shepherd_gone(std::uint32_t element, active_element& active,
                                      std::uint32_t node) {
  std::vector<std::uint32_t> numbers;
  for (const auto& [number, step] : steps_)
    if (step.element == element)
      numbers.push_back(number);
  for (auto number : numbers)
    last_word(element, number, node);
  if (active.shepherds.erase(node) > 0 && active.nodes_running.empty())
    part_over(element, active);
}

/// Whether a shepherd serves ranks of the element's there, or will.
bool job_state_machine::is_served(std::uint32_t element, const active_element& active,
                                  std::uint32_t node) const {
  const auto serves = [&](const active_element& ranks) {
    return ranks.incarnation == active.incarnation && spec_of(ranks).mpi != mpi_mode::none &&
           (ranks.nodes_running.contains(node) || ranks.shepherds.contains(node));
  };
  return serves(active) || std::any_of(steps_.begin(), steps_.end(), [&](const auto& each) {
           return each.second.element == element && serves(each.second.ranks);
         });
}

/// Ranks elsewhere may wait for what only this shepherd had.
void job_state_machine::tell_of_gone(std::uint32_t element, const active_element& active,
                                     std::uint32_t node) {
  for (const auto& part : active.parts)
    if (part.node != node && is_served(element, active, part.node))
      say_gone(element, active, part.node, node);
}

void job_state_machine::say_gone(std::uint32_t element, const active_element& active,
                                 std::uint32_t to, std::uint32_t gone) {
  const auto at = std::find_if(active.parts.begin(), active.parts.end(),
                               [&](const placement_part& part) { return part.node == gone; });
  shepherd::to_shepherd frame;
  frame.peer_gone = {static_cast<std::uint32_t>(at - active.parts.begin()),
                     is_served(element, active, gone)};
  tell_its_shepherd(to, element, active, std::move(frame));
}

/// Nothing more is to be heard of a step from this node.
void job_state_machine::last_word(std::uint32_t element, std::uint32_t number, std::uint32_t node) {
  auto* ranks = ranks_of(element, number);
  if (ranks == nullptr || ranks->shepherds.erase(node) == 0 || ranks->nodes_running.contains(node))
    return;
  if (number != 0) {
    if (auto* step = find_step(number))
      ranks_gone(*step, node);
  } else if (ranks->nodes_running.empty())
    part_over(element, *ranks);
}

void job_state_machine::pass_on(std::uint32_t element, const active_element& active,
                                std::uint32_t from, const shepherd::relay& what) {
  const auto to = active.parts[what.node].node;
  if (!is_served(element, active, to))
    return say_gone(element, active, from, to);
  const auto at = std::find_if(active.parts.begin(), active.parts.end(),
                               [&](const placement_part& part) { return part.node == from; });
  shepherd::to_shepherd frame;
  frame.relay = what;
  frame.relay->node = static_cast<std::uint32_t>(at - active.parts.begin());
  tell_its_shepherd(to, element, active, std::move(frame));
}

void job_state_machine::hear(std::uint32_t element, active_element& to, std::uint32_t node,
                             const shepherd::to_agent& what) {
  if (what.relay && what.relay->node < to.parts.size())
    pass_on(element, to, node, *what.relay);
  if (what.registered)
    step_registered(element, node, what.registered->step);
  if (what.connected)
    if (auto* ranks = ranks_of(element, what.connected->step))
      ranks->connected[node] = what.connected->ranks;
  if (what.abort)
    if (auto* ranks = ranks_of(element, what.abort->step))
      abort(element, *ranks, *what.abort);
  if (what.signal_request)
    if (auto* ranks = ranks_of(element, what.signal_request->step))
      for (auto each : ranks->nodes_running)
        tell_node(each, signal_group{{job_, ranks->incarnation, ranks->step},
                                     element,
                                     element,
                                     static_cast<std::int32_t>(what.signal_request->signal)});
  if (what.spawn_request)
    spawn(element, to, node, *what.spawn_request);
  if (what.forgotten)
    last_word(element, what.forgotten->step, node);
  if (what.log)
    world_.log->info("job {}: rank {} logs: {}", format_id(job_, element), what.log->from.rank,
                     what.log->text);
  if (what.failed)
    world_.log->warn("job {}: its shepherd on node {} failed: {}", format_id(job_, element), node,
                     what.failed->why);
}

/// A rank asked for the end of all: with its exit code, unless another end came first.
void job_state_machine::abort(std::uint32_t element, active_element& what,
                              const shepherd::abort& asked) {
  if (what.verdict || what.ending)
    return;
  exit_report report;
  report.state = job_state::failed;
  report.exit_code = asked.status & 0xff;
  if (report.exit_code == 0)
    report.exit_code = 1; // an abort is a failure, also where only higher bits say so
  report.reason = fmt::format("rank {} aborted it{}{}", asked.rank,
                              asked.message.empty() || asked.message == "N/A" ? "" : ": ",
                              asked.message == "N/A" ? "" : asked.message);
  what.verdict = std::move(report);
  end_other_nodes(element, what, no_element);
}

/// A sentence if ranks that were to find each other never did: each then ran alone and may have
/// taken itself for the whole job. Empty when all is well, or when nobody can tell any more.
std::string job_state_machine::unconnected(const active_element& what) const {
  const auto& spec = spec_of(what);
  if (spec.mpi == mpi_mode::none || spec.mpi == mpi_mode::rte || what.adopted)
    return {};
  std::uint32_t count = 0;
  for (const auto& [node, ranks] : what.connected)
    count += ranks;
  const auto tasks = spec.tasks;
  if (count >= tasks)
    return {};
  if (count == 0)
    return fmt::format("none of its {} ranks called MPI_Init: they ran side by side, not as one "
                       "MPI job",
                       tasks);
  return fmt::format("only {} of its {} ranks called MPI_Init", count, tasks);
}

} // namespace troupe::actors
