// SPDX-License-Identifier: Apache-2.0
#include "actors/job/job.hpp"

#include "actors/elements.hpp"

#include "actors/placing.hpp"
#include "messages/exec.hpp"

#include <fmt/format.h>
#include <functional>

// A job actor's frame: its row, its views, and who is told of what.

namespace troupe::actors {

job_state_machine::job_state_machine(self_pointer self, world& around, job_links links,
                                     job_birth birth)
    : self_{self}, world_{around}, links_{std::move(links)}, job_{birth.job},
      event_{std::move(birth.event)}, cap_{std::move(birth.cap)}, row_{std::move(birth.row)},
      unstarted_{std::move(birth.unstarted)},
      writer_{self, around, links_.ledger,
              cap_, job_,   std::bind_front(&job_state_machine::follow_up, this)},
      alarm_{self, around} {
  if (auto warrant = auth::decode_warrant(event_->warrant))
    incarnations_max_ = warrant->incarnations_max;
  // The spec was checked when the warrant was made; it encodes as it did then.
  if (auto encoded = auth::encode_exec_spec(to_exec_spec(event_->spec))) {
    exec_bytes_ = std::move(*encoded);
    exec_digest_ = auth::exec_spec_digest(exec_bytes_);
  }
  self_->set_down_handler(
      [this](caf::scheduled_actor*, caf::down_msg& gone) { client_gone(gone.source); });
  for (const auto& report : birth.ended)
    count_end(report);
  recover(birth.placed, birth.nodes);
  recover_steps(std::move(birth.steps));
}

std::string job_state_machine::display_name() const {
  return fmt::format("job/{}", job_);
}

job_actor::behavior_type job_state_machine::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<job_actor>(
      guard,
      on<get_status>([this](request<get_status>& what) { return status(what.msg.verbosity); }),
      on<tick>([this](request<tick>& what) {
        const auto begins = what.msg.timer == 0; // the scheduler's, after a restart
        if (begins)
          lose_gone();
        if (begins || alarm_.takes(what.msg))
          wake();
      }),
      on<preempt_units>([this](request<preempt_units>& what) { preempt(what.msg); }),
      on<start_units>([this](request<start_units>& what) {
        if (row_.started_utc_ns == 0) {
          first_promised_utc_ns_ = what.msg.first_promised_utc_ns;
          last_promised_utc_ns_ = what.msg.last_promised_utc_ns;
        }
        start(std::move(what.msg.units), std::move(what.msg.nodes));
        follow_up();
      }),
      on<allow_refill>([this](request<allow_refill>& what) { set_lease(what.msg.allowed); }),
      on<cancel_elements>([this](request<cancel_elements>& what) { return cancel(what); }),
      on<stop_elements>([this](request<stop_elements>& what) { return stop(what.msg); }),
      on<signal_elements>([this](request<signal_elements>& what) { return signal(what); }),
      on<get_job_view>([this](request<get_job_view>& what) { return view(what); }),
      on<locate_element>([this](request<locate_element>& what) { return locate(what); }),
      on<troupe::start_step>(
          [this](request<troupe::start_step>& what) { return start_step(what); }),
      on<troupe::await_step>(
          [this](request<troupe::await_step>& what) { return await_step(what); }),
      on<troupe::await_spawned>(
          [this](request<troupe::await_spawned>& what) { return await_spawned(what); }),
      on<troupe::signal_step>(
          [this](request<troupe::signal_step>& what) { return signal_step(what); }),
      on<report_records>(
          [this](request<report_records>& what) { take_records(what.msg.node, what.msg.records); }),
      on<hear_shepherd>([this](request<hear_shepherd>& what) { hear(what.msg); }),
      on<reconcile_job>([this](request<reconcile_job>& what) { return reconcile(what.msg); }));
}

// -- looking ------------------------------------------------------------------

element_view job_state_machine::element_row(std::uint32_t element,
                                            const active_element& what) const {
  element_view row;
  row.element = element;
  row.incarnation = what.incarnation;
  row.state = what.state;
  row.started_utc_ns = what.started_utc_ns;
  row.ended_utc_ns = what.ended_utc_ns;
  if (what.verdict) {
    row.exit_code = what.verdict->exit_code;
    row.signal = what.verdict->signal;
    row.reason = what.verdict->reason;
  }
  for (const auto& part : what.parts) {
    if (part.ranks == 0)
      continue;
    const auto node = node_of(part.node).name();
    row.nodelist += fmt::format("{}{}", row.nodelist.empty() ? "" : ",", node);
    row.node_tasks.push_back(part.ranks);
    row.cpus += (row.cpus.empty() ? "" : " ") + describe_binding(node, part, spec_of(what).map_by);
    if (!part.gpus.empty())
      row.gpus +=
          fmt::format("{}{}:{}", row.gpus.empty() ? "" : " ", node, fmt::join(part.gpus, ","));
  }
  return row;
}

