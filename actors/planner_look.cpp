// SPDX-License-Identifier: Apache-2.0
#include "actors/planner.hpp"
#include "runtime/plan/estimates.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>

// What the planner answers: why a job waits, until when, when one would start, what is in use.

namespace troupe::actors {

namespace {

/// Reasons are told of so many jobs of a list; of those behind, the expected start alone.
constexpr std::size_t reasons_told_max = 100;

/// "14:05:00", with its date on another day.
std::string clock_time(utc_ns at) {
  const auto seconds = static_cast<std::time_t>(at / ns_per_s);
  const auto today = std::time(nullptr);
  std::tm local{}, now{};
  ::localtime_r(&seconds, &local);
  ::localtime_r(&today, &now);
  auto text = fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
  if (local.tm_yday == now.tm_yday && local.tm_year == now.tm_year)
    return text;
  return fmt::format("{}-{:02}-{:02} {}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday,
                     text);
}

/// Expected starts are told in whole seconds, everywhere the same, and never too early.
utc_ns whole_second(utc_ns at) {
  return at % ns_per_s == 0 ? at : (at / ns_per_s + 1) * ns_per_s;
}

std::string in_words(plan::wait_reason reason) {
  std::string text = plan::to_string(reason);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

} // namespace

utc_ns planner_state::told_start(const std::optional<plan::instant>& expected) const {
  return expected ? whole_second(time_.wall_of(*expected)) : 0;
}

plan::wording planner_state::words() const {
  plan::wording how;
  how.time = [this](plan::instant at) { return clock_time(time_.wall_of(at)); };
  if (queues_.size() > 1)
    how.queue = [this](plan::queue_index queue) { return queues_.name_of(queue); };
  return how;
}

expected<why_view> planner_state::why(request<why_job>& what) const {
  const auto job = what.msg.job;
  if (auto not_planned = unplanned_.find(job); not_planned != unplanned_.end()) {
    why_view view;
    view.job = job;
    view.sentence = "cannot be planned: " + not_planned->second;
    view.reasons.emplace_back("impossible");
    return view;
  }
  auto why = core_.why(job, time_.now());
  why_view view;
  view.job = job;
  view.expected_start_utc_ns = told_start(why.expected_start);
  for (auto* told : {&why.expected_start, &why.room_at})
    if (*told)
      **told = time_.of_wall(told_start(*told));
  view.position = static_cast<std::uint32_t>(why.position);
  view.sentence = plan::sentence(why, words());
  const auto missing = missing_nodes_.find(job);
  const auto is_missing =
      missing != missing_nodes_.end() && why.reason == plan::wait_reason::impossible;
  if (is_missing) {
    const auto one = missing->second.find(',') == std::string::npos;
    view.sentence = fmt::format("asks for {}, which {} not in the cluster; it waits until {}",
                                missing->second, one ? "is" : "are", one ? "it is" : "they are");
  }
  view.reasons = is_missing ? std::vector{view.sentence} : plan::reasons(why, words());
  view.reasons.insert(view.reasons.begin(), plan::to_string(why.reason));
  return view;
}

job_expectations planner_state::expect(const expect_starts& what) const {
  job_expectations result;
  const auto now = time_.now();
  for (auto job : what.jobs) {
    job_expectation each;
    each.job = job;
    if (unplanned_.contains(job)) {
      each.reason = in_words(plan::wait_reason::impossible);
      result.jobs.push_back(std::move(each));
      continue;
    }
    if (!core_.knows(job))
      continue;
    if (result.jobs.size() < reasons_told_max) {
      const auto why = core_.in_brief(job, now);
      each.reason = in_words(why.reason);
      if (const auto missing = missing_nodes_.find(job);
          missing != missing_nodes_.end() && why.reason == plan::wait_reason::impossible)
        each.reason = fmt::format("no node {}", missing->second);
      each.expected_start_utc_ns = told_start(why.expected_start);
    }
    if (each.expected_start_utc_ns == 0)
      each.expected_start_utc_ns = told_start(core_.expected_start(job));
    result.jobs.push_back(std::move(each));
  }
  return result;
}

start_forecast planner_state::forecast(const check_job& what) {
  const auto now = time_.now();
  plan_event as;
  as.job = std::numeric_limits<job_id>::max(); // behind all others
  as.spec = what.spec;
  as.pending_elements = element_count(*what.spec);
  as.user = what.identity.user;
  as.account = what.spec->account;
  as.at_utc_ns = time_.wall_of(now);
  auto job = request_of(as, as.pending_elements);
  const auto held = std::exchange(job.held, false);
  const auto found = core_.what_if(job, now);
  start_forecast result;
  for (const auto& share : found.where)
    for (const auto& [name_of_node, id] : names_.nodes)
      if (id == share.node)
        result.nodes.push_back(name_of_node);
  result.expected_start_utc_ns = held ? 0 : told_start(found.start);
  if (!found.impossible.empty())
    result.sentence = "would never start: " + found.impossible;
  else if (held)
    result.sentence = "would be held until it is released";
  else if (!found.start)
    result.sentence = "would wait; when it starts cannot be told: what is ahead of it has no time "
                      "limit, or is too much";
  else if (*found.start <= now)
    result.sentence = "would start at once";
  else
    result.sentence =
        fmt::format("would start at {} at the latest", clock_time(told_start(found.start)));
  return result;
}

/// What is in use of each node; the scheduler knows the rest of a row.
node_rows planner_state::nodes() const {
  node_rows rows;
  for (const auto& node : core_.nodes()) {
    node_row row;
    if (const auto named = node_names_.find(node.id); named != node_names_.end())
      row.name = named->second;
    row.cores = node.cores;
    row.cores_used = node.cores - node.cores_free;
    row.memory_bytes = node.memory_bytes;
    row.memory_used_bytes = node.memory_bytes - node.memory_free_bytes;
    row.gpus = node.gpus;
    row.gpus_used = node.gpus - node.gpus_free;
    row.elements_running = node.units;
    rows.nodes.push_back(std::move(row));
  }
  return rows;
}

} // namespace troupe::actors
