// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

/// The scheduling core's own value types: plain integers, nothing of messages, actors or clocks.
/// `runtime/plan` serves the live planner and the simulator alike; both translate into these.
namespace troupe::plan {

using job_id = std::uint64_t;
using node_id = std::uint32_t;
using user_id = std::uint32_t;
using account_id = std::uint32_t;
using queue_index = std::uint32_t;
/// An advance reservation; 0: none.
using reservation_id = std::uint32_t;

/// A started unit (a job, or one element of an array): unique while it runs, never 0.
using slot_id = std::uint64_t;

/// A point in time and a length of time, in one unit of the caller's choice (seconds in the
/// simulator, nanoseconds in the live planner). The core only adds and compares them.
using instant = std::int64_t;
using duration = std::int64_t;

/// The end of what has no known end.
inline constexpr instant never = std::numeric_limits<instant>::max();

inline constexpr std::uint32_t cores_per_node_max = 1024;
inline constexpr std::uint32_t gpus_per_node_max = 64;
inline constexpr std::uint64_t memory_per_node_max = std::uint64_t{1} << 60;
inline constexpr std::uint32_t queues_max = 256;
inline constexpr std::size_t advance_reservations_max = 1024;
inline constexpr std::uint32_t nodes_max = 65536;
inline constexpr std::uint32_t tasks_max = 1u << 24;
/// Leases reported at once (see `planner_core::refill_allowed`).
inline constexpr std::size_t leases_max = 64;

enum class node_state : std::uint8_t {
  up,      ///< takes starts
  drained, ///< what runs goes on, no starts
  down,    ///< no starts; the caller reports the ends of what ran there when it knows them
};

struct node_config {
  node_id id = 0;
  std::uint32_t cores = 0;        ///< 1 … cores_per_node_max
  std::uint64_t memory_bytes = 0; ///< what jobs may ask for
  /// Group (socket or L3) of each core, values < cores; empty: one group. Placement prefers one.
  std::vector<std::uint32_t> core_groups;
  node_state state = node_state::up;
  /// The group of each GPU, in the numbers of `core_groups`: as many as the node has, at most
  /// `gpus_per_node_max`. Those in the group of a task's cores are preferred.
  std::vector<std::uint32_t> gpu_groups = {};
  std::uint64_t features = 0; ///< one bit each; their names are the caller's
};

/// What one unit needs. Jobs of equal shape and limit form a class: when one cannot start in a
/// pass, none of the others is looked at.
struct job_shape {
  /// Exactly this many nodes, tasks spread as evenly as possible (the first nodes take one more);
  /// 0: as few nodes as possible, filled in node order.
  std::uint32_t nodes = 0;
  std::uint32_t tasks = 1;
  std::uint32_t cores_per_task = 1;
  std::uint64_t memory_bytes = 0;      ///< on each node of the unit; 0 takes none
  bool exclusive = false;              ///< nodes are taken whole, and only when idle
  std::vector<node_id> required_nodes; ///< each is part of the placement (others may be too)
  std::vector<node_id> excluded_nodes; ///< none is
  std::uint32_t gpus_per_task = 0;
  std::uint64_t features = 0;     ///< every node of the unit has all of them
  reservation_id reservation = 0; ///< runs inside this advance reservation alone; 0: outside of all

  auto operator<=>(const job_shape&) const = default;
};

struct job_request {
  job_id id = 0;
  std::uint64_t seq = 0;     ///< submission order
  std::int64_t priority = 0; ///< higher goes first; equal: the lower seq
  job_shape shape;
  duration time_limit = 0; ///< 0: none; the planner's `unknown_limit` is assumed
  bool held = false;
  instant begin_time = 0; ///< not before; 0: any time
  bool is_array = false;
  std::uint32_t pending = 1;     ///< units not started yet (1, or the elements of an array)
  std::uint32_t max_running = 0; ///< at most so many units at once (`-a 1-1000%50`); 0: no limit
  queue_index queue = 0;         ///< one without configuration has no limits and priority 0
  user_id user = 0;
  account_id account = 0;
  std::int32_t nice = 0; ///< lowers its priority, weighed by `priority_config::nice`
  instant submitted = 0; ///< what its age counts from
  duration expected = 0; ///< what orders take it to run for; 0: guessed from its user's last jobs
};

/// The part of a unit on one node.
struct node_share {
  node_id node = 0;
  std::uint32_t tasks = 0;
  std::uint64_t memory_bytes = 0;
  /// tasks × cores_per_task core numbers; task k owns [k·cores_per_task, (k+1)·cores_per_task).
  std::vector<std::uint16_t> cores;
  /// tasks × gpus_per_task GPU numbers; task k owns [k·gpus_per_task, (k+1)·gpus_per_task).
  std::vector<std::uint16_t> gpus = {};

  bool operator==(const node_share&) const = default;
};

/// In node order; ranks are counted through the shares in this order.
using placement = std::vector<node_share>;

struct started_unit {
  slot_id slot = 0;
  instant predicted_end = never;
  placement where;

  bool operator==(const started_unit&) const = default;
};

/// `units.size()` units of `job` start now. The resources are already taken when it is returned.
struct decision {
  job_id job = 0;
  bool backfilled = false;
  std::vector<started_unit> units;

  bool operator==(const decision&) const = default;
};

/// From now on `job` may (or may no longer) start its next element in a slot it holds, unasked.
struct lease_change {
  job_id job = 0;
  bool allowed = false;