caf::result<job_view> job_state_machine::view(request<get_job_view>& what) const {
  const auto uid = event_->identity.uid;
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, uid, job_, world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (auto ok = check_element(job_, event_->spec.array, what.msg.element); !ok)
    return auth::to_caf(ok.error());
  job_view result;
  result.row = row_;
  result.spec = event_->spec;
  for (const auto& [element, active] : active_) {
    if (what.msg.element != no_element && element != what.msg.element)
      continue;
    if (result.elements.size() == job_view::elements_shown_max)
      break;
    result.elements.push_back(element_row(element, active));
  }
  add_steps(what.msg.element, result.steps);
  return result;
}

element_location job_state_machine::location_of(const active_element& what) const {
  element_location result;
  result.state = what.state;
  result.incarnation = what.incarnation;
  result.parts = what.parts;
  if (runs_once()) {
    result.parts.resize(1);
    result.parts.front().ranks = 1;
  }
  result.map_by = event_->spec.map_by;
  result.may_spawn = event_->spec.mpi == mpi_mode::pmix;
  result.streams_output = event_->spec.stdout_path == "|";
  result.streams_input = event_->spec.stdin_path == "|";
  result.streams_errors = event_->spec.stderr_path == "|" && !event_->spec.merge_stderr;
  return result;
}

caf::result<element_location> job_state_machine::locate(request<locate_element>& what) {
  const auto uid = event_->identity.uid;
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, uid, job_, world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  if (what.msg.step != 0)
    return locate_step(what);
  const auto element = what.msg.element;
  if (auto ok = check_element(job_, event_->spec.array, element); !ok)
    return auth::to_caf(ok.error());
  // Only what was ordered has a task that a reader of its output could ask; after a restart its
  // node has one once its launcher has lent the streams again, which it does before it answers.
  if (auto at = active_.find(element);
      at != active_.end() && at->second.ordered && at->second.unasked.empty())
    return location_of(at->second);
  auto waits = active_.contains(element);
  for (const auto& [incarnation, elements] : unstarted_)
    waits = waits || elements.contains(element);
  for (const auto& [due, resting] : resting_)
    waits = waits || resting.element == element;
  if (!waits)
    return self_->delegate(links_.ledger, std::move(what));
  auto promise = self_->make_response_promise<element_location>();
  parked_.push_back({element, 0, what.cap, owed<element_location>{promise}});
  return promise;
}

/// Answers those who wait for a place of `element`, now that it has one or has ended.
void job_state_machine::answer_parked(std::uint32_t element) {
  auto at = active_.find(element);
  if (at != active_.end() && !at->second.unasked.empty())
    return; // not before its nodes have said what they have of it
  std::erase_if(parked_, [&](parked_location& parked) {
    if (parked.element != element || parked.step != 0)
      return false;
    if (auto ok = parked.cap.permits(verb::job_read, verb::job_read_any, event_->identity.uid, job_,
                                     world_.clock.now());
        !ok) {
      if (world_.audit_refusal)
        world_.audit_refusal(typeid(locate_element).name(), parked.cap, ok.error());
      parked.promise.refuse(auth::to_caf(ok.error()));
      return true;
    }
    if (at != active_.end() && !at->second.parts.empty())
      parked.promise.answer(location_of(at->second));
    else
      parked.promise.pass_on(links_.ledger, request<locate_element>{parked.cap, {job_, element}});
    return true;
  });
}

status_report job_state_machine::status(status_verbosity verbosity) const {
  status_report report;
  report.actor = display_name();
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("state", to_string(row_.state));
  add("owner", row_.user);
  add("elements unstarted", unstarted_count());
  add("elements placed", active_.size());
  add("steps running", steps_.size());
  add("steps waiting", waiting_steps_.size());
  if (verbosity == status_verbosity::info)
    return report;
  add("may refill its slots", lease_);
  add("writes refused, to be tried again", writer_.waiting());
  add("orders that are to go again", unsent_.size());
  add("elements that rest", resting_.size());
  add("mean run time of an element, ms", mean_run_ns_ / 1e6);
  for (const auto& [node, at] : nodes_)
    add(fmt::format("slots on node {}", node),
        fmt::format("{}, {} queued at its launcher", at.slots.size(), at.queued));
  return report;
}

// -- telling --------------------------------------------------------------------

std::uint64_t job_state_machine::unstarted_count() const {
  std::uint64_t count = 0;
  for (const auto& [incarnation, elements] : unstarted_)
    count += elements.count();
  return count;
}

/// With those that rest before they are unstarted again.
std::uint64_t job_state_machine::waiting_count() const {
  return unstarted_count() + resting_.size();
}

bool job_state_machine::all_over() const {
  return active_.empty() && waiting_count() == 0;
}

/// What follows from any news: what is due is written, everyone is told, and the alarm is set.
void job_state_machine::follow_up() {
  if (finished_)
    return;
  use_slots_left();
  send_orders(); // what waited for others of its incarnation to start, if it need not any more
  write_returns();
  write_step_ends();
  write_ends();
  publish();
  if (!finished_)
    set_alarm();
}

