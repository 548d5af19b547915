// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: steps of a running element: `troupe run` inside a job, and what its ranks spawn.
// Input:   a spec with the request that the job's owner signed.
// Action:  what could never fit the allocation is refused; what does not fit now waits for steps
//          before it to end, in order. Step 0's own ranks hold no core against its steps.
// Caveats: a step ends with its element, and never outlives it.

namespace troupe::actors {

namespace {

auth::request_id id_of(const submission& what) {
  if (auto request = auth::decode_job_request(what.request.body))
    return request->id;
  return {};
}

} // namespace

job_state_machine::active_element* job_state_machine::find_element(std::uint32_t element) {
  const auto at = active_.find(element);
  return at == active_.end() ? nullptr : &at->second;
}

job_state_machine::job_step* job_state_machine::find_step(std::uint32_t number) {
  const auto at = steps_.find(number);
  return at == steps_.end() ? nullptr : &at->second;
}

/// By whom a step was spawned; of what nobody spawned, or of a step that is over, by nobody.
const step_started_event& job_state_machine::origin_of(const active_element& what) const {
  static const step_started_event nobody;
  const auto at = steps_.find(what.step);
  return at == steps_.end() ? nobody : at->second.spawned;
}

// -- asking for one -------------------------------------------------------------

/// A sentence where the step could not run even if it had the allocation to itself.
expected<void> job_state_machine::step_fits(const waiting_step& what,
                                            const active_element& element) const {
  const auto& spec = *what.what.spec;
  if (place_step(element.parts, taken_cores(element.parts.size()), wish_of(spec, element)))
    return {};
  std::size_t cores = 0;
  std::string nodes;
  for (const auto& part : element.parts) {
    cores += part.cores.size();
    nodes += fmt::format("{}{}", nodes.empty() ? "" : ",", node_of(part.node).name());
  }
  return fail(errc::invalid,
              fmt::format("the step asks for {} tasks of {} cores{}; job {} has {} cores on {}",
                          spec.tasks, spec.cores_per_task,
                          spec.nodes == 0 ? "" : fmt::format(" on {} nodes", spec.nodes),
                          format_id(job_, what.element), cores, nodes));
}

caf::result<step_begun> job_state_machine::start_step(request<troupe::start_step>& what) {
  if (auto ok = what.cap.permits(verb::job_submit, verb::job_submit, event_->identity.uid, job_,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (what.cap.who().uid != event_->identity.uid)
    return auth::to_caf(
        error{errc::refused, fmt::format("only its owner runs steps in job {}", job_)});
  waiting_step waiting;
  waiting.cap = what.cap;
  waiting.element = what.msg.what.spec->step_of_element;
  waiting.request = id_of(what.msg.what);
  waiting.what = std::move(what.msg.what);
  if (waiting.request == auth::request_id{})
    return auth::to_caf(error{errc::invalid, "a step needs a request that its job's owner signed"});
  // The answer to the same request may have been lost with its connection.
  for (const auto& [number, step] : steps_)
    if (step.request == waiting.request && step.durable)
      return step_begun{number};
  for (const auto& [number, step] : ended_steps_)
    if (step.request == waiting.request)
      return step_begun{number};
  const auto at = active_.find(waiting.element);
  if (at == active_.end() || at->second.ending || at->second.waits_for_steps)
    return auth::to_caf(
        error{errc::conflict,
              fmt::format("job {} is not running and can have no steps; of an array, name an "
                          "element, such as {}_1",
                          format_id(job_, waiting.element), format_id(job_))});
  if (auto fits = step_fits(waiting, at->second); !fits)
    return auth::to_caf(fits.error());
  if (waiting_steps_.size() >= waiting_steps_max)
    return auth::to_caf(
        error{errc::exhausted, fmt::format("{} steps of job {} wait already; wait for some to end",
                                           waiting_steps_max, job_)});
  auto promise = self_->make_response_promise<step_begun>();
  waiting.client =
      caf::actor_cast<caf::actor_addr>(static_cast<caf::response_promise&>(promise).source());
  waiting.promise = owed<step_begun>{promise};
  const auto same =
      std::find_if(waiting_steps_.begin(), waiting_steps_.end(),
                   [&](const waiting_step& each) { return each.request == waiting.request; });
  if (same != waiting_steps_.end())
    *same = std::move(waiting);
  else
    waiting_steps_.push_back(std::move(waiting));
  begin_waiting_steps();
  watch_clients();
  follow_up();
  return promise;
}

/// A step that nobody waits for any more is not to start: `troupe run` is gone, and would see
/// neither its output nor its end.
void job_state_machine::watch_clients() {
  for (const auto& each : waiting_steps_)
    if (each.client && watched_clients_.insert(each.client).second)
      self_->monitor(each.client);
}

void job_state_machine::client_gone(const caf::actor_addr& client) {
  watched_clients_.erase(client);
  const auto gone = std::erase_if(waiting_steps_,
                                  [&](const waiting_step& each) { return each.client == client; });
  if (gone == 0)
    return;
  world_.log->info("job {}: {} of its steps will not start: who asked for them is gone", job_,
                   gone);
  begin_waiting_steps(); // others may have waited behind them
  follow_up();
}

// -- looking --------------------------------------------------------------------

element_location job_state_machine::location_of(const job_step& what) const {
  element_location result;
  result.state = what.ranks.state;
  result.incarnation = what.ranks.incarnation;
  for (const auto& part : what.ranks.parts)
    if (part.ranks > 0)
      result.parts.push_back(part);
  const auto& spec = what.ranks.asked->spec;
  result.map_by = spec.map_by;
  result.may_spawn = spec.mpi == mpi_mode::pmix;
  result.streams_output = spec.stdout_path == "|";
  result.streams_input = spec.stdin_path == "|";
  result.streams_errors = spec.stderr_path == "|" && !spec.merge_stderr;
  return result;
}

step_view job_state_machine::view_of(const job_step& what) const {
  const auto row = element_row(what.element, what.ranks);
  step_view view;
  view.step = what.ranks.step;
  view.element = what.element;
  view.incarnation = row.incarnation;
  view.take(what.ranks.asked->spec);
  view.state = row.state;
  view.exit_code = row.exit_code;
  view.signal = row.signal;
  view.started_utc_ns = row.started_utc_ns;
  view.ended_utc_ns = row.ended_utc_ns;
  view.nodelist = row.nodelist;
  view.cpus = row.cpus;
  view.reason = row.reason;
  return view;
}

void job_state_machine::add_steps(std::uint32_t element, std::vector<step_view>& to) const {
  const auto wanted = [&](const step_view& each) {
    return element == no_element || each.element == element;
  };
  for (const auto& [number, step] : ended_steps_)
    if (wanted(step.view))
      to.push_back(step.view);
  for (const auto& [number, step] : steps_)
    if (auto view = view_of(step); wanted(view))
      to.push_back(std::move(view));
  std::sort(to.begin(), to.end(),
            [](const step_view& a, const step_view& b) { return a.step < b.step; });
  if (to.size() > job_view::steps_shown_max)
    to.erase(to.begin(), to.end() - job_view::steps_shown_max);
}

/// The caller may read the job: `locate` has asked.
caf::result<element_location> job_state_machine::locate_step(request<locate_element>& what) {
  const auto number = what.msg.step;
  if (auto ended = ended_steps_.find(number); ended != ended_steps_.end())
    return ended->second.where;
  const auto at = steps_.find(number);
  if (at == steps_.end())
    return self_->delegate(links_.ledger, std::move(what));
  if (at->second.ranks.ordered && at->second.ranks.unasked.empty())
    return location_of(at->second);
  auto promise = self_->make_response_promise<element_location>();
  parked_.push_back({what.msg.element, number, what.cap, owed<element_location>{promise}});
  return promise;
}

/// Answers those who wait for the place or the end of a step, now that it has one.
void job_state_machine::answer_parked_step(std::uint32_t number) {
  const auto live = steps_.find(number);
  const auto ended = ended_steps_.find(number);
  std::erase_if(parked_, [&](parked_location& parked) {
    if (parked.step != number)
      return false;
    if (ended != ended_steps_.end())
      parked.promise.answer(ended->second.where);
    else if (live != steps_.end() && live->second.ranks.ordered &&
             live->second.ranks.unasked.empty())
      parked.promise.answer(location_of(live->second));
    else
      return false;
    return true;
  });
  if (ended == ended_steps_.end())
    return;
  std::erase_if(step_waiters_, [&](step_waiter& waiter) {
    if (waiter.step != number)
      return false;
    const auto needed = auth::verb_set{verb::job_read, verb::job_read_any};
    if (auto ok = waiter.cap.check(needed, world_.clock.now()); !ok)
      waiter.promise.refuse(auth::to_caf(ok.error()));
    else
      waiter.promise.answer(step_over{ended->second.where.exit.value_or(exit_report{})});
    return true;
  });
}

caf::result<step_over> job_state_machine::await_step(request<troupe::await_step>& what) {
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, event_->identity.uid, job_,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  const auto number = what.msg.step;
  if (auto ended = ended_steps_.find(number); ended != ended_steps_.end())
    return step_over{ended->second.where.exit.value_or(exit_report{})};
  if (!steps_.contains(number))
    return self_->delegate(links_.ledger, std::move(what));
  auto promise = self_->make_response_promise<step_over>();
  step_waiters_.push_back({number, what.cap, owed<step_over>{promise}});
  return promise;
}

/// The next one after `what.after`; 0: there will be none; nothing: not yet.
std::optional<std::uint32_t>
job_state_machine::next_spawned(const troupe::await_spawned& what) const {
  const auto of_family = [&](const step_started_event& each, std::uint32_t element) {
    return element == what.element && each.spawn_request != 0 && each.root_step == what.root;
  };
  std::optional<std::uint32_t> next;
  const auto offer = [&](std::uint32_t number) {
    if (number > what.after && (!next || number < *next))
      next = number;
  };
  auto goes_on = what.root == 0 ? active_.contains(what.element) : steps_.contains(what.root);
  for (const auto& [number, step] : ended_steps_)
    if (of_family(step.spawned, step.view.element))
      offer(number);
  for (const auto& [number, step] : steps_) {
    if (!of_family(step.spawned, step.element))
      continue;
    goes_on = true;
    if (step.ranks.ordered && step.ranks.unasked.empty())
      offer(number);
  }
  if (!next && !goes_on)
    next = 0;
  return next;
}

caf::result<step_spawned> job_state_machine::await_spawned(request<troupe::await_spawned>& what) {
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, event_->identity.uid, job_,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (auto next = next_spawned(what.msg))
    return step_spawned{*next};
  auto promise = self_->make_response_promise<step_spawned>();
  spawn_waiters_.push_back({what, owed<step_spawned>{promise}});
  return promise;
}

void job_state_machine::answer_spawn_waiters() {
  std::erase_if(spawn_waiters_, [this](spawn_waiter& waiter) {
    const auto next = next_spawned(waiter.what.msg);
    if (next)
      waiter.promise.answer(step_spawned{*next});
    return next.has_value();
  });
}

// -- steering -------------------------------------------------------------------

void job_state_machine::end_step(job_step& what, const std::string& reason) {
  if (!what.ranks.cancelled) {
    what.ranks.cancelled = true;
    what.ranks.cancel_reason = reason;
  }
  if (what.ranks.ordered)
    end_step_ranks(what);
  drop_unsent(what);
}

caf::result<jobs_changed> job_state_machine::signal_step(request<troupe::signal_step>& what) {
  if (auto ok = what.cap.permits(verb::job_signal, verb::job_signal_any, event_->identity.uid, job_,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (what.msg.signal < 0 || what.msg.signal > 64)
    return auth::to_caf(
        error{errc::invalid, fmt::format("there is no signal {}; 1 to 64 are", what.msg.signal)});
  const auto at = steps_.find(what.msg.step);
  if (at == steps_.end() || at->second.ranks.ending)
    return auth::to_caf(
        error{errc::conflict, fmt::format("step {}.{} does not run", job_, what.msg.step)});
  auto& step = at->second;
  if (what.msg.signal == 0)
    end_step(step, what.msg.reason);
  else
    signal_ranks(step, what.msg.signal);
  follow_up();
  return jobs_changed{1, 1, {}};
}

/// Of a step whose order has left.
void job_state_machine::signal_ranks(const job_step& what, std::int32_t number) {
  if (!what.ranks.ordered || what.ranks.ending)
    return;
  for (auto node : what.ranks.nodes_running)
    tell_node(node, signal_group{{job_, what.ranks.incarnation, what.ranks.step},
                                 what.element,
                                 what.element,
                                 number});
}

} // namespace troupe::actors
