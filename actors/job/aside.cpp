// SPDX-License-Identifier: Apache-2.0
#include "actors/job/aside.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace troupe::actors {

namespace {

constexpr std::uint64_t aside_unit_bit = std::uint64_t{1}
                                         << 62; ///< no other job's, and no job's own

} // namespace

aside_job::aside_job(self_pointer self, world& around, verified_capability cap, job_links links,
                     aside_birth birth)
    : self_{self}, world_{around}, cap_{std::move(cap)}, links_{std::move(links)}, birth_{std::move(
                                                                                       birth)} {
  for (const auto& node : birth_.nodes) {
    const auto number = node->offers->node;
    nodes_.try_emplace(number, number).first->second.meet(node);
    unasked_.insert(number);
  }
}

std::string aside_job::display_name() const {
  return fmt::format("job/{}", birth_.job);
}

job_actor::behavior_type aside_job::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<job_actor>(
      guard, on<get_status>([this](request<get_status>&) {
        return status_report{display_name(), {{"set aside", birth_.row.reason}}};
      }),
      on<tick>([this](request<tick>&) {
        hold_places();
        finish_if_over();
      }),
      on<preempt_units>([](request<preempt_units>&) {}),
      on<start_units>([](request<start_units>&) {}),
      on<allow_refill>([](request<allow_refill>&) {}),
      on<cancel_elements>([this](request<cancel_elements>& what) { return cancel(what); }),
      // Nothing to wait for: what it left behind ends with its launcher, and it stays aside.
      on<stop_elements>([](request<stop_elements>&) { return elements_stopping{}; }),
      on<signal_elements>(
          [this](request<signal_elements>&) -> caf::result<jobs_changed> { return refusal(); }),
      on<get_job_view>([this](request<get_job_view>& what) { return view(what); }),
      on<locate_element>(
          [this](request<locate_element>&) -> caf::result<element_location> { return refusal(); }),
      on<troupe::start_step>(
          [this](request<troupe::start_step>&) -> caf::result<step_begun> { return refusal(); }),
      on<troupe::await_step>(
          [this](request<troupe::await_step>&) -> caf::result<step_over> { return refusal(); }),
      on<troupe::await_spawned>([this](request<troupe::await_spawned>&)
                                    -> caf::result<step_spawned> { return refusal(); }),
      on<troupe::signal_step>(
          [this](request<troupe::signal_step>&) -> caf::result<jobs_changed> { return refusal(); }),
      on<report_records>([this](request<report_records>& what) { take_records(what.msg); }),
      on<hear_shepherd>([](request<hear_shepherd>&) {}),
      on<reconcile_job>([this](request<reconcile_job>& what) { return reconcile(what.msg); }));
}

caf::error aside_job::refusal() const {
  return auth::to_caf(
      error{errc::conflict, fmt::format("job {} is {}; 'troupe cancel {}' ends it", birth_.job,
                                        birth_.row.reason, birth_.job)});
}

caf::result<job_view> aside_job::view(const request<get_job_view>& what) const {
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, birth_.uid, birth_.job,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  job_view result;
  result.row = birth_.row;
  result.spec = birth_.spec;
  return result;
}

