// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>

// Purpose: MPI_Comm_spawn: ranks ask for further ranks in their job's allocation.
// Input:   what a shepherd passes on from a rank.
// Action:  a further step, under the job's own warrant if that lets it spawn; the rank is answered
//          once every shepherd of the family of steps knows the new one.
// Caveats: a request may be said again: a shepherd numbers its own, and keeps to its numbers.

namespace troupe::actors {

namespace {

/// The parent's environment with what the spawn adds.
std::vector<std::string> merged(const std::vector<std::string>& own,
                                const std::vector<std::string>& added) {
  std::map<std::string, std::string> all;
  const auto take = [&](const std::vector<std::string>& from) {
    for (const auto& each : from)
      if (const auto equals = each.find('='); equals != std::string::npos && equals > 0)
        all[each.substr(0, equals)] = each;
  };
  take(own);
  take(added);
  std::vector<std::string> result;
  for (auto& [name, text] : all)
    result.push_back(std::move(text));
  return result;
}

/// A sentence where it asks for something that is no command for some ranks.
std::string fault_of(const std::vector<shepherd::spawn_app>& apps) {
  std::uint64_t ranks = 0;
  for (const auto& app : apps) {
    ranks += app.ranks;
    if (app.argv.empty() || app.argv.front().empty() || app.ranks == 0)
      return "a program to spawn has no name, or no ranks";
  }
  if (apps.empty() || ranks > tasks_max)
    return fmt::format("{} programs of {} ranks cannot be spawned", apps.size(), ranks);
  return {};
}

/// Of several programs: each with its ranks, one after another. They are the ranks' own matter:
/// their stubs are told of them.
std::vector<shepherd::step_app> several(const std::vector<shepherd::spawn_app>& apps) {
  std::vector<shepherd::step_app> all;
  if (apps.size() < 2)
    return all;
  std::uint32_t rank = 0;
  for (const auto& app : apps) {
    all.push_back({rank, app.ranks, app.argv, app.env, app.cwd});
    rank += app.ranks;
  }
  return all;
}

/// What is to run: as the step that asks, with another program.
job_spec spec_of_spawn(const job_spec& parent, const std::vector<shepherd::spawn_app>& apps) {
  const auto& app = apps.front();
  auto spec = parent;
  spec.argv = app.argv;
  if (apps.size() == 1) {
    spec.env = merged(parent.env, app.env);
    if (!app.cwd.empty())
      spec.cwd = app.cwd;
  }
  spec.tasks = 0;
  for (const auto& each : apps)
    spec.tasks += each.ranks;
  spec.map_by = map_mode::slot;
  spec.nodes = 0;
  spec.nodes_required.clear();
  spec.nodes_excluded.clear();
  spec.array.reset();
  spec.held = spec.batch = spec.attached = spec.overlap = false;
  spec.begin_utc_ns = 0;
  spec.append = true; // its output goes where the parent's goes
  spec.stdin_path.clear();
  spec.terminal.reset();
  const auto& path = app.argv.front();
  spec.name = path.substr(path.rfind('/') + 1).substr(0, name_bytes_max);
  return spec;
}

} // namespace

/// Said before: the answer is on its way, or is said again.
bool job_state_machine::spawn_known(std::uint32_t element, std::uint32_t node_index,
                                    std::uint64_t request) {
  const auto same = [&](const step_started_event& each) {
    return each.spawn_request == request && each.spawn_node == node_index;
  };
  if (std::any_of(waiting_steps_.begin(), waiting_steps_.end(),
                  [&](const auto& each) { return same(each.spawned); }))
    return true;
  for (const auto& [number, step] : steps_)
    if (step.element == element && same(step.spawned)) {
      if (step.ranks.ordered && step.unregistered.empty())
        answer_spawn(element, step.spawned, nspace_of(element, step.ranks), {});
      return true;
    }
  for (const auto& [number, step] : ended_steps_)
    if (step.view.element == element && same(step.spawned)) {
      active_element gone;
      gone.step = number;
      gone.incarnation = step.view.incarnation;
      answer_spawn(element, step.spawned, nspace_of(element, gone), {});
      return true;
    }
  return false;
}

void job_state_machine::spawn(std::uint32_t element, const active_element& what, std::uint32_t node,
                              const shepherd::spawn_request& asked) {
  const auto from = std::find_if(what.parts.begin(), what.parts.end(),
                                 [&](const placement_part& part) { return part.node == node; });
  const auto node_index = static_cast<std::uint32_t>(from - what.parts.begin());
  if (asked.request == 0 || spawn_known(element, node_index, asked.request))
    return;
  waiting_step waiting;
  waiting.cap = cap_;
  waiting.element = element;
  waiting.spawned.parent_nspace = asked.parent.nspace;
  waiting.spawned.parent_rank = asked.parent.rank;
  waiting.spawned.spawn_node = node_index;
  waiting.spawned.spawn_request = asked.request;
  const active_element* parent = nullptr;
  if (nspace_of(element, what) == asked.parent.nspace)
    parent = &what;
  for (const auto& [number, step] : steps_)
    if (step.element == element && nspace_of(element, step.ranks) == asked.parent.nspace)
      parent = &step.ranks;
  const auto no = [&](const std::string& why) {
    world_.log->info("job {}: a spawn was refused: {}", format_id(job_, element), why);
    answer_spawn(element, waiting.spawned, {}, why);
  };
  if (parent == nullptr)
    return no("no step of that name runs");
  waiting.spawned.root_step = root_of(*parent);
  waiting.spawned.keeper = keeper_of(*parent);
  if (auto fault = fault_of(asked.apps); !fault.empty())
    return no(fault);
  waiting.spawned.apps = several(asked.apps);
  auto spec = spec_of_spawn(spec_of(*parent), asked.apps);
  spec.step_of = job_;
  spec.step_of_element = element;
  spec.mpi = asked.mpi == shepherd::mpi_kind::pmi1 ? mpi_mode::pmi1 : mpi_mode::pmix;
  if (auto valid = validate(spec); !valid)
    return no(valid.error().text);
  waiting.what.spec = std::make_shared<job_spec const>(std::move(spec));
  if (auto fits = step_fits(waiting, what); !fits)
    return no(fits.error().text);
  if (waiting_steps_.size() >= waiting_steps_max)
    return no("too many steps of this job wait already");
  waiting_steps_.push_back(std::move(waiting));
  begin_waiting_steps();
}

void job_state_machine::answer_spawn(std::uint32_t element, const step_started_event& spawned,
                                     const std::string& nspace, const std::string& error) {
  const auto at = active_.find(element);
  if (at == active_.end() || spawned.spawn_node >= at->second.parts.size())
    return;
  shepherd::to_shepherd frame;
  frame.spawn_answer.emplace();
  frame.spawn_answer->request = spawned.spawn_request;
  frame.spawn_answer->nspace = nspace;
  frame.spawn_answer->error = error.substr(0, 4096);
  tell_its_shepherd(at->second.parts[spawned.spawn_node].node, element, at->second,
                    std::move(frame));
}

/// A shepherd knows a step. Whoever spawned it waits for the last of them.
void job_state_machine::step_registered(std::uint32_t element, std::uint32_t node,
                                        std::uint32_t number) {
  const auto at = steps_.find(number);
  if (at == steps_.end() || at->second.element != element ||
      at->second.unregistered.erase(node) == 0 || !at->second.unregistered.empty() ||
      at->second.spawned.spawn_request == 0)
    return;
  answer_spawn(element, at->second.spawned, nspace_of(element, at->second.ranks), {});
}

} // namespace troupe::actors