  bool operator==(const lease_change&) const = default;
};

/// What a blocked job will get, and when: from it follows who may start before it.
struct reservation {
  struct share {
    node_id node = 0;
    std::uint32_t cores = 0;
    std::uint64_t memory_bytes = 0;
    std::uint32_t gpus = 0;
    bool operator==(const share&) const = default;
  };
  job_id job = 0;
  instant at = never; ///< shadow time; `never`: it waits for units without a known end
  std::vector<share> shares;

  bool operator==(const reservation&) const = default;
};

/// A running unit has to make room: it is to be requeued when its grace is over.
struct preemption {
  job_id job = 0;
  slot_id slot = 0;
  instant until = 0;  ///< by then its resources are planned with
  job_id for_job = 0; ///< who gets them

  bool operator==(const preemption&) const = default;
};

struct pass_result {
  std::vector<decision> decisions;
  std::vector<lease_change> lease_changes;
  /// Set when a job waits for resources and something could still be backfilled around it: the
  /// first of `reserved`.
  std::optional<reservation> head;
  /// In queue order, for as many blocked jobs as `planner_config::reservations` allows.
  std::vector<reservation> reserved;
  std::vector<preemption> preemptions; ///< new in this pass
  /// `starts_per_pass_max` cut the pass short: call again.
  bool more = false;
};

/// Whole nodes kept free for somebody, or for nobody (maintenance), for a time to come. Jobs that
/// run there already go on; no other is planned to be there in that time.
struct advance_reservation {
  reservation_id id = 0;
  std::vector<node_id> nodes{}; ///< or, when empty:
  std::uint32_t node_count = 0; ///< the first so many that nobody is planned to use then, or:
  std::uint64_t cores = 0;      ///< the first of these that have so many cores together
  instant from = 0, until = 0;
  std::vector<user_id> users{};       ///< who may submit jobs into it;
  std::vector<account_id> accounts{}; ///< neither: maintenance
  std::uint64_t features = 0;         ///< that chosen nodes have

  bool operator==(const advance_reservation&) const = default;
};

struct node_view {
  node_id id = 0;
  node_state state = node_state::up;
  std::uint32_t cores = 0, cores_free = 0, units = 0;
  std::uint64_t memory_bytes = 0, memory_free_bytes = 0;
  std::uint32_t gpus = 0, gpus_free = 0;
  std::uint64_t features = 0;
};

struct totals {
  std::uint64_t nodes = 0, nodes_up = 0, cores_up = 0, cores_free = 0; ///< free: of nodes up
  std::uint64_t jobs_waiting = 0;                                      ///< with pending units
  std::uint64_t units_pending = 0, units_running = 0;
};

/// Why a job has pending units; the first that applies, in this order.
enum class wait_reason : std::uint8_t {
  not_waiting, ///< unknown here, or all its units have started
  held,
  begin_time,
  array_limit,    ///< `max_running` units run
  queue_limit,    ///< its queue has as much running as it may
  user_limit,     ///< its user has, in all or in this queue
  advance,        ///< its advance reservation has not begun, or is over
  impossible,     ///< no state of this cluster can ever give it what it needs
  impossible_now, ///< only with nodes that are drained or down
  resources,      ///< what it needs is not free
  queue_order,    ///< would fit, but jobs ahead of it are to be looked at first (next pass)
  reservation,    ///< would fit, but would delay the job ahead that has the reservation
};

const char* to_string(wait_reason reason);

/// A running job that has to end (or reach its limit) before the asking one can start.
struct awaited_job {
  job_id job = 0;
  instant until = never;
  bool operator==(const awaited_job&) const = default;
};

struct explanation {
  job_id job = 0;
  wait_reason reason = wait_reason::not_waiting;
  std::uint64_t position = 0; ///< 1 = first of those that may start; 0 = not in the queue
  queue_index queue = 0;
  std::uint64_t position_in_queue = 0; ///< among the jobs of the same queue
  job_shape needs;
  std::uint32_t units_pending = 0, units_running = 0, max_running = 0;
  std::uint64_t cores_free = 0;        ///< on nodes that are up
  std::uint32_t nodes_fitting_now = 0; ///< nodes that now have room for one node's part of it
  std::uint64_t tasks_fitting_now = 0; ///< tasks of it there is room for now
  instant begin_time = 0;
  std::vector<awaited_job> waits_for; ///< by their ends, at most `awaited_max`
  std::uint32_t waits_for_more = 0;   ///< how many further ones
  /// When it would fit if nobody else waited; nothing when it fits now, or if that is unknown.
  std::optional<instant> room_at;
  std::uint32_t nodes_more = 0; ///< nodes that get room for one node's part until then
  std::uint64_t tasks_more = 0; ///< tasks
  std::optional<job_id> behind; ///< the job with the reservation, or first in the queue
  /// When its first unit starts if every running and earlier unit uses its whole limit; nothing if
  /// unknown (units without limit, too far behind).
  std::optional<instant> expected_start;
  bool promised = false;  ///< it has a reservation, at `expected_start`
  std::string impossible; ///< a sentence, with reason `impossible` or `impossible_now`
};

inline constexpr std::size_t awaited_max = 8;

/// When a unit was first and last expected to start.
struct told_start {
  instant first = 0, last = 0;
};

/// When and where a job's first unit would start if everything that runs or waits ahead of it uses
/// its whole limit.
struct forecast {
  job_id job = 0;
  std::optional<instant> start; ///< unknown: behind units without limit, or too far back
  placement where;              ///< counts of tasks; core numbers only when it starts at once
  std::string impossible;       ///< why it can never start
};

} // namespace troupe::plan