/// That it is to end is durable before the answer; its own end is written when nothing is left.
caf::result<jobs_changed> aside_job::cancel(request<cancel_elements>& what) {
  if (auto ok = what.cap.permits(verb::job_cancel, verb::job_cancel_any, birth_.uid, birth_.job,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  const auto whole =
      std::all_of(what.msg.ranges.begin(), what.msg.ranges.end(),
                  [](const number_range& range) { return range.first == no_element; });
  if (!whole)
    return auth::to_caf(
        error{errc::conflict, fmt::format("job {} is {}; its elements cannot be told apart: "
                                          "'troupe cancel {}' ends all of it",
                                          birth_.job, birth_.row.reason, birth_.job)});
  if (!birth_.ending.empty())
    return jobs_changed{1, 0, {}};
  auto reason = what.msg.reason.empty() ? std::string{"cancelled"} : what.msg.reason;
  ledger_entry entry;
  entry.job = birth_.job;
  entry.what = ledger_entry::kind::cancelled;
  entry.encoded = to_cbor(cancelled_event{what.msg.by_uid, {}, reason, {}});
  entry.uid = birth_.uid;
  append_entries entries;
  entries.essential = true;
  entries.entries.push_back(std::move(entry));
  auto promise = self_->make_response_promise<jobs_changed>();
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, promise, reason](entries_kept&) mutable {
            birth_.ending = reason;
            promise.deliver(jobs_changed{1, 1, {}});
            end_all();
            finish_if_over();
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

void aside_job::end_all() {
  for (const auto& [node, groups] : running_)
    for (const auto& [group, elements] : groups)
      if (const auto at = nodes_.find(node); at != nodes_.end())
        at->second.tell(cap_, end_group{group, 0, no_element, birth_.spec.grace_s});
}

job_agreed aside_job::reconcile(const reconcile_job& what) {
  auto& node = nodes_.try_emplace(what.node, what.node).first->second;
  node.compared(what.instance, what.comparison);
  unasked_.erase(what.node);
  auto& here = running_[what.node];
  here.clear();
  std::uint32_t count = 0;
  for (const auto& group : what.groups) {
    auto& elements = here[group.group];
    for (const auto& each : group.running)
      elements.insert(each.element, each.element);
    for (const auto& range : group.queued)
      elements.insert(static_cast<std::uint32_t>(range.first),
                      static_cast<std::uint32_t>(range.last));
    count += static_cast<std::uint32_t>(elements.count());
  }
  if (count > 0)
    world_.log->warn("job {}: {}; {} elements of it on {} are left alone until it is cancelled",
                     birth_.job, birth_.row.reason, count, node.name());
  take_records({what.node, what.unacknowledged});
  if (!birth_.ending.empty())
    end_all();
  finish_if_over();
  return {count};
}

/// Nobody can say what an end means for a job like this: it is told to the log, and the launcher
/// may forget it.
void aside_job::take_records(const report_records& what) {
  using kind = element_record::kind;
  const auto at = nodes_.find(what.node);
  if (at == nodes_.end())
    return;
  acknowledge_records known;
  known.instance = at->second.instance().value_or(launcher_instance{});
  auto& here = running_[what.node];
  for (const auto& record : what.records) {
    if (record.what == kind::started) {
      here[record.group].insert(record.element, record.element);
      continue;
    }
    known.sequences.push_back(record.sequence);
    const auto ranged = record.what == kind::revoked || record.what == kind::refused;
    if (auto group = here.find(record.group); group != here.end()) {
      group->second.erase(record.element, ranged ? record.element_last : record.element);
      if (group->second.empty())
        here.erase(group);
    }
    if (!ranged)
      world_.log->warn("job {}, which is set aside: {} has ended on {} with exit code {}, signal "
                       "{}",
                       birth_.job, format_id(birth_.job, record.element), at->second.name(),
                       record.exit_code, record.signal);
  }
  if (!known.sequences.empty())
    at->second.tell(cap_, std::move(known));
  finish_if_over();
}

/// What it may still have is nobody else's: the planner is told of every place that the ledger
/// names.
void aside_job::hold_places() {
  if (std::exchange(held_, true))
    return;
  const auto hold = [this](std::vector<placement_part> parts) {
    plan_event event;
    event.what = plan_event::kind::restored;
    event.job = birth_.job;
    event.unit = aside_unit_bit | (birth_.job << 24) | ++units_;
    event.parts = std::move(parts);
    event.spec = std::make_shared<job_spec const>(birth_.spec);
    plan_events_.push_back(std::move(event));
  };
  for (const auto& chunk : birth_.placed) {
    if (chunk.starting.window == 0)
      hold(chunk.starting.parts);
    else
      for (const auto& slot : chunk.starting.parts)
        if (slot.ranks > 0)
          hold({slot});
  }
  publish(false);
}

/// Everybody has answered, and nothing of it is left.
void aside_job::finish_if_over() {
  const auto left = std::any_of(running_.begin(), running_.end(),
                                [](const auto& node) { return !node.second.empty(); });
  if (left || !unasked_.empty() || !held_ || writing_ || finished_)
    return;
  const auto units = std::exchange(units_, 0);
  for (std::uint64_t unit = 1; unit <= units; ++unit) {
    plan_event event;
    event.what = plan_event::kind::ended;
    event.job = birth_.job;
    event.unit = aside_unit_bit | (birth_.job << 24) | unit;
    plan_events_.push_back(std::move(event));
  }
  publish(false);
  if (birth_.ending.empty())
    return;
  auto row = birth_.row;
  row.state = job_state::cancelled;
  row.reason = fmt::format("{}; it was {}", birth_.ending, birth_.row.reason);
  row.elements_running = row.elements_pending = 0;
  row.ended_utc_ns = world_.clock.utc();
  ledger_entry entry;
  entry.job = birth_.job;
  entry.what = ledger_entry::kind::finished;
  entry.finishes = true;
  entry.row = row;
  entry.uid = birth_.uid;
  append_entries entries;
  entries.essential = true;
  entries.entries.push_back(std::move(entry));
  writing_ = true;
  ask(self_, links_.ledger, cap_, std::move(entries))
      .then(
          [this, row](entries_kept&) {
            finished_ = true;
            birth_.row = row;
            publish(true);
            for (const auto& [number, node] : nodes_)
              node.tell(cap_, forget_group{{birth_.job, 1, 0}});
            self_->quit();
          },
          [this](caf::error& why) {
            writing_ = false;
            world_.log->error("job {}: cannot record its end: {}; trying again", birth_.job,
                              from_caf(why).text);
            tick_later(self_, world_, std::chrono::seconds(1));
          });
}

void aside_job::publish(bool finished) {
  if (!finished && plan_events_.empty())
    return;
  job_progress progress;
  progress.job = birth_.job;
  progress.row = birth_.row;
  progress.events = std::exchange(plan_events_, {});
  progress.finished = finished;
  tell(links_.scheduler, cap_, std::move(progress));
}

} // namespace troupe::actors
