// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/policy.hpp"
#include "runtime/plan/types.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

/// The policy written to be read, not to be fast: it enumerates every distribution of tasks over
/// nodes, tries every time at which anything changes, and recomputes every sum from the lists of
/// running units and promises. Small clusters only.
namespace troupe::plan::reference {

/// Where units without a known end end, in the order of their starts; those that are only promised
/// come last.
inline constexpr instant far = instant{1} << 62;
inline constexpr instant farther = far + (instant{1} << 60);

struct node {
  node_id id = 0;
  std::uint32_t cores = 0;
  std::uint64_t memory = 0;
  node_state state = node_state::up;
  std::uint32_t gpus = 0;
  std::uint64_t features = 0;
};

/// Tasks per node, in node order; 0 = not used.
using spread = std::vector<std::uint32_t>;

struct unit {
  job_id job = 0;
  slot_id slot = 0;
  std::uint64_t order = 0; ///< of starting
  instant end = never;
  job_shape shape;
  spread tasks;
  instant planned() const { return end == never ? far + static_cast<instant>(order) : end; }
};

/// What a job is promised.
struct claim {
  instant from = 0, to = 0;
  job_shape shape;
  spread tasks;
};

struct job {
  job_request request;
  std::uint32_t running = 0;
  std::optional<claim> promise;
};

struct start {
  job_id job = 0;
  bool backfilled = false;
  spread tasks;
  bool operator==(const start&) const = default;
};

struct promise {
  job_id job = 0;
  instant at = 0;
  spread tasks;
  bool operator==(const promise&) const = default;
};

struct outcome {
  std::vector<start> starts;
  std::vector<promise> reserved;
};

/// What a node could give, at some time and beside some others.
struct room {
  std::int64_t cores = 0, memory = 0, gpus = 0;
  bool usable = false;

