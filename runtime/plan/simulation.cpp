// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/simulation.hpp"

#include "runtime/plan/outlook.hpp"

#include <algorithm>

namespace troupe::plan {

namespace {

constexpr auto none = queue_snapshot::none;

/// Classes tried behind the first blocked job at each point in time.
constexpr std::uint32_t looked_at_max = 200;
/// Looks at a node for backfilling and its reservations, over the whole simulation. When they are
/// used up, the rest of the queue is simulated first come first served: a bound on what it costs.
constexpr std::uint64_t visits_max = 4'000'000;

} // namespace

// -- nodes ----------------------------------------------------------------------------------------

node_buckets::node_buckets(const queue_snapshot& from)
    : nodes_(from.rooms), ups_(from.up), place_by_cores_(nodes_.size()),
      place_by_gpus_(nodes_.size()) {
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    by_cores_.resize(std::max<std::size_t>(by_cores_.size(), nodes_[i].cores_all + 1));
    by_gpus_.resize(gpus_per_node_max + 1);
    if (!up(i))
      continue;
    insert(by_cores_, place_by_cores_, i, nodes_[i].cores);
    insert(by_gpus_, place_by_gpus_, i, nodes_[i].gpus);
  }
}

void node_buckets::insert(lists& in, std::vector<std::uint32_t>& places, std::uint32_t node,
                          std::size_t bucket) {
  places[node] = static_cast<std::uint32_t>(in[bucket].size());
  in[bucket].push_back(node);
}

void node_buckets::erase(lists& from, std::vector<std::uint32_t>& places, std::uint32_t node,
                         std::size_t bucket) {
  auto& list = from[bucket];
  auto last = list.back();
  list[places[node]] = last;
  places[last] = places[node];
  list.pop_back();
}

void node_buckets::add(std::uint32_t node, const amounts& what, std::int32_t sign) {
  auto& free = nodes_[node];
  bool listed = up(node);
  if (listed) {
    erase(by_cores_, place_by_cores_, node, free.cores);
    erase(by_gpus_, place_by_gpus_, node, free.gpus);
  }
  free.cores += static_cast<std::uint32_t>(sign * what.cores);
  free.gpus += static_cast<std::uint32_t>(sign * what.gpus);
  free.memory_bytes += static_cast<std::uint64_t>(sign * what.memory_bytes);
  if (listed) {
    insert(by_cores_, place_by_cores_, node, free.cores);
    insert(by_gpus_, place_by_gpus_, node, free.gpus);
  }
}

/// False only if too few nodes have enough of one thing.
bool node_buckets::may_hold(const unit_need& need) const {
  auto count = [&](const lists& buckets, std::size_t least) {
    auto nodes = std::max(need.nodes, 1u);
    for (auto i = std::max<std::size_t>(least, 1); i < buckets.size() && nodes > 0; ++i)
      nodes -= static_cast<std::uint32_t>(std::min<std::size_t>(nodes, buckets[i].size()));
    return nodes == 0;
  };
  if (need.nodes == 0) {
    std::uint64_t tasks = 0;
    for (std::size_t i = need.cores_per_task; i < by_cores_.size() && tasks < need.tasks; ++i)
      tasks += by_cores_[i].size() * (i / need.cores_per_task);
    if (tasks < need.tasks)
      return false;
  }
  auto tasks = std::size_t{std::max(need.least, 1u)};
  return count(by_cores_, tasks * need.cores_per_task) &&
         (need.gpus_per_task == 0 || count(by_gpus_, tasks * need.gpus_per_task));
}

// -- the queue ------------------------------------------------------------------------------------

