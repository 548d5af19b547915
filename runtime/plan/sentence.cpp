// SPDX-License-Identifier: Apache-2.0
// Explanations as English sentences.
#include "runtime/plan/state.hpp"

#include <algorithm>
#include <array>

namespace troupe::plan {

namespace {

std::string count(std::uint64_t n, const char* noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

/// Largest unit that keeps the value above 1, with at most one decimal.
std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  std::uint64_t tenths = 0;
  for (; bytes >= 1024 && unit + 1 < units.size(); ++unit) {
    tenths = bytes % 1024 * 10 / 1024;
    bytes /= 1024;
  }
  auto text = std::to_string(bytes);
  if (tenths > 0)
    text += "." + std::to_string(tenths);
  return text + " " + units[unit];
}

std::string ordinal(std::uint64_t n) {
  constexpr std::array words{"first", "second",  "third",  "fourth", "fifth",
                             "sixth", "seventh", "eighth", "ninth",  "tenth"};
  if (n >= 1 && n <= words.size())
    return words[n - 1];
  return "number " + std::to_string(n);
}

std::string memory_clause(const job_shape& shape) {
  return shape.memory_bytes > 0 ? " and " + bytes_text(shape.memory_bytes) + " of memory" : "";
}

std::uint32_t tasks_per_node(const job_shape& shape) {
  return (shape.tasks + shape.nodes - 1) / shape.nodes;
}

// -- impossible -----------------------------------------------------------------------------------

struct cluster_limits {
  std::uint64_t nodes = 0, cores = 0, tasks = 0, fitting = 0;
  std::uint32_t cores_on_one = 0, gpus_on_one = 0;
  std::uint64_t memory_on_one = 0;
  bool featured = false; ///< any node has the features
};

cluster_limits limits_of(const node_pool& pool, const unit_need& need, bool only_up) {
  cluster_limits out;
  auto part = need.least + (need.plus_one > 0 ? 1 : 0);
  idle_rooms{pool, only_up}.each([&](std::uint32_t node, const node_room& room) {
    if (need.excludes(node))
      return true;
    auto tasks = tasks_in(need, room);
    ++out.nodes;
    out.cores += room.cores;
    out.tasks += tasks;
    out.fitting += tasks >= part ? 1 : 0;
    out.cores_on_one = std::max(out.cores_on_one, room.cores);
    out.memory_on_one = std::max(out.memory_on_one, room.memory_bytes);
    out.gpus_on_one = std::max(out.gpus_on_one, room.gpus);
    out.featured = out.featured || (room.features & need.features) == need.features;
    return true;
  });
  return out;
}

std::string wrong_in_itself(const job_shape& shape) {
  if (shape.tasks == 0 || shape.cores_per_task == 0)
    return "asks for " + count(shape.tasks, "task") + " of " + count(shape.cores_per_task, "core") +
           "; at least one of each is needed";
  if (shape.tasks > tasks_max)
    return "asks for " + count(shape.tasks, "task") + "; " + std::to_string(tasks_max) +
           " are the limit";
  if (shape.nodes > shape.tasks)
    return "asks for " + count(shape.nodes, "node") + " but only " + count(shape.tasks, "task") +
           "; every node needs at least one task";
  for (auto node : shape.required_nodes)
    if (std::find(shape.excluded_nodes.begin(), shape.excluded_nodes.end(), node) !=
        shape.excluded_nodes.end())
      return "both requires and excludes node " + std::to_string(node);
  return "";
}

std::string wrong_with_required(const job_shape& shape, const node_pool& pool,
                                const unit_need& need, bool only_up) {
  auto most = shape.nodes > 0 ? shape.nodes : shape.tasks;
  if (need.required.size() > most)
    return "requires " + count(need.required.size(), "node") + " by name but asks for " +
           (shape.nodes > 0 ? count(most, "node") : count(most, "task"));
  for (auto id : shape.required_nodes) {
    const auto* index = pool.index_of(id);
    if (index == nullptr)
      return "requires node " + std::to_string(id) + ", which does not exist";
    const auto& node = pool.at(*index);
    if (only_up && node.state != node_state::up)
      return "requires node " + std::to_string(id) + ", which is " +
             (node.state == node_state::down ? "down" : "drained");
    if (tasks_in(need, node.room_when_idle()) < need.least)
      return "requires node " + std::to_string(id) + ", which has " + count(node.cores, "core") +
             " and " + bytes_text(node.memory_bytes) + " of memory; " +
             count(need.least * std::uint64_t{shape.cores_per_task}, "core") +
             memory_clause(shape) + " are needed there";
  }
  return "";
}

} // namespace

std::string describe_impossible(const job_shape& shape, const node_pool& pool, bool only_up) {
  if (auto wrong = wrong_in_itself(shape); !wrong.empty())
    return wrong;
  auto need = resolve(shape, pool);
  if (chooser().fits(need, idle_rooms{pool, only_up}))
    return "";
  if (auto wrong = wrong_with_required(shape, pool, need, only_up); !wrong.empty())
    return wrong;
  auto have = limits_of(pool, need, only_up);
  std::string allowed = shape.excluded_nodes.empty() ? "" : " it does not exclude";
  auto which = (only_up ? "nodes that are up" : "nodes") + allowed;
  auto largest =
      "; the largest node" + std::string(only_up ? " that is up" : "") + allowed + " has ";
  if (have.nodes == 0)
    return "needs a node; there are no " + which;
  if (shape.nodes > have.nodes)
    return "needs " + count(shape.nodes, "node") + "; there are only " +
           std::to_string(have.nodes) + " " + which;
  auto on_one = std::uint64_t{shape.cores_per_task} *
                (shape.nodes > 0 ? std::max(1u, shape.tasks / shape.nodes) : 1);
  if (on_one > have.cores_on_one)
    return "needs " + count(on_one, "core") + " on one node" + largest +
           std::to_string(have.cores_on_one);
  if (shape.memory_bytes > have.memory_on_one)
    return "needs " + bytes_text(shape.memory_bytes) + " of memory on each node" + largest +
           bytes_text(have.memory_on_one);
  if (!have.featured)
    return "needs features that none of the " + which + " has together";
  auto gpus = std::uint64_t{shape.gpus_per_task} *
              (shape.nodes > 0 ? std::max(1u, shape.tasks / shape.nodes) : 1);
  if (gpus > have.gpus_on_one)
    return "needs " + count(gpus, "GPU") + " on one node" + largest +
           std::to_string(have.gpus_on_one);
  auto cores = std::uint64_t{shape.tasks} * shape.cores_per_task;
  if (cores > have.cores)
    return "needs " + count(cores, "core") + "; the " + which + " have " +
           std::to_string(have.cores) + " together";
  if (shape.nodes == 0)
    return "needs room for " + count(shape.tasks, "task") + " of " +
           count(shape.cores_per_task, "core") + memory_clause(shape) + "; the " + which +
           " have room for " + std::to_string(have.tasks);
  return "needs " + count(shape.nodes, "node") + " with " +
         count(std::uint64_t{tasks_per_node(shape)} * shape.cores_per_task, "core") +
         memory_clause(shape) + "; only " + std::to_string(have.fitting) + " of the " + which +
         " are that large";
}

const char* to_string(wait_reason reason) {
  switch (reason) {
  case wait_reason::not_waiting: return "not_waiting";
  case wait_reason::held: return "held";
  case wait_reason::begin_time: return "begin_time";
  case wait_reason::array_limit: return "array_limit";
  case wait_reason::queue_limit: return "queue_limit";
  case wait_reason::user_limit: return "user_limit";
  case wait_reason::advance: return "advance_reservation";
  case wait_reason::impossible: return "impossible";
  case wait_reason::impossible_now: return "impossible_now";
  case wait_reason::resources: return "resources";
  case wait_reason::queue_order: return "queue_order";
  case wait_reason::reservation: return "reservation";
  }
  return "unknown";
}

namespace {

std::string with_each(const job_shape& needs, std::uint32_t tasks) {
  auto text = count(std::uint64_t{tasks} * needs.cores_per_task, "free core");
  if (needs.gpus_per_task > 0)
    text += " and " + count(std::uint64_t{tasks} * needs.gpus_per_task, "free GPU");
  text += memory_clause(needs);
  return needs.features != 0 ? text + " and its features" : text;
}

std::string free_now(std::uint64_t n) {
  return ", " + std::to_string(n) + (n == 1 ? " is free now" : " are free now");
}

std::string need_clause(const explanation& why) {
  const auto& needs = why.needs;
  if (needs.nodes > 0)
    return "needs " + std::to_string(needs.nodes) + (needs.exclusive ? " idle" : "") +
           (needs.nodes == 1 ? " node with " : " nodes with ") +
           with_each(needs, tasks_per_node(needs)) + free_now(why.nodes_fitting_now);
  bool simple = needs.cores_per_task == 1 && needs.gpus_per_task == 0 && needs.memory_bytes == 0 &&
                !needs.exclusive && needs.features == 0;
  if (simple)
    return "needs " + count(needs.tasks, "core") + free_now(why.tasks_fitting_now);
  return "needs room for " + count(needs.tasks, "task") + " of " + with_each(needs, 1) +
         (needs.exclusive ? " on idle nodes" : "") + ", there is room for " +
         std::to_string(why.tasks_fitting_now) + " now";
}

/// "job 812 reaches its limit", "jobs 812, 813 and 5 others reach their limits".
std::string who_ends(const explanation& why) {
  const auto& jobs = why.waits_for;
  if (jobs.size() == 1 && why.waits_for_more == 0 && jobs[0].job == why.job)
    return "elements of its own reach their limit";
  if (jobs.size() == 1 && why.waits_for_more == 0)
    return "job " + std::to_string(jobs[0].job) + " reaches its limit";
  constexpr std::size_t named_max = 3;
  auto named = std::min(jobs.size(), named_max);
  auto others = jobs.size() - named + why.waits_for_more;
  std::string text = "jobs ";
  for (std::size_t i = 0; i < named; ++i) {
    if (i > 0)
      text += i + 1 == named && others == 0 ? " and " : ", ";
    text += std::to_string(jobs[i].job);
  }
  if (others > 0)
    text += " and " + count(others, "other");
  return text + " reach their limits";
}

std::string more_clause(const explanation& why, const wording& words) {
  const auto& needs = why.needs;
  if (!why.room_at) {
    for (const auto& awaited : why.waits_for)
      if (awaited.until == never)
        return awaited.job == why.job
                   ? "waits for elements of its own, which have no time limit"
                   : "waits for job " + std::to_string(awaited.job) + ", which has no time limit";
    return "";
  }
  auto more = needs.nodes > 0 ? why.nodes_more : why.tasks_more;
  auto text =
      (more > 0 ? std::to_string(more) + " more by " : "room by ") + words.time(*why.room_at);
  return why.waits_for.empty() ? text : text + " when " + who_ends(why);
}

std::string place_clause(const explanation& why, const wording& words) {
  if (!words.queue)
    return ordinal(why.position) + " in the queue";
  auto text = ordinal(why.position_in_queue) + " in queue `" + words.queue(why.queue) + "`";
  return why.position == why.position_in_queue ? text
                                               : text + ", " + ordinal(why.position) + " of all";
}

std::string start_clause(const explanation& why, const wording& words) {
  if (!why.expected_start)
    return "when it starts cannot be told";
  return "expected start " + words.time(*why.expected_start);
}

std::string own_clause(const explanation& why, const wording& words) {
  switch (why.reason) {
  case wait_reason::not_waiting:
    return why.units_running > 0 ? "waits for nothing: all its units have started"
                                 : "is not waiting";
  case wait_reason::held: return "held; it starts after a release";
  case wait_reason::begin_time: return "not to start before " + words.time(why.begin_time);
  case wait_reason::array_limit:
    return std::to_string(why.units_running) + " of its elements run, its limit is " +
           std::to_string(why.max_running) + "; " + std::to_string(why.units_pending) +
           " wait for one of them to end";
  case wait_reason::queue_limit:
    return (words.queue ? "queue `" + words.queue(why.queue) + "`" : "its queue") +
           " has as much running as it may";
  case wait_reason::user_limit: return "its user has as much running as they may";
  case wait_reason::advance:
    return why.begin_time > 0 ? "its reservation begins at " + words.time(why.begin_time)
                              : "its reservation is over or was cancelled";
  case wait_reason::impossible: return "can never start: " + why.impossible;
  case wait_reason::impossible_now: return "cannot start as things are: " + why.impossible;
  case wait_reason::queue_order:
  case wait_reason::reservation:
  case wait_reason::resources: break;
  }
  return "";
}

} // namespace

std::vector<std::string> reasons(const explanation& why, const wording& words) {
  if (auto own = own_clause(why, words); !own.empty())
    return {own};
  std::vector<std::string> out{place_clause(why, words)};
  if (why.reason == wait_reason::queue_order) {
    out.push_back("what it needs is free");
    out.push_back("it starts next");
    return out;
  }
  if (why.reason == wait_reason::reservation) {
    out.push_back("what it needs is free, but it would delay job " +
                  std::to_string(why.behind.value_or(0)) + ", which is ahead of it");
  } else {
    out.push_back(need_clause(why));
    if (auto more = more_clause(why, words); !more.empty())
      out.push_back(more);
  }
  out.push_back(start_clause(why, words));
  return out;
}

std::string sentence(const explanation& why, const wording& words) {
  std::string text;
  for (const auto& reason : reasons(why, words))
    text += (text.empty() ? "" : "; ") + reason;
  return text;
}

} // namespace troupe::plan
