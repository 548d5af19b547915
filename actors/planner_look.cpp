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
std::string clock_time(plan::instant at) {
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
plan::instant whole_second(plan::instant at) {
  return at % ns_per_s == 0 ? at : (at / ns_per_s + 1) * ns_per_s;
}

utc_ns told_start(const std::optional<plan::instant>& expected) {
  return expected ? whole_second(*expected) : 0;
}

std::string in_words(plan::wait_reason reason) {
  std::string text = plan::to_string(reason);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

} // namespace

plan::wording planner_state::words() const {
  plan::wording how;
  how.time = clock_time;
  if (queue_names_.size() > 1)
    how.queue = [this](plan::queue_index queue) {
      return queue < queue_names_.size() ? queue_names_[queue] : std::string{"?"};
    };
  return how;
}

expected<why_view> planner_state::why(request<why_job>& what) const {
  const auto job = what.msg.job;
  auto why = core_.why(job, world_.clock.utc());
  for (auto* told : {&why.expected_start, &why.room_at})
    if (*told)
      **told = whole_second(**told);
  why_view view;
  view.job = job;
  view.position = static_cast<std::uint32_t>(why.position);
  view.sentence = plan::sentence(why, words());
  view.expected_start_utc_ns = why.expected_start.value_or(0);
  view.reasons = plan::reasons(why, words());
  view.reasons.insert(view.reasons.begin(), plan::to_string(why.reason));
  return view;
}

job_expectations planner_state::expect(const expect_starts& what) const {
  job_expectations result;
  const auto now = world_.clock.utc();
  for (auto job : what.jobs) {
    if (!core_.knows(job))
      continue;
    job_expectation each;
    each.job = job;
    if (result.jobs.size() < reasons_told_max) {
      const auto why = core_.in_brief(job, now);
      each.reason = in_words(why.reason);
      each.expected_start_utc_ns = told_start(why.expected_start);
    }
    if (each.expected_start_utc_ns == 0)
      each.expected_start_utc_ns = told_start(core_.expected_start(job));
    result.jobs.push_back(std::move(each));
  }
  return result;
}

start_forecast planner_state::forecast(const check_job& what) {
  const auto now = world_.clock.utc();
  plan_event as;
  as.job = std::numeric_limits<job_id>::max(); // behind all others
  as.spec = what.spec;
  as.pending_elements = element_count(*what.spec);
  as.user = what.identity.user;
  as.account = what.spec->account;
  as.at_utc_ns = now;
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
        fmt::format("would start at {} at the latest", clock_time(whole_second(*found.start)));
  return result;
}

/// What is in use of each node; the scheduler knows the rest of a row.
node_rows planner_state::nodes() const {
  std::map<std::uint32_t, std::string> names;
  for (const auto& [name_of_node, id] : names_.nodes)
    names[id] = name_of_node;
  node_rows rows;
  for (const auto& node : core_.nodes()) {
    node_row row;
    row.name = names[node.id];
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