queue_simulation::queue_simulation(const queue_snapshot& from, std::uint64_t units_max)
    : from_(from), nodes_(from), counts_(from.counts), memos_(from.shapes.size()), now_(from.now),
      units_left_(units_max), visits_left_(visits_max), reserved_on_(from.rooms.size(), 0) {
  sort_jobs();
  sort_into_classes();
  std::vector<std::uint32_t> position_of(from.jobs.size(), none);
  for (std::uint32_t position = 0; position < order_.size(); ++position)
    position_of[order_[position]] = position;
  for (std::uint32_t row = 0; row < from.units.size(); ++row) {
    const auto& unit = from.units[row];
    if (!unit.held)
      continue;
    auto position = position_of[unit.job];
    bool counts = position != none && job_at(position).max_running > 0;
    ends_.emplace(std::max(unit.end, now_),
                  running_unit{unit.held, unit.limits, counts ? position : none, unit.cores});
  }
  for (const auto& times : from.closed)
    for (const auto& time : times)
      closings_.insert({time.from, time.to});
  for (std::uint32_t position = 0; position < order_.size(); ++position) {
    const auto& job = job_at(position);
    if (job.not_before > now_)
      arrivals_.insert({job.not_before, position});
    else if (job.max_running == 0 || job.running < job.max_running)
      join(position);
  }
}

/// In the order that the queue has now.
void queue_simulation::sort_jobs() {
  std::vector<std::pair<queue_key, std::uint32_t>> keys;
  for (std::uint32_t row = 0; row < from_.jobs.size(); ++row) {
    const auto& job = from_.jobs[row];
    if (job.units > 0 && from_.shapes[job.shape].placeable)
      keys.emplace_back(from_.by.key_at(job.key, job.view, now_), row);
  }
  std::sort(keys.begin(), keys.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [key, row] : keys) {
    const auto& job = from_.jobs[row];
    order_.push_back(row);
    left_.push_back(job.units);
    running_.push_back(job.running);
  }
  starts_.assign(order_.size(), time_ends);
}

std::vector<start_estimates::entry> queue_simulation::starts() const {
  std::vector<start_estimates::entry> out;
  out.reserve(started_);
  for (std::uint32_t position = 0; position < order_.size(); ++position)
    if (auto at = starts_[position]; at != time_ends)
      out.push_back({job_at(position).key.id, at, at, job_at(position).units});
  return out;
}

/// Jobs of equal shape and limit, and of equal users where these have limits.
void queue_simulation::sort_into_classes() {
  using kind = std::tuple<std::uint32_t, duration, std::uint32_t>;
  struct hash {
    std::size_t operator()(const kind& of) const {
      auto mix = std::get<0>(of) * 0x9e3779b97f4a7c15 + static_cast<std::uint64_t>(std::get<1>(of));
      return (mix ^ (mix >> 31)) * 0xbf58476d1ce4e5b9 + std::get<2>(of);
    }
  };
  std::unordered_map<kind, std::uint32_t, hash> known;
  known.reserve(order_.size());
  for (std::uint32_t position = 0; position < order_.size(); ++position) {
    const auto& job = job_at(position);
    auto of_user_in_queue = from_.limited ? job.limits.back() : none;
    auto [it, fresh] = known.try_emplace({job.shape, job.limit, of_user_in_queue},
                                         static_cast<std::uint32_t>(classes_.size()));
    if (fresh) {
      auto least = least_need::of(from_.shapes[job.shape].need);
      least.inside = from_.shapes[job.shape].inside;
      classes_.push_back({job.shape, job.limits, job.limit, least, {}, none});
    }
    class_of_.push_back(it->second);
  }
}

const queue_snapshot::job& queue_simulation::job_at(std::uint32_t position) const {
  return from_.jobs[order_[position]];
}

void queue_simulation::join(std::uint32_t position) {
  auto& waiting = classes_[class_of_[position]].waiting;
  waiting.push_back(position);
  std::push_heap(waiting.begin(), waiting.end(), std::greater<>());
  list(class_of_[position]);
}

/// Where the class stands in the queue follows from its first job.
void queue_simulation::list(std::uint32_t index) {
  auto& group = classes_[index];
  auto first = group.waiting.empty() ? none : group.waiting.front();
  if (first == group.listed)
    return;
  if (group.listed != none)
    heads_.erase({group.listed, index});
  if (first != none)
    heads_.insert({first, index});
  group.listed = first;
}

void queue_simulation::run(std::optional<job_id> until_started) {
  wanted_ = until_started;
  do
    pass();
  while (!done_ && (!heads_.empty() || !arrivals_.empty() || !ends_.empty()) &&
         started_ < order_.size() && advance());
}

