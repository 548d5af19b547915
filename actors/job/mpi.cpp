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

} // namespace

/// What a shepherd has to know of the step before its ranks may start.
shepherd::register_step job_state_machine::step_of(std::uint32_t element,
                                                   const active_element& what,
                                                   std::uint32_t node_index) const {
  const auto& spec = event_->spec;
  shepherd::register_step step;
  step.job = job_;
  step.element = element;
  step.incarnation = what.incarnation;
  step.nspace = fmt::format("troupe.{}.{}.0", format_id(job_, element), what.incarnation);
  step.node_index = node_index;
  for (const auto& part : what.parts) {
    shepherd::step_node node;
    node.name = nodes_.at(part.node).entry->offers->name;
    node.rank_first = part.rank_first;
    node.rank_count = part.ranks;
    step.nodes.push_back(std::move(node));
  }
  step.ranks_total = spec.tasks;
  step.cores_per_rank = spec.cores_per_task;
  step.universe_size = spec.tasks;
  step.mpi = spec.mpi == mpi_mode::pmi1 ? shepherd::mpi_kind::pmi1 : shepherd::mpi_kind::pmix;
  step.cwd = spec.cwd;
  step.apps.push_back({0, spec.tasks, spec.argv});
  const auto& here = what.parts[node_index];
  const auto& offers = *nodes_.at(here.node).entry->offers;
  step.shares_cores = offers.oversubscribed;
  if (spec.bind != bind_mode::none) {
    const auto words = cpuset_words(offers);
    const auto sets = rank_cpusets(offers, here, here.ranks, spec.cores_per_task, spec.bind, words);
    for (std::uint32_t rank = 0; rank < here.ranks; ++rank)
      step.cpusets.push_back(list_of(std::span{sets}.subspan(std::size_t{rank} * words, words)));
  }
  return step;
}

void job_state_machine::tell_its_shepherd(std::uint32_t node, std::uint32_t element,
                                          const active_element& what, shepherd::to_shepherd frame) {
  const auto& entry = slots_on(node).entry;
  if (!entry)
    return;
  tell_shepherd message;
  message.group = {job_, what.incarnation, 0};
  message.element = element;
  message.what = std::make_shared<shepherd::to_shepherd const>(std::move(frame));
  tell(entry->actor, cap_, std::move(message));
}

/// Tells the shepherds on all nodes of an element which ranks are where. May be said again.
void job_state_machine::tend(std::uint32_t element, const active_element& what) {
  for (std::uint32_t i = 0; i < what.parts.size(); ++i) {
    shepherd::to_shepherd frame;
    frame.register_step = step_of(element, what, i);
    tell_its_shepherd(what.parts[i].node, element, what, std::move(frame));
  }
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
    active.shepherds.insert(what.node);
    hear(what.element, active, what.node, *what.what);
  } else {
    active.shepherds.erase(what.node);
    if (active.nodes_running.empty())
      part_over(what.element, active);
  }
  write_ends();
  publish();
}

void job_state_machine::hear(std::uint32_t element, active_element& to, std::uint32_t node,
                             const shepherd::to_agent& what) {
  if (what.relay && what.relay->node < to.parts.size()) {
    shepherd::to_shepherd frame;
    frame.relay = *what.relay;
    const auto from = std::find_if(to.parts.begin(), to.parts.end(),
                                   [&](const placement_part& part) { return part.node == node; });
    frame.relay->node = static_cast<std::uint32_t>(from - to.parts.begin());
    tell_its_shepherd(to.parts[what.relay->node].node, element, to, std::move(frame));
  }
  if (what.connected)
    to.connected[node] = what.connected->ranks;
  if (what.abort)
    abort(element, to, *what.abort);
  if (what.signal_request)
    for (auto each : to.nodes_running)
      tell(slots_on(each).entry->actor, cap_,
           signal_group{{job_, to.incarnation, 0},
                        element,
                        element,
                        static_cast<std::int32_t>(what.signal_request->signal)});
  if (what.spawn_request) {
    shepherd::to_shepherd frame;
    frame.spawn_answer.emplace();
    frame.spawn_answer->request = what.spawn_request->request;
    frame.spawn_answer->error = "this version starts no further ranks in a running job";
    tell_its_shepherd(node, element, to, std::move(frame));
  }
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
  report.reason = fmt::format("rank {} aborted it{}{}", asked.rank,
                              asked.message.empty() || asked.message == "N/A" ? "" : ": ",
                              asked.message == "N/A" ? "" : asked.message);
  what.verdict = std::move(report);
  end_other_nodes(element, what, no_element);
}

/// A sentence if ranks that were to find each other never did: each then ran alone and may have
/// taken itself for the whole job. Empty when all is well, or when nobody can tell any more.
std::string job_state_machine::unconnected(const active_element& what) const {
  if (!is_mpi() || what.adopted)
    return {};
  std::uint32_t count = 0;
  for (const auto& [node, ranks] : what.connected)
    count += ranks;
  const auto tasks = event_->spec.tasks;
  if (count >= tasks)
    return {};
  if (count == 0)
    return fmt::format("none of its {} ranks called MPI_Init: they ran side by side, not as one "
                       "MPI job",
                       tasks);
  return fmt::format("only {} of its {} ranks called MPI_Init", count, tasks);
}

} // namespace troupe::actors