/// What had to wait is tried again.
void job_state_machine::wake() {
  writer_.retry();
  wake_resting();
  std::vector<chunk> chunks;
  for (auto& [node, at] : nodes_)
    if (at.refuses_until != 0 && at.refuses_until <= world_.clock.boot()) {
      at.refuses_until = 0;
      fill(node, chunks);
    }
  write(std::move(chunks));
  send_orders();
  send_step_orders();
  retry_preemptions();
  follow_up();
}

/// One alarm for all that waits for its time.
void job_state_machine::set_alarm() {
  const auto at = [this](boot_ns due) {
    if (due != 0)
      alarm_.ring_at(due);
  };
  at(writer_.due());
  at(preempt_due_);
  if (!resting_.empty())
    at(resting_.begin()->first);
  for (const auto& each : unsent_)
    at(each.due);
  for (const auto& each : unsent_steps_)
    at(each.due);
  for (const auto& [node, known] : nodes_)
    at(known.refuses_until);
}

void job_state_machine::planner_event(plan_event::kind what, std::uint64_t unit,
                                      std::uint32_t elements, utc_ns predicted_end_ns) {
  plan_event event;
  event.what = what;
  event.job = job_;
  event.unit = unit;
  event.elements = elements;
  event.predicted_end_ns = predicted_end_ns;
  if (what == plan_event::kind::pending_changed)
    event.spec = std::shared_ptr<job_spec const>{event_, &event_->spec};
  plan_events_.push_back(std::move(event));
}

/// Of what started then; 0: nobody knows.
utc_ns job_state_machine::predicted_end(utc_ns started) const {
  const auto limit = event_->spec.time_limit_s;
  return limit == 0 ? 0 : started + std::int64_t{limit} * ns_per_s;
}

/// The row as it follows from the elements.
void job_state_machine::update_row() {
  std::uint32_t running = 0;
  std::uint32_t returning = 0;
  for (const auto& [element, active] : active_) {
    running += active.state == job_state::running || active.state == job_state::completing;
    returning += active.returning;
  }
  row_.elements_running = running;
  row_.elements_pending = static_cast<std::uint32_t>(waiting_count()) + returning;
  row_.elements_failed = failed_ + timed_out_ + lost_;
  if (running > 0)
    row_.state = job_state::running;
  else if (active_.size() > returning)
    row_.state = job_state::starting;
  else if (row_.elements_pending > 0)
    row_.state = job_state::pending;
  const auto held_back =
      !resting_.empty() ||
      std::any_of(unsent_.begin(), unsent_.end(), [](const auto& each) { return each.due != 0; });
  row_.reason = !writer_.refusal().empty() ? writer_.refusal()
                : held_back                ? "tried again later: " + waits_because_
                                           : std::string{};
  std::set<std::uint32_t> names;
  for (const auto& [node, at] : nodes_)
    if (std::any_of(at.slots.begin(), at.slots.end(),
                    [](const slot_state& s) { return s.unit != 0; }))
      names.insert(node);
  row_.nodelist.clear();
  for (auto node : names)
    row_.nodelist += fmt::format("{}{}", row_.nodelist.empty() ? "" : ",", node_of(node).name());
}

void job_state_machine::publish() {
  if (finished_)
    return;
  answer_spawn_waiters();
  if (all_over() && asks_in_flight_ == 0 && writer_.is_idle() && row_.ended_utc_ns != 0) {
    finish();
    return;
  }
  const auto figures = [this] {
    return std::tuple{row_.state, row_.elements_running, row_.elements_pending, row_.nodelist,
                      row_.reason};
  };
  const auto before = figures();
  update_row();
  const auto after = figures();
  if (before == after && plan_events_.empty() && ends_.empty())
    return;
  job_progress progress;
  progress.job = job_;
  progress.row = row_;
  progress.events = std::exchange(plan_events_, {});
  progress.ends = std::exchange(ends_, {});
  tell(links_.scheduler, cap_, std::move(progress));
}

/// The last element's end is durable: say so, let everyone forget the job, and go.
void job_state_machine::finish() {
  finished_ = true;
  job_progress progress;
  progress.job = job_;
  progress.row = row_;
  progress.events = std::exchange(plan_events_, {});
  progress.ends = std::exchange(ends_, {});
  progress.finished = true;
  tell(links_.scheduler, cap_, std::move(progress));
  tell(links_.authority, cap_, forget_job{job_});
  for (auto& [node, at] : nodes_)
    if (at.routed)
      for (auto incarnation : incarnations_)
        at.node.tell(cap_, forget_group{{job_, incarnation, 0}});
  for (auto& parked : parked_)
    parked.promise.pass_on(
        links_.ledger, request<locate_element>{parked.cap, {job_, parked.element, parked.step}});
  parked_.clear();
  for (auto& waiter : spawn_waiters_)
    waiter.promise.pass_on(links_.ledger, std::move(waiter.what));
  spawn_waiters_.clear();
  for (auto& waiter : step_waiters_)
    waiter.promise.pass_on(links_.ledger,
                           request<troupe::await_step>{waiter.cap, {job_, waiter.step}});
  step_waiters_.clear();
  self_->quit();
}

} // namespace troupe::actors