  void cap(const room& other) {
    cores = std::min(cores, other.cores);
    memory = std::min(memory, other.memory);
    gpus = std::min(gpus, other.gpus);
    usable = usable && other.usable;
  }
};

using rooms = std::vector<room>;

inline bool contains(const std::vector<node_id>& ids, node_id id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

struct world {
  planner_config config;
  priority_config priorities;
  std::map<queue_index, queue_config> queues;
  std::map<user_id, run_limits> users;
  std::map<account_id, double> shares;
  std::vector<node> nodes;
  std::vector<unit> running;
  std::vector<job> jobs;
  std::vector<advance_reservation> advance;
  std::uint64_t started = 0;

  const advance_reservation* find_advance(reservation_id id, instant now) const {
    for (const auto& each : advance)
      if (each.id == id && each.until > now)
        return &each;
    return nullptr;
  }

  rooms whole(bool any_state) const {
    rooms out;
    for (const auto& n : nodes)
      out.push_back({n.cores, static_cast<std::int64_t>(n.memory), n.gpus,
                     any_state || n.state == node_state::up});
    return out;
  }

  void take(rooms& from, const job_shape& shape, const spread& tasks) const {
    for (std::size_t i = 0; i < nodes.size(); ++i)
      if (tasks[i] > 0) {
        from[i].cores -= shape.exclusive ? nodes[i].cores : tasks[i] * shape.cores_per_task;
        from[i].memory -= static_cast<std::int64_t>(shape.memory_bytes);
        from[i].gpus -= tasks[i] * shape.gpus_per_task;
      }
  }

  rooms free_now() const {
    auto out = whole(false);
    for (const auto& u : running)
      take(out, u.shape, u.tasks);
    return out;
  }

  /// What is planned to be free at `at`, as a job inside `inside` sees it.
  rooms planned(instant at, const std::vector<claim>& claims,
                const advance_reservation* inside) const {
    auto out = whole(false);
    for (const auto& u : running)
      if (u.planned() > at)
        take(out, u.shape, u.tasks);
    for (const auto& c : claims)
      if (c.from <= at && at < c.to)
        take(out, c.shape, c.tasks);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (inside != nullptr &&
          (!contains(inside->nodes, nodes[i].id) || at < inside->from || at >= inside->until))
        out[i].usable = false;
      for (const auto& each : advance)
        if (&each != inside && each.from <= at && at < each.until &&
            contains(each.nodes, nodes[i].id))
          out[i].usable = false;
    }
    return out;
  }

  /// Every time at which what is planned may change.
  std::set<instant> changes(const std::vector<claim>& claims, instant now) const {
    std::set<instant> out{now};
    for (const auto& u : running)
      out.insert(u.planned());
    for (const auto& c : claims)
      out.insert({c.from, c.to});
    for (const auto& each : advance)
      out.insert({each.from, each.until});
    out.erase(out.begin(), out.find(now));
    return out;
  }

  /// What stays free from `from` until `to`.
  rooms through(instant from, instant to, const std::vector<claim>& claims,
                const advance_reservation* inside) const {
    auto out = planned(from, claims, inside);
    for (auto at : changes(claims, from))
      if (at > from && at < to) {
        auto then = planned(at, claims, inside);
        for (std::size_t i = 0; i < out.size(); ++i)
          out[i].cap(then[i]);
      }
    return out;
  }

  duration limit_of(const job_request& j) const {
    auto limit = j.time_limit > 0 ? j.time_limit : config.unknown_limit;
    return limit == 0 ? never : limit;
  }
  instant end_if(const job_request& j, instant start) const {
    auto limit = limit_of(j);
    return limit == never || start >= far ? never : start + limit;
  }

  // -- limits -------------------------------------------------------------------------------------

  static std::uint64_t cores_of(const job_request& j) {
    return std::uint64_t{j.shape.tasks} * j.shape.cores_per_task;
  }
  template <class F>
  bool has_room(const run_limits& most, std::uint64_t cores, F&& counts) const {
    run_limits is;
    for (const auto& j : jobs)
      if (counts(j.request)) {
        is.units += j.running;
        is.cores += j.running * cores_of(j.request);
      }
    return (most.units == 0 || is.units < most.units) &&
           (most.cores == 0 || is.cores + cores <= most.cores);
  }
  bool limited(const job_request& r) const {
    auto queue = queues.find(r.queue);
    auto user = users.find(r.user);
    auto cores = cores_of(r);
    auto same_queue = [&](const job_request& o) { return o.queue == r.queue; };
    auto same_user = [&](const job_request& o) { return o.user == r.user; };
    if (user != users.end() && !has_room(user->second, cores, same_user))
      return true;
    return queue != queues.end() &&
           (!has_room(queue->second.all, cores, same_queue) ||
            !has_room(queue->second.per_user, cores,
                      [&](const job_request& o) { return same_queue(o) && same_user(o); }));
  }
};

/// The best of all distributions, or nothing.
class search {
public:
  search(const world& w, const job_shape& shape, const rooms& in)
      : world_(w), shape_(shape), rooms_(in) {
    for (auto id : shape.required_nodes)
      if (std::none_of(w.nodes.begin(), w.nodes.end(), [&](const node& n) { return n.id == id; }))
        return;
    spread tasks(in.size(), 0);
    extend(tasks, 0, shape.tasks);
  }

  std::optional<spread> best() const { return best_; }

  std::uint32_t capacity(std::size_t i) const {
    const auto& r = rooms_[i];
    const auto& n = world_.nodes[i];
    if (!r.usable || contains(shape_.excluded_nodes, n.id) || r.cores <= 0 || r.gpus < 0 ||
        r.memory < static_cast<std::int64_t>(shape_.memory_bytes) ||
        (shape_.exclusive && r.cores != n.cores) ||
        (n.features & shape_.features) != shape_.features)
      return 0;
    auto tasks = static_cast<std::uint32_t>(r.cores) / shape_.cores_per_task;
    return shape_.gpus_per_task == 0
               ? tasks
               : std::min(tasks, static_cast<std::uint32_t>(r.gpus) / shape_.gpus_per_task);
  }

private:
  void extend(spread& tasks, std::size_t i, std::uint32_t left) {
    if (i == tasks.size()) {
      if (left == 0 && allowed(tasks) && (!best_ || better(tasks, *best_)))
        best_ = tasks;
      return;
    }
    for (std::uint32_t n = 0; n <= std::min(left, capacity(i)); ++n) {
      tasks[i] = n;
      extend(tasks, i + 1, left - n);
    }
    tasks[i] = 0;
  }

  static std::uint32_t used(const spread& tasks) {
    return static_cast<std::uint32_t>(
        std::count_if(tasks.begin(), tasks.end(), [](auto n) { return n > 0; }));
  }