/// To the next time at which anything changes; false if there is none, or it is too far.
bool queue_simulation::advance() {
  auto next = time_ends;
  if (!ends_.empty())
    next = ends_.begin()->first;
  if (!arrivals_.empty())
    next = std::min(next, arrivals_.begin()->first);
  closings_.erase(closings_.begin(), closings_.upper_bound(now_));
  if (!closings_.empty())
    next = std::min(next, *closings_.begin());
  if (next >= unknown_ends || units_left_ == 0)
    return false;
  now_ = std::max(now_, next);
  while (!ends_.empty() && ends_.begin()->first <= now_) {
    auto unit = std::move(ends_.begin()->second);
    ends_.erase(ends_.begin());
    end(unit);
  }
  while (!arrivals_.empty() && arrivals_.begin()->first <= now_) {
    join(arrivals_.begin()->second);
    arrivals_.erase(arrivals_.begin());
  }
  return true;
}

void queue_simulation::end(const running_unit& unit) {
  for (const auto& held : *unit.held)
    give_back(held);
  count(unit.limits, unit.cores, false);
  if (unit.position == none)
    return;
  auto limit = job_at(unit.position).max_running;
  if (running_[unit.position]-- == limit && left_[unit.position] > 0)
    join(unit.position);
}

void queue_simulation::give_back(const queue_snapshot::share& held) {
  auto tasks = [&]() -> std::uint32_t {
    const auto& need = from_.shapes[classes_[class_of_[awaited_.position]].shape].need;
    auto fit = tasks_in(need, nodes_.at(held.node));
    return fit < need.least ? 0 : fit;
  };
  auto before = awaited_.position == none ? 0 : tasks();
  nodes_.add(held.node, held.taken, 1);
  if (awaited_.position == none)
    return;
  auto after = tasks();
  awaited_.nodes += before == 0 && after > 0 ? 1 : 0;
  awaited_.tasks += after - before;
}

/// It did not fit, and not enough has ended since.
bool queue_simulation::still_awaited(std::uint32_t position) const {
  if (awaited_.position != position)
    return false;
  const auto& need = from_.shapes[classes_[class_of_[position]].shape].need;
  return need.nodes > 0 ? awaited_.nodes < need.nodes : awaited_.tasks < need.tasks;
}

void queue_simulation::count(const queue_snapshot::limit_rows& limits, std::uint64_t cores,
                             bool starts) {
  if (!from_.limited)
    return;
  for (auto row : limits)
    if (row < counts_.size()) {
      counts_[row].running.units += starts ? 1 : ~0u;
      counts_[row].running.cores += starts ? cores : ~cores + 1;
    }
}

bool queue_simulation::limited(const job_class& group) const {
  if (!from_.limited)
    return false;
  auto cores = from_.shapes[group.shape].need.cores();
  return std::any_of(group.limits.begin(), group.limits.end(), [&](std::uint32_t row) {
    return row < counts_.size() && !counts_[row].has_room(cores);
  });
}

void queue_simulation::pass() {
  ++pass_;
  failed_.clear();
  bool blocked = false;
  std::uint32_t looked_at = 0;
  for (auto at = heads_.begin(); at != heads_.end() && !done_ && looked_at < looked_at_max;) {
    auto [position, index] = *at;
    auto& group = classes_[index];
    if (limited(group)) {
      ++at;
      ++looked_at;
      continue;
    }
    if (visits_left_ == 0 && still_awaited(position))
      return;
    awaited_.position = none;
    bool own = reserved_for_ == position;
    if (try_start(group, !own && reserved_for_ != none)) {
      if (own)
        reserved_for_ = none;
      list(index);
      at = heads_.lower_bound({position, 0});
      continue;
    }
    if (visits_left_ == 0) {
      reserved_for_ = none;
      if (was_looked_for_)
        awaited_ = {position, static_cast<std::uint32_t>(offers_.size()), offered_tasks_};
      return;
    }
    if (!std::exchange(blocked, true) && reserved_for_ != position)
      reserve(group);
    ++looked_at;
    ++at;
  }
}

