// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <vector>

/// EASY backfill written to be read, not to be fast: it enumerates every distribution of tasks over
/// nodes and recomputes every sum from the list of running units. Small clusters only.
namespace troupe::plan::reference {

struct node {
  node_id id = 0;
  std::uint32_t cores = 0;
  std::uint64_t memory = 0;
  node_state state = node_state::up;
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
};

struct job {
  job_request request;
  std::uint32_t running = 0;
};

struct start {
  job_id job = 0;
  bool backfilled = false;
  spread tasks;
  bool operator==(const start&) const = default;
};

struct outcome {
  std::vector<start> starts;
  std::optional<job_id> head;
  instant shadow = never;
};

/// What a node could give, at some time and beside some others.
struct room {
  std::uint32_t cores = 0;
  std::uint64_t memory = 0;
  bool idle = false;
  bool usable = false;
};

struct world {
  std::vector<node> nodes;
  std::vector<unit> running;
  std::vector<job> jobs;
  std::uint64_t started = 0;
  duration unknown_limit = 0;
  bool backfill = true;

  std::uint32_t cores_on(const unit& u, std::size_t i) const {
    if (u.tasks[i] == 0)
      return 0;
    return u.shape.exclusive ? nodes[i].cores : u.tasks[i] * u.shape.cores_per_task;
  }

  /// The nodes' rooms if only the units for which `counts` holds are there.
  std::vector<room> rooms(const std::function<bool(const unit&)>& counts) const {
    std::vector<room> out;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      room r{nodes[i].cores, nodes[i].memory, true, nodes[i].state == node_state::up};
      for (const auto& u : running) {
        if (!counts(u) || u.tasks[i] == 0)
          continue;
        r.cores -= cores_on(u, i);
        r.memory -= u.shape.memory_bytes;
        r.idle = false;
      }
      out.push_back(r);
    }
    return out;
  }

  instant end_of(const job_request& j, instant now) const {
    auto limit = j.time_limit > 0 ? j.time_limit : unknown_limit;
    return limit == 0 ? never : now + limit;
  }
};

inline bool contains(const std::vector<node_id>& ids, node_id id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

/// The best of all distributions, or nothing.
class search {
public:
  search(const world& w, const job_shape& shape, const std::vector<room>& rooms)
      : world_(w), shape_(shape), rooms_(rooms) {
    for (auto id : shape.required_nodes)
      if (std::none_of(w.nodes.begin(), w.nodes.end(), [&](const node& n) { return n.id == id; }))
        return;
    spread tasks(rooms.size(), 0);
    extend(tasks, 0, shape.tasks);
  }

  std::optional<spread> best() const { return best_; }

private:
  std::uint32_t capacity(std::size_t i) const {
    const auto& r = rooms_[i];
    if (!r.usable || contains(shape_.excluded_nodes, world_.nodes[i].id) ||
        r.memory < shape_.memory_bytes || (shape_.exclusive && !r.idle))
      return 0;
    return (shape_.exclusive ? world_.nodes[i].cores : r.cores) / shape_.cores_per_task;
  }

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
  const std::vector<room>& rooms_;
  std::optional<spread> best_;
};

inline std::optional<spread> place(const world& w, const job_shape& shape,
                                   const std::vector<room>& rooms) {
  return search(w, shape, rooms).best();
}

/// Jobs that may start, in queue order.
inline std::vector<job*> in_order(world& w, instant now) {
  std::vector<job*> out;
  for (auto& j : w.jobs) {
    bool limited = j.request.max_running > 0 && j.running >= j.request.max_running;
    if (!j.request.held && j.request.begin_time <= now && j.request.pending > 0 && !limited &&
        place(w, j.request.shape, w.rooms([](const unit&) { return false; })))
      out.push_back(&j);
  }
  std::sort(out.begin(), out.end(), [](const job* a, const job* b) {
    if (a->request.priority != b->request.priority)
      return a->request.priority > b->request.priority;
    return a->request.seq < b->request.seq;
  });
  return out;
}

/// One pass; changes the world as the decisions do (slots are 0).
inline outcome pass(world& w, instant now) {
  outcome out;
  auto start_unit = [&](job& j, const spread& tasks, bool backfilled) {
    w.running.push_back(
        {j.request.id, 0, ++w.started, w.end_of(j.request, now), j.request.shape, tasks});
    --j.request.pending;
    ++j.running;
    out.starts.push_back({j.request.id, backfilled, tasks});
  };
  auto all = [](const unit&) { return true; };
  auto may_start = [](const job& j) {
    return j.request.pending > 0 &&
           (j.request.max_running == 0 || j.running < j.request.max_running);
  };
  auto queue = in_order(w, now);
  std::size_t next = 0;
  for (; next < queue.size() && !out.head; ++next)
    while (may_start(*queue[next])) {
      auto where = place(w, queue[next]->request.shape, w.rooms(all));
      if (!where) {
        out.head = queue[next]->request.id;
        break;
      }
      start_unit(*queue[next], *where, false);
    }
  if (!out.head || !w.backfill)
    return out;

  const auto& head = queue[next - 1]->request;
  // Units without a known end come last, one by one, as they started.
  using moment = std::pair<instant, std::uint64_t>;
  auto end_of = [&](const unit& u) {
    return moment{std::max(u.end, now), u.end == never ? u.order : 0};
  };
  std::set<moment> ends;
  for (const auto& u : w.running)
    ends.insert(end_of(u));
  moment shadow{never, 0};
  spread promised;
  for (auto end : ends) {
    auto where = place(w, head.shape, w.rooms([&](const unit& u) { return end_of(u) > end; }));
    if (!where)
      continue;
    shadow = end;
    promised = *where;
    break;
  }
  out.shadow = shadow.first;
  // What is free now, and still free at the shadow time beside the promise.
  auto spare = [&] {
    auto here = w.rooms(all);
    auto then = w.rooms([&](const unit& u) { return end_of(u) > shadow; });
    for (std::size_t i = 0; i < here.size(); ++i) {
      auto cores = promised[i] == 0       ? 0
                   : head.shape.exclusive ? w.nodes[i].cores
                                          : promised[i] * head.shape.cores_per_task;
      then[i].cores -= cores;
      then[i].memory -= promised[i] > 0 ? head.shape.memory_bytes : 0;
      here[i].idle = here[i].idle && then[i].cores == w.nodes[i].cores;
      here[i].cores = std::min(here[i].cores, then[i].cores);
      here[i].memory = std::min(here[i].memory, then[i].memory);
    }
    return here;
  };
  for (; next < queue.size(); ++next)
    while (may_start(*queue[next])) {
      auto& j = *queue[next];
      auto end = w.end_of(j.request, now);
      bool before = end != never && end <= out.shadow;
      auto where = place(w, j.request.shape, before ? w.rooms(all) : spare());
      if (!where)
        break;
      start_unit(j, *where, true);
    }
  return out;
}

} // namespace troupe::plan::reference