  bool allowed(const spread& tasks) const {
    for (std::size_t i = 0; i < tasks.size(); ++i)
      if (tasks[i] == 0 && contains(shape_.required_nodes, world_.nodes[i].id))
        return false;
    if (shape_.nodes == 0)
      return true;
    std::uint32_t low = shape_.tasks;
    std::uint32_t high = 0;
    for (auto n : tasks)
      if (n > 0) {
        low = std::min(low, n);
        high = std::max(high, n);
      }
    return used(tasks) == shape_.nodes && high - low <= 1;
  }

  std::uint64_t room_of(const spread& tasks) const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < tasks.size(); ++i)
      sum += tasks[i] > 0 ? capacity(i) : 0;
    return sum;
  }

  bool better(const spread& a, const spread& b) const {
    if (shape_.nodes == 0) {
      if (used(a) != used(b))
        return used(a) < used(b);
      // More than one node: the roomiest; one node: the first.
      if (used(a) > 1 && room_of(a) != room_of(b))
        return room_of(a) > room_of(b);
    }
    for (std::size_t i = 0; i < a.size(); ++i)
      if ((a[i] > 0) != (b[i] > 0))
        return a[i] > 0;
    return b < a;
  }

  const world& world_;
  const job_shape& shape_;
  const rooms& rooms_;
  std::optional<spread> best_;
};

inline std::optional<spread> place(const world& w, const job_shape& shape, const rooms& in) {
  return search(w, shape, in).best();
}

/// Could it start with everything that is up idle?
inline bool placeable(const world& w, const job_shape& shape, instant now) {
  auto idle = w.whole(false);
  if (shape.reservation != 0) {
    const auto* inside = w.find_advance(shape.reservation, now);
    for (std::size_t i = 0; i < idle.size(); ++i)
      idle[i].usable =
          idle[i].usable && inside != nullptr && contains(inside->nodes, w.nodes[i].id);
  }
  return place(w, shape, idle).has_value();
}

// -- order ----------------------------------------------------------------------------------------

/// Lower goes first.
using queue_place = std::tuple<std::int64_t, bool, double, double, std::uint64_t>;

inline double points_of(const world& w, const job_request& r) {
  std::uint64_t cores_all = 0;
  for (const auto& n : w.nodes)
    cores_all += n.cores;
  const auto& by = w.priorities;
  auto queue = w.queues.find(r.queue);
  auto share = w.shares.find(r.account);
  return by.size * static_cast<double>(world::cores_of(r)) / static_cast<double>(cores_all) +
         by.queue * static_cast<double>(queue == w.queues.end() ? 0 : queue->second.priority) +
         by.share * (share == w.shares.end() ? 1 : share->second) -
         by.nice * static_cast<double>(r.nice) -
         by.age * (static_cast<double>(r.submitted) / static_cast<double>(by.age_period));
}

inline queue_place key_of(const world& w, const job_request& r, queue_order order, bool by_priority,
                          instant now) {
  auto limit = w.limit_of(r);
  order_view view{limit == never ? 24 * 3600 : limit,
                  static_cast<std::uint32_t>(world::cores_of(r)), r.submitted, never};
  bool overdue = w.config.overtake_limit > 0 && now >= r.submitted + w.config.overtake_limit;
  if (overdue)
    return {-r.priority, false, 0, 0, r.seq};
  return {-r.priority, true, by_priority ? -points_of(w, r) : 0, order_key(order, view, now),
          r.seq};
}

/// Jobs that may start, in the order of the queue.
inline std::vector<job*> in_order(world& w, instant now) {
  std::vector<job*> out;
  for (auto& j : w.jobs) {
    bool limited = j.request.max_running > 0 && j.running >= j.request.max_running;
    if (!j.request.held && j.request.begin_time <= now && j.request.pending > 0 && !limited &&
        placeable(w, j.request.shape, now))
      out.push_back(&j);
  }
  auto key = [&](const job* j) { return key_of(w, j->request, w.config.order, true, now); };
  std::sort(out.begin(), out.end(), [&](const job* a, const job* b) { return key(a) < key(b); });
  return out;
}

// -- a pass ---------------------------------------------------------------------------------------

class pass_of {
public:
  pass_of(world& w, instant now) : w_(w), now_(now) {}

