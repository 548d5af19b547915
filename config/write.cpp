// SPDX-License-Identifier: Apache-2.0
#include "config/cluster_config.hpp"

#include <fmt/format.h>
#include <iterator>

namespace troupe {

namespace {

/// Writes one table after another. Names hold no character that a TOML string would escape.
class writer {
public:
  void table(const std::string& name) { add("\n[{}]\n", name); }
  void number(const char* key, std::int64_t value) { add("{} = {}\n", key, value); }
  void flag(const char* key, bool value) { add("{} = {}\n", key, value); }
  void text(const char* key, const std::string& value) { add("{} = \"{}\"\n", key, value); }
  void duration(const char* key, std::uint32_t seconds) {
    text(key, seconds == 0 ? "none" : fmt::format("{}s", seconds));
  }
  void names(const char* key, const std::vector<std::string>& values) {
    std::string list;
    for (const auto& value : values)
      list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", value);
    add("{} = [{}]\n", key, list);
  }
  void limits(const usage_limits& limits) {
    number("jobs_max", limits.jobs_max);
    number("running_max", limits.running_max);
    number("cores_max", limits.cores_max);
  }
  std::string done() { return std::move(text_); }

private:
  template <class... Values>
  void add(fmt::format_string<Values...> how, Values&&... values) {
    fmt::format_to(std::back_inserter(text_), how, std::forward<Values>(values)...);
  }
  std::string text_;
};

/// A name as part of a table's own: quoted where a bare one could not be.
std::string key(const std::string& name) {
  return name.find_first_of(".@+") == std::string::npos ? name : "\"" + name + "\"";
}

void write_queue(writer& to, const queue_config& queue, bool is_default) {
  to.table("queues." + key(queue.name));
  to.flag("default", is_default);
  to.number("priority", queue.priority);
  to.duration("time_default", queue.time_default_s);
  to.duration("time_max", queue.time_max_s);
  to.limits(queue.all);
  to.names("users", queue.users);
  to.names("groups", queue.groups);
  to.names("preempts", queue.preempts);
  to.duration("grace", queue.grace_s);
  to.table("queues." + key(queue.name) + ".each_user");
  to.limits(queue.each_user);
}

} // namespace

std::string to_toml(const cluster_config& config) {
  writer to;
  to.table("scheduling");
  to.flag("backfill", config.scheduling.backfill);
  to.number("reservations", config.scheduling.reservations);
  to.text("order", config.scheduling.order);
  to.text("backfill_order", config.scheduling.backfill_order);
  to.duration("overtake_limit", config.scheduling.overtake_limit_s);
  to.table("priority");
  to.number("age", config.priority.age);
  to.duration("age_period", config.priority.age_period_s);
  to.number("size", config.priority.size);
  to.number("queue", config.priority.queue);
  to.number("fair_share", config.priority.fair_share);
  to.number("nice", config.priority.nice);
  to.table("fair_share");
  to.duration("half_life", config.half_life_s);
  for (const auto& queue : config.queues)
    write_queue(to, queue, queue.name == config.default_queue);
  for (const auto& account : config.accounts) {
    to.table("accounts." + key(account.name));
    if (!account.parent.empty())
      to.text("parent", account.parent);
    to.number("shares", account.shares);
    to.names("users", account.users);
  }
  to.table("each_user");
  to.limits(config.each_user);
  for (const auto& [name, limits] : config.users) {
    to.table("users." + key(name));
    to.limits(limits);
  }
  for (const auto& node : config.nodes) {
    to.table("nodes." + key(node.name));
    if (node.gpus)
      to.number("gpus", *node.gpus);
    to.names("features", node.features);
  }
  return to.done().substr(1);
}

} // namespace troupe
