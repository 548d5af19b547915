// SPDX-License-Identifier: Apache-2.0
#include "actors/step_history.hpp"

#include "messages/cbor.hpp"

namespace troupe::actors {

void step_history::take(const ledger::stored_event& stored) {
  if (stored.kind == ledger::event_kind::step_started) {
    if (auto event = from_cbor<step_started_event>(stored.payload)) {
      auto& step = steps_[event->step];
      step.element = stored.element;
      step.incarnation = stored.incarnation;
      step.started = std::move(*event);
    }
  } else if (stored.kind == ledger::event_kind::step_ended) {
    if (auto event = from_cbor<step_ended_event>(stored.payload))
      if (const auto at = steps_.find(event->step); at != steps_.end())
        at->second.ended = std::move(*event);
  } else if (stored.kind == ledger::event_kind::ended) {
    if (auto event = from_cbor<ended_event>(stored.payload))
      nodelists_[{stored.element, stored.incarnation}] = std::move(event->nodelist);
  }
}

/// Those of its element's nodes that it had ranks on.
std::string step_history::nodelist_of(const entry& step) const {
  const auto at = nodelists_.find({step.element, step.incarnation});
  if (at == nodelists_.end())
    return {};
  std::string own;
  std::string_view rest = at->second;
  for (const auto& part : step.started.parts) {
    const auto name = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (part.ranks > 0)
      own.append(own.empty() ? "" : ",").append(name);
  }
  return own;
}

std::vector<step_view> step_history::views() const {
  std::vector<step_view> all;
  for (const auto& [number, step] : steps_) {
    step_view view;
    view.step = number;
    view.element = step.element;
    view.incarnation = step.incarnation;
    view.take(step.started.asked.spec);
    view.nodelist = nodelist_of(step);
    view.state = step.ended ? step.ended->exit.state : job_state::lost;
    if (step.ended) {
      view.exit_code = step.ended->exit.exit_code;
      view.signal = step.ended->exit.signal;
      view.reason = step.ended->exit.reason;
      view.started_utc_ns = step.ended->started_utc_ns;
      view.ended_utc_ns = step.ended->ended_utc_ns;
    }
    all.push_back(std::move(view));
  }
  if (all.size() > job_view::steps_shown_max)
    all.erase(all.begin(), all.end() - job_view::steps_shown_max);
  return all;
}

std::uint32_t step_history::next_spawned(const await_spawned& what) const {
  for (auto at = steps_.upper_bound(what.after); at != steps_.end(); ++at)
    if (at->second.element == what.element && at->second.started.spawn_request != 0 &&
        at->second.started.root_step == what.root)
      return at->first;
  return 0;
}

std::optional<element_location> step_history::location(std::uint32_t step) const {
  const auto at = steps_.find(step);
  if (at == steps_.end())
    return std::nullopt;
  const auto& [element, incarnation, started, ended] = at->second;
  const auto& spec = started.asked.spec;
  element_location location;
  location.incarnation = incarnation;
  for (const auto& part : started.parts)
    if (part.ranks > 0)
      location.parts.push_back(part);
  location.may_spawn = spec.mpi == mpi_mode::pmix;
  location.streams_output = spec.stdout_path == "|";
  location.streams_input = spec.stdin_path == "|";
  location.streams_errors = spec.stderr_path == "|" && !spec.merge_stderr;
  location.exit = ended ? ended->exit : exit_report{job_state::lost, 0, 0, "its job ended first"};
  location.state = location.exit->state;
  return location;
}

} // namespace troupe::actors