  outcome run() {
    auto queue = in_order(w_, now_);
    for (std::size_t next = 0; next < queue.size(); ++next) {
      if (full() || (blocked_ && !backfills_))
        break;
      if (claims_.size() >= w_.config.reservations) {
        backfill(queue);
        break;
      }
      start_while_it_fits(*queue[next]);
      if (may_start(*queue[next]) && !w_.limited(queue[next]->request) && !full())
        block(*queue[next]);
    }
    if (!claims_.empty())
      for (auto& j : w_.jobs)
        if (!promised_.contains(j.request.id))
          j.promise.reset();
    return std::move(out_);
  }

private:
  bool full() const {
    auto free = w_.free_now();
    return std::all_of(free.begin(), free.end(),
                       [](const room& r) { return !r.usable || r.cores <= 0; });
  }

  static bool may_start(const job& j) {
    return j.request.pending > 0 &&
           (j.request.max_running == 0 || j.running < j.request.max_running);
  }

  const advance_reservation* inside(const job& j) const {
    return w_.find_advance(j.request.shape.reservation, now_);
  }

  rooms room_from_now(const job& j) const {
    auto end = w_.end_if(j.request, now_);
    auto out = w_.free_now();
    auto planned = w_.through(now_, end, claims_, inside(j));
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i].cap(planned[i]);
    return out;
  }

  bool holds(const rooms& in, const job_shape& shape, const spread& tasks) const {
    search capacities(w_, shape, in);
    for (std::size_t i = 0; i < tasks.size(); ++i)
      if (tasks[i] > capacities.capacity(i))
        return false;
    return true;
  }

  void start_while_it_fits(job& j) {
    while (may_start(j) && !w_.limited(j.request)) {
      auto here = room_from_now(j);
      const auto& shape = j.request.shape;
      auto where = place(w_, shape, here);
      if (!where)
        return;
      if (j.promise && j.promise->from <= now_ && shape.reservation == 0 &&
          holds(here, shape, j.promise->tasks))
        where = j.promise->tasks;
      w_.running.push_back(
          {j.request.id, 0, ++w_.started, w_.end_if(j.request, now_), shape, *where});
      --j.request.pending;
      ++j.running;
      j.promise.reset();
      out_.starts.push_back({j.request.id, blocked_, *where});
    }
  }

  /// It goes on waiting, with a promise of the earliest start that all others leave.
  void block(job& j) {
    if (!std::exchange(blocked_, true))
      backfills_ = w_.config.backfill && classes() > 1;
    if (!backfills_)
      return;
    const auto& shape = j.request.shape;
    auto limit = w_.limit_of(j.request);
    for (auto at : w_.changes(claims_, now_)) {
      auto end = limit == never || at >= far ? never : at + limit;
      auto then = w_.through(at, end, claims_, inside(j));
      auto where = place(w_, shape, then);
      if (!where)
        continue;
      if (j.promise && j.promise->from == at && shape.reservation == 0 &&
          holds(then, shape, j.promise->tasks))
        where = j.promise->tasks;
      if (end == never)
        end = farther + static_cast<instant>(claims_.size());
      claims_.push_back({at, end, shape, *where});
      j.promise = claims_.back();
      promised_.insert(j.request.id);
      out_.reserved.push_back({j.request.id, at < far ? std::max(at, now_) : never, *where});
      return;
    }
  }

  /// How many classes wait, as the planner has them: without others nobody needs a promise.
  std::size_t classes() {
    std::set<std::tuple<job_shape, duration, queue_index, user_id, account_id, std::int32_t>> out;
    bool bounded = w_.config.overtake_limit > 0;
    for (auto* j : in_order(w_, now_)) {
      const auto& r = j->request;
      out.insert({r.shape, w_.limit_of(r), r.queue, r.user, bounded ? r.account : 0,
                  bounded ? r.nice : 0});
    }
    return out.size();
  }

  void backfill(std::vector<job*> queue) {
    if (w_.config.backfill_order != queue_order::fcfs &&
        w_.config.backfill_order != w_.config.order)
      std::stable_sort(queue.begin(), queue.end(), [&](const job* a, const job* b) {
        return key_of(w_, a->request, w_.config.backfill_order, false, now_) <
               key_of(w_, b->request, w_.config.backfill_order, false, now_);
      });
    for (auto* j : queue)
      start_while_it_fits(*j);
  }

  world& w_;
  instant now_;
  bool blocked_ = false, backfills_ = false;
  std::vector<claim> claims_;
  std::set<job_id> promised_;
  outcome out_;
};

/// Changes the world as the decisions do (slots are 0).
inline outcome pass(world& w, instant now) {
  return pass_of(w, now).run();
}

} // namespace troupe::plan::reference