bool queue_simulation::try_start(job_class& group, bool beside) {
  was_looked_for_ = false;
  if (units_left_ == 0)
    return false;
  auto& memo = memos_[group.shape];
  if (memo.no_room_in_pass == pass_ ||
      (memo.not_beside_in_pass == pass_ && group.limit >= memo.not_beside_limit))
    return false;
  const auto& shape = from_.shapes[group.shape];
  auto end = until(now_, group.limit);
  if (shape.inside && (now_ < shape.from || end > shape.to))
    return false;
  beside = beside && (end == time_ends || end > shadow_);
  if (failed_.turns_down(group.least, group.limit) ||
      (!shape.inside && !nodes_.may_hold(shape.need)))
    return false;
  was_looked_for_ = !shape.inside && from_.closed.empty();
  if (choose(group, end, beside)) {
    start(group, end);
    return true;
  }
  if (beside) {
    memo.not_beside_in_pass = pass_;
    memo.not_beside_limit = group.limit;
  } else if (from_.closed.empty()) {
    memo.no_room_in_pass = pass_;
  }
  // Beside the reservation, or before a closed time, it is for such limits only.
  bool always = !beside && from_.closed.empty();
  if (!shape.inside && says_all(shape.need))
    failed_.note(group.least, always ? 0 : group.limit);
  return false;
}

void queue_simulation::start(job_class& group, instant end) {
  auto position = group.waiting.front();
  const auto& job = job_at(position);
  const auto& need = from_.shapes[group.shape].need;
  running_unit unit{{}, group.limits, job.max_running > 0 ? position : none, need.cores()};
  auto shares = std::make_shared<std::vector<queue_snapshot::share>>();
  for (const auto& share : chosen_) {
    const auto& room = nodes_.at(share.node);
    amounts taken{static_cast<std::int64_t>(need.memory_bytes),
                  static_cast<std::int32_t>(need.exclusive ? room.cores_all
                                                           : share.tasks * need.cores_per_task),
                  static_cast<std::int32_t>(share.tasks * need.gpus_per_task)};
    nodes_.add(share.node, taken, -1);
    shares->push_back({share.node, taken});
  }
  unit.held = std::move(shares);
  count(group.limits, unit.cores, true);
  ends_.emplace(end == time_ends ? promised_end(ends_.size()) : end, std::move(unit));
  if (starts_[position] == time_ends) {
    starts_[position] = now_;
    ++started_;
  }
  if (wanted_ == job.key.id) {
    done_ = true;
    start_of_wanted_ = now_;
  }
  --units_left_;
  ++running_[position];
  bool at_limit = job.max_running > 0 && running_[position] >= job.max_running;
  if (--left_[position] == 0 || at_limit) {
    std::pop_heap(group.waiting.begin(), group.waiting.end(), std::greater<>());
    group.waiting.pop_back();
  }
}

// -- places ---------------------------------------------------------------------------------------

bool queue_simulation::closed(std::uint32_t node, instant end) const {
  if (from_.closed.empty())
    return false;
  const auto& times = from_.closed[node];
  return std::any_of(times.begin(), times.end(), [&](const queue_snapshot::closed_time& time) {
    return time.from < end && now_ < time.to;
  });
}

/// False when enough nodes have been seen.
bool queue_simulation::offer(const unit_need& need, std::uint32_t node, instant end, bool beside) {
  visits_left_ -= visits_left_ > 0 ? 1 : 0;
  if (need.excludes(node) || (beside && reserved_on_[node] == reserved_for_ + 1))
    return true;
  auto tasks = tasks_in(need, nodes_.at(node));
  if (tasks < need.least || tasks == 0 || (end != now_ && closed(node, end)))
    return true;
  if (std::any_of(offers_.begin(), offers_.end(),
                  [&](const task_share& share) { return share.node == node; }) &&
      !need.required.empty())
    return true;
  offers_.push_back({node, tasks});
  offered_tasks_ += tasks;
  offered_large_ += tasks > need.least ? 1 : 0;
  if (need.nodes > 0)
    return offers_.size() < need.nodes || offered_large_ < need.plus_one;
  return offered_tasks_ < need.tasks;
}

