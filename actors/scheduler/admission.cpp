// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"
#include "config/latest_time.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: say whether a job may enter the queue, and when it would start.
// Input:   a spec, and who asks.
// Action:  queue, account, reservation and limits of the configuration first, then what the nodes
//          could ever give. A dry run ends with the planner's forecast; nothing is changed.
// Caveats: what is missing from a spec is filled in here, so that a later change of a default does
//          not change jobs that wait.

namespace troupe::actors {

namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string names_of(const std::vector<queue_config>& queues) {
  std::string text;
  for (const auto& queue : queues)
    text += (text.empty() ? "'" : ", '") + queue.name + "'";
  return text;
}

/// A time that is not one of ours would come out as some other one.
expected<void> check_begin(const job_spec& spec) {
  if (spec.begin_utc_ns >= 0 && spec.begin_utc_ns <= latest_time_ns)
    return {};
  return fail(
      errc::invalid,
      fmt::format("it is to begin {} s after 1970 began; 0 to {} (2100-01-01) are allowed; a "
                  "job that is to wait until somebody lets it start is held",
                  spec.begin_utc_ns / ns_per_s, latest_time_s));
}

/// Of what becomes of one job one or the other holds, never both.
expected<void> check_contradiction(const std::vector<job_dependency>& all) {
  std::set<job_id> ok;
  for (const auto& each : all)
    if (each.kind == dependency_kind::afterok)
      ok.insert(each.job);
  for (const auto& each : all)
    if (each.kind == dependency_kind::afternotok && ok.contains(each.job))
      return fail(errc::invalid,
                  fmt::format("afterok:{} and afternotok:{} can never hold both: job {} either "
                              "completes or does not",
                              each.job, each.job, each.job));
  return {};
}

} // namespace

const std::string& scheduler_state::queue_of(const job_spec& spec) const {
  return spec.queue.empty() ? config_->default_queue : spec.queue;
}

/// Could the cluster, idle and whole, ever run this?
expected<void> scheduler_state::possible(const job_spec& spec) const {
  for (const auto* names : {&spec.nodes_required, &spec.nodes_excluded})
    for (const auto& node : *names)
      if (!names_.nodes.contains(node))
        return fail(errc::invalid,
                    fmt::format("there is no node '{}'; 'troupe nodes' lists them", node));
  for (const auto& feature : spec.features)
    if (!names_.features.contains(feature))
      return fail(errc::invalid,
                  fmt::format("no node has the feature '{}'; 'troupe nodes' lists them", feature));
  std::size_t gpus = 0;
  for (const auto& [id, node] : nodes_)
    gpus = node.leaving ? gpus : std::max(gpus, node.entry->offers->gpus.size());
  if (spec.gpus_per_task > gpus)
    return fail(errc::invalid, fmt::format("needs {} GPUs for each task; the most that a node has "
                                           "is {}",
                                           spec.gpus_per_task, gpus));
  auto shape = shape_of(spec, names_);
  shape.reservation = 0; // the nodes alone are known here
  if (auto why = shapes_.impossible(shape))
    return fail(errc::invalid, *why);
  return {};
}

expected<scheduler_state::admitted_queue>
scheduler_state::admit_queue(const job_spec& spec, const job_identity& who) const {
  const auto& name_of_queue = queue_of(spec);
  const auto* queue = config_->find_queue(name_of_queue);
  if (!queue)
    return fail(errc::invalid, fmt::format("there is no queue '{}'; this cluster has {}",
                                           name_of_queue, names_of(config_->queues)));
  const auto open = queue->users.empty() && queue->groups.empty();
  const auto in_group = [&](std::uint32_t group) {
    return std::find(queue->group_ids.begin(), queue->group_ids.end(), group) !=
           queue->group_ids.end();
  };
  if (!open && !contains(queue->users, who.user) && !in_group(who.gid) &&
      std::none_of(who.groups.begin(), who.groups.end(), in_group))
    return fail(errc::refused, fmt::format("the queue '{}' is not open to user '{}'; 'troupe "
                                           "queues' says to whom",
                                           queue->name, who.user));
  if (queue->time_max_s == 0)
    return *queue;
  const auto asked = spec.time_limit_s == 0 ? queue->time_default_s : spec.time_limit_s;
  if (asked == 0)
    return fail(errc::invalid, fmt::format("jobs in the queue '{}' need a time limit of at most "
                                           "{} s; give --time",
                                           queue->name, queue->time_max_s));
  if (asked > queue->time_max_s)
    return fail(errc::invalid,
                fmt::format("a time limit of {} s is asked for; the queue '{}' allows {} s", asked,
                            queue->name, queue->time_max_s));
  return *queue;
}

expected<void> scheduler_state::admit_account(const job_spec& spec, const job_identity& who) const {
  if (spec.account.empty() || config_->accounts.empty())
    return {};
  const auto* account = config_->find_account(spec.account);
  if (!account)
    return fail(errc::invalid, fmt::format("there is no account '{}'", spec.account));
  if (!account->users.empty() && !contains(account->users, who.user))
    return fail(errc::refused,
                fmt::format("user '{}' may not charge the account '{}'", who.user, spec.account));
  return {};
}

