// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "auth/warrant.hpp"
#include "messages/exec.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: agree with a node's launcher about steps, after either side was away.
// Input:   steps whose start is durable and whose end is not; what the launcher has of them.
// Action:  this table, per step and node, as for elements (reconcile.cpp):
//
//            launcher's instance | launcher says | the step
//            as when ordered     | runs, queued  | is adopted
//            as when ordered     | ended         | ends, as any record says
//            as when ordered     | nothing       | never left: ordered again if that is so on all
//                                |               | its nodes, else it fails
//            another             | anything      | lost

namespace troupe::actors {

/// Its spec, and what a launcher is told of it.
void job_state_machine::take_asked(job_step& what, std::shared_ptr<submitted_event const> asked) {
  if (auto encoded = auth::encode_exec_spec(to_exec_spec(asked->spec))) {
    what.exec_bytes = std::move(*encoded);
    what.exec_digest = auth::exec_spec_digest(what.exec_bytes);
  }
  what.ranks.asked = std::move(asked);
}

void job_state_machine::recover_steps(std::vector<step_story> stories) {
  for (auto& story : stories) {
    const auto number = story.started.step;
    next_step_ = std::max(next_step_, number + 1);
    job_step step;
    step.element = story.started.asked.spec.step_of_element;
    if (auto warrant = auth::decode_warrant(story.started.asked.warrant))
      step.request = warrant->request;
    step.durable = true;
    step.ranks.step = number;
    step.ranks.incarnation = story.incarnation;
    step.ranks.parts = std::move(story.started.parts);
    step.ranks.adopted = true;
    take_asked(step, std::make_shared<submitted_event const>(std::move(story.started.asked)));
    story.started.asked = {};
    step.spawned = std::move(story.started);
    if (story.ended) {
      step.ranks.state = story.ended->exit.state;
      step.ranks.verdict = story.ended->exit;
      step.ranks.started_utc_ns = story.ended->started_utc_ns;
      step.ranks.ended_utc_ns = story.ended->ended_utc_ns;
      ended_step ended{step.request, location_of(step), view_of(step), step.spawned};
      ended.where.exit = story.ended->exit;
      remember_ended(number, std::move(ended));
      continue;
    }
    step.ranks.ordered = true;
    if (const auto* element = find_element(step.element))
      step.ranks.instances = element->instances;
    for (const auto& part : step.ranks.parts)
      if (part.ranks > 0) {
        step.ranks.nodes_running.insert(part.node);
        step.ranks.unasked.insert(part.node);
      }
    steps_.emplace(number, std::move(step));
  }
}

/// Takes what is of steps out of `what`. Answers those that are nowhere: they are ordered again, if
/// their elements run.
std::vector<std::uint32_t> job_state_machine::reconcile_steps(reconcile_job& what,
                                                              bool same_launcher) {
  std::map<std::uint32_t, const report_inventory::running_group*> groups;
  std::set<std::uint32_t> reported;
  for (const auto& group : what.groups)
    if (group.group.step != 0)
      groups[group.group.step] = &group;
  for (const auto& record : what.unacknowledged)
    reported.insert(record.group.step);
  std::vector<std::uint32_t> again, over;
  for (auto& [number, step] : steps_) {
    auto& ranks = step.ranks;
    if (!ranks.nodes_running.contains(what.node) || !ranks.ordered || ranks.ending ||
        ranks.unsent.contains(what.node))
      continue;
    const auto first_answer = ranks.unasked.erase(what.node) > 0;
    if (!is_ordered_of(ranks, what, same_launcher)) {
      ranks.verdict = exit_report{job_state::lost, 0, 0, "its launcher ended while it ran"};
      ranks.shepherds.erase(what.node);
      over.push_back(number);
      continue;
    }
    const auto group = groups.find(number);
    if (group != groups.end()) {
      for (const auto& running : group->second->running) {
        element_record record;
        record.started_utc_ns = running.started_utc_ns;
        note_start(ranks, record);
      }
      if (spec_of(ranks).mpi != mpi_mode::none)
        tend(step.element, ranks);
    } else if (first_answer && !reported.contains(number)) {
      ranks.absent.insert(what.node);
    }
    if (ranks.cancelled)
      end_step_ranks(step);
    if (ranks.unasked.empty() && !ranks.absent.empty())
      again.push_back(number);
    else
      answer_parked_step(number);
  }
  for (auto number : over) {
    if (auto* step = find_step(number)) {
      step->ranks.nodes_running.erase(what.node);
      end_step_ranks(*step);
      ranks_gone(*step, what.node);
    }
  }
  std::erase_if(what.groups, [](const auto& each) { return each.group.step != 0; });
  what.unacknowledged = take_step_records(what.node, what.unacknowledged);
  return again;
}

/// All its launchers have answered, and some know nothing of it.
void job_state_machine::note_step_absence(std::uint32_t number) {
  auto* found = find_step(number);
  if (found == nullptr)
    return;
  auto& step = *found;
  const auto absent = std::exchange(step.ranks.absent, {});
  if (absent == step.ranks.nodes_running) {
    step.ranks.ordered = false;
    order_step(number);
    return;
  }
  step.ranks.verdict = exit_report{
      job_state::lost, 0, 0, "only a part of it was started when trouped ended; run it again"};
  for (auto node : absent)
    step.ranks.nodes_running.erase(node);
  end_step_ranks(step);
  ranks_gone(step, no_element);
}

/// The element's steps go with the launcher that ran them, or with its incarnation.
void job_state_machine::lose_steps(std::uint32_t element, std::uint32_t incarnation,
                                   const std::string& why) {
  for (auto& [number, step] : steps_) {
    if (step.element != element || step.ranks.incarnation != incarnation || step.ranks.ending)
      continue;
    if (!step.ranks.verdict)
      step.ranks.verdict = exit_report{job_state::lost, 0, 0, why};
    end_step(step, why);
  }
}

} // namespace troupe::actors