bool queue_simulation::choose(const job_class& group, instant end, bool beside) {
  const auto& shape = from_.shapes[group.shape];
  const auto& need = shape.need;
  offers_.clear();
  offered_tasks_ = 0;
  offered_large_ = 0;
  for (auto node : need.required)
    if (!nodes_.up(node) || (offer(need, node, end, beside), offers_.empty()) ||
        offers_.back().node != node)
      return false;
  if (shape.inside) {
    for (auto node : shape.nodes)
      if (nodes_.up(node) && !offer(need, node, now_, beside))
        break;
  } else if (need.nodes == 0 && need.tasks > 1) {
    nodes_.each_from_roomiest(need.cores_per_task,
                              [&](std::uint32_t node) { return offer(need, node, end, beside); });
  } else {
    auto each = std::max(need.least, 1u);
    nodes_.each(each * need.cores_per_task, each * need.gpus_per_task,
                [&](std::uint32_t node) { return offer(need, node, end, beside); });
  }
  return settle(need);
}

/// From what was offered to who takes how many tasks.
bool queue_simulation::settle(const unit_need& need) {
  chosen_.clear();
  if (need.nodes == 0) {
    if (offered_tasks_ < need.tasks)
      return false;
    auto left = need.tasks;
    for (auto& share : offers_) {
      share.tasks = std::min(share.tasks, left);
      left -= share.tasks;
      if (share.tasks > 0)
        chosen_.push_back(share);
    }
    return true;
  }
  if (offers_.size() < need.nodes || offered_large_ < need.plus_one)
    return false;
  auto large = need.plus_one;
  auto small = need.nodes - need.plus_one;
  for (const auto& share : offers_) {
    bool takes_more = large > 0 && share.tasks > need.least;
    if (!takes_more && small == 0)
      continue;
    chosen_.push_back({share.node, need.least + (takes_more ? 1 : 0)});
    (takes_more ? large : small) -= 1;
  }
  return large == 0 && small == 0;
}

/// The first blocked job's shadow time, and the nodes that it will have then.
void queue_simulation::reserve(const job_class& group) {
  const auto& need = from_.shapes[group.shape].need;
  reserved_for_ = group.waiting.front();
  shadow_ = time_ends;
  std::unordered_map<std::uint32_t, node_room> rooms; // of nodes on which something has ended
  std::unordered_map<std::uint32_t, std::uint32_t> good;
  std::uint64_t tasks_sum = 0;
  std::uint32_t large = 0;
  auto note = [&](std::uint32_t node, const node_room& room) {
    auto tasks = need.excludes(node) ? 0 : tasks_in(need, room);
    if (tasks == 0 || tasks < need.least)
      return true;
    auto& known = good[node];
    large += tasks > need.least && known <= need.least ? 1 : 0;
    tasks_sum += tasks - known;
    known = tasks;
    return true;
  };
  auto enough = [&] {
    return need.nodes > 0 ? good.size() >= need.nodes && large >= need.plus_one
                          : tasks_sum >= need.tasks;
  };
  auto cores = std::max(need.least, 1u) * need.cores_per_task;
  nodes_.each(cores, std::max(need.least, 1u) * need.gpus_per_task,
              [&](std::uint32_t node) { return note(node, nodes_.at(node)); });
  auto at = ends_.begin();
  for (; !enough() && at != ends_.end() && at->first < unknown_ends && visits_left_ > 0; ++at)
    for (const auto& held : *at->second.held) {
      visits_left_ -= visits_left_ > 0 ? 1 : 0;
      if (!nodes_.up(held.node))
        continue;
      auto& room = rooms.try_emplace(held.node, nodes_.at(held.node)).first->second;
      room.cores += static_cast<std::uint32_t>(held.taken.cores);
      room.gpus += static_cast<std::uint32_t>(held.taken.gpus);
      room.memory_bytes += static_cast<std::uint64_t>(held.taken.memory_bytes);
      note(held.node, room);
      shadow_ = at->first;
    }
  if (!enough())
    shadow_ = time_ends;
  for (const auto& [node, tasks] : good)
    reserved_on_[node] = reserved_for_ + 1;
}

} // namespace troupe::plan