expected<void> scheduler_state::admit_reservation(const queue_config& queue, const job_spec& spec,
                                                  const job_identity& who) const {
  if (spec.reservation.empty())
    return {};
  auto at = reservations_.find(spec.reservation);
  if (at == reservations_.end() || at->second.end_utc_ns <= world_.clock.utc())
    return fail(errc::invalid, fmt::format("there is no reservation '{}'; 'troupe reserve list' "
                                           "lists them",
                                           spec.reservation));
  const auto& what = at->second;
  if (!contains(what.users, who.user) && !contains(what.accounts, spec.account))
    return fail(errc::refused,
                fmt::format("the reservation '{}' is not for user '{}'", what.name, who.user));
  const auto asked = spec.time_limit_s == 0 ? queue.time_default_s : spec.time_limit_s;
  const auto room_s =
      (what.end_utc_ns - std::max(what.start_utc_ns, world_.clock.utc())) / ns_per_s;
  if (asked == 0 || asked > room_s)
    return fail(errc::invalid,
                fmt::format("jobs in the reservation '{}' need a time limit that ends within it; "
                            "give --time of at most {} s",
                            what.name, room_s));
  return {};
}

expected<void> scheduler_state::admit_count(const queue_config& queue,
                                            const job_identity& who) const {
  const auto above = [](std::uint64_t have, std::uint32_t most) {
    return most > 0 && have >= most;
  };
  const auto full = [&](const std::string& whose, std::uint64_t have, std::uint32_t most) {
    return fail(errc::exhausted,
                fmt::format("{} has {} unfinished jobs; {} are the limit; wait for some to end",
                            whose, have, most));
  };
  if (auto have = tally_.in_queue(queue.name); above(have, queue.all.jobs_max))
    return full(fmt::format("the queue '{}'", queue.name), have, queue.all.jobs_max);
  if (auto have = tally_.of_user_in(queue.name, who.uid); above(have, queue.each_user.jobs_max))
    return full(fmt::format("user '{}' in the queue '{}'", who.user, queue.name), have,
                queue.each_user.jobs_max);
  const auto own = config_->limits_of(who.user);
  if (auto have = tally_.of_user(who.uid); above(have, own.jobs_max))
    return full(fmt::format("user '{}'", who.user), have, own.jobs_max);
  return {};
}

/// Each of these stands on what those before it have found to be right: the first refusal is the
/// answer.
expected<scheduler_state::admitted_queue> scheduler_state::admit(const verified_capability& cap,
                                                                 const job_spec& spec,
                                                                 const job_identity& who) const {
  if (spec.nice < 0)
    if (auto may = cap.check(verb::job_modify_any, world_.clock.now()); !may)
      return fail(errc::refused, fmt::format("a nice value of {} is asked for; below 0 is for "
                                             "operators",
                                             spec.nice));
  if (auto ok = check_begin(spec).and_then([&] { return check_contradiction(spec.dependencies); });
      !ok)
    return tl::unexpected<error>{ok.error()};
  auto queue = admit_queue(spec, who);
  if (!queue)
    return queue;
  auto ok = admit_account(spec, who)
                .and_then([&] { return admit_reservation(*queue, spec, who); })
                .and_then([&] { return admit_count(*queue, who); })
                .and_then([&] { return possible(spec); });
  if (!ok)
    return tl::unexpected<error>{ok.error()};
  return queue;
}

std::shared_ptr<submitted_event const>
scheduler_state::with_defaults(const queue_config& queue,
                               std::shared_ptr<submitted_event const> event) const {
  const auto& spec = event->spec;
  const auto* account =
      spec.account.empty() ? config_->default_account_of(event->identity.user) : nullptr;
  const auto needs_time = spec.time_limit_s == 0 && queue.time_default_s != 0;
  const auto needs_queue = spec.queue.empty() && !config_->path.empty();
  if (!needs_time && !needs_queue && !account)
    return event;
  auto filled = std::make_shared<submitted_event>(*event);
  if (needs_time)
    filled->spec.time_limit_s = queue.time_default_s;
  if (needs_queue)
    filled->spec.queue = queue.name;
  if (account)
    filled->spec.account = account->name;
  return filled;
}

plan_event scheduler_state::submission_of(job_id job, std::shared_ptr<job_spec const> spec,
                                          std::uint32_t pending, const job_row& row) const {
  plan_event event;
  event.what = plan_event::kind::submitted;
  event.job = job;
  event.spec = std::move(spec);
  event.pending_elements = pending;
  event.user = row.user;
  event.account = row.account;
  event.at_utc_ns = row.submitted_utc_ns;
  return event;
}

caf::result<start_forecast> scheduler_state::check(request<check_job>& what) {
  const auto& asked = what.msg;
  if (asked.identity.uid != what.cap.who().uid)
    return auth::to_caf(error{errc::refused, "only for oneself can a job be tried"});
  if (!asked.spec->dependencies.empty())
    return auth::to_caf(error{errc::invalid, "when a job starts that depends on others cannot be "
                                             "told before it is submitted"});
  const auto queue = admit(what.cap, *asked.spec, asked.identity);
  if (!queue)
    return auth::to_caf(queue.error());
  auto as = std::make_shared<submitted_event>();
  as->spec = *asked.spec;
  as->identity = asked.identity;
  const auto filled = with_defaults(*queue, std::move(as));
  return self_->delegate(to_.planner,
                         request<check_job>{what.cap, {{filled, &filled->spec}, asked.identity}});
}

} // namespace troupe::actors
