// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/nodes.hpp"

#include <algorithm>
#include <array>

namespace troupe::plan {

/// What a class asks for at least, whatever its features and nodes: so many nodes, each with that.
struct least_need {
  std::uint32_t nodes = 1;
  std::uint32_t tasks = 0; ///< of `cores` each on any nodes; 0: the nodes say it all
  std::uint16_t cores = 1, gpus = 0;
  bool inside = false; ///< an advance reservation, where other things are planned
  std::uint64_t memory_bytes = 0;

  /// Where the other finds no room, neither does this.
  bool asks_no_less_than(const least_need& other) const {
    bool comparable = other.tasks == 0 || tasks >= other.tasks;
    return comparable && nodes >= other.nodes && cores >= other.cores && gpus >= other.gpus &&
           memory_bytes >= other.memory_bytes;
  }

  static least_need of(const unit_need& need) {
    auto each = std::uint64_t{std::max(need.least, 1u)};
    return {std::max(need.nodes, 1u),
            need.nodes == 0 && need.tasks > 1 ? need.tasks : 0,
            capped(each * need.cores_per_task, cores_per_node_max),
            capped(each * need.gpus_per_task, gpus_per_node_max),
            false,
            need.memory_bytes};
  }

private:
  static std::uint16_t capped(std::uint64_t count, std::uint32_t most) {
    return static_cast<std::uint16_t>(std::min<std::uint64_t>(count, most + 1));
  }
};

/// Says `least_need` all that it asks for?
inline bool says_all(const unit_need& need) {
  return need.features == 0 && !need.exclusive && need.required.empty() && need.excluded.empty() &&
         need.plus_one == 0;
}

/// Needs that found no room in a pass, in which resources only shrink: what asks for no less finds
/// none either. So many different shapes cost no more than few.
class failed_needs {
public:
  void clear() { failed_.clear(); }

  /// It did not fit; with a limit: not until then beside what is planned.
  void note(const least_need& need, duration limit) {
    std::erase_if(failed_, [&](const entry& other) {
      return covers({need, limit}, other.need, other.limit);
    });
    if (failed_.size() < entries_max)
      failed_.push_back({need, limit});
    else
      failed_[next_++ % entries_max] = {need, limit};
  }

  bool turns_down(const least_need& need, duration limit) const {
    return std::any_of(failed_.begin(), failed_.end(),
                       [&](const entry& failed) { return covers(failed, need, limit); });
  }

private:
  static constexpr std::size_t entries_max = 64;
  struct entry {
    least_need need;
    duration limit = 0; ///< 0: it does not even fit now
  };

  static bool covers(const entry& failed, const least_need& need, duration limit) {
    return (need.inside ? 0 : limit) >= failed.limit && need.asks_no_less_than(failed.need);
  }

  std::vector<entry> failed_;
  std::size_t next_ = 0;
};

/// What is free of the nodes as a pass begins, by cores and GPUs: says no only to what cannot fit,
/// without a look at the nodes. Stays true while resources only shrink.
class room_bounds {
public:
  void begin(const node_pool& pool) {
    cores_ = gpus_ = 0;
    pool.each([&](std::uint32_t, const node_room& room) {
      cores_ = std::max(cores_, room.cores);
      gpus_ = std::max(gpus_, room.gpus);
      return true;
    });
    cells_.assign(std::size_t{cores_ + 1} * (gpus_ + 1), {});
    tasks_.fill(0);
    pool.each([&](std::uint32_t, const node_room& room) {
      auto& like = at(room.cores, room.gpus);
      ++like.nodes;
      like.memory_most = std::max(like.memory_most, room.memory_bytes);
      return true;
    });
    count_tasks();
    sum_up();
  }

  bool may_hold(const least_need& need) const {
    if (need.cores > cores_ || need.gpus > gpus_)
      return false;
    const auto& least = cells_[need.gpus * std::size_t{cores_ + 1} + need.cores];
    return least.nodes >= need.nodes && least.memory_most >= need.memory_bytes &&
           (need.tasks == 0 || tasks_[need.cores] >= need.tasks);
  }

private:
  struct cell {
    std::uint32_t nodes = 0; ///< with so many cores and GPUs free, or more of either
    std::uint64_t memory_most = 0;
  };

  cell& at(std::uint32_t cores, std::uint32_t gpus) {
    return cells_[gpus * std::size_t{cores_ + 1} + cores];
  }

  void count_tasks() {
    for (std::uint32_t gpus = 0; gpus <= gpus_; ++gpus)
      for (std::uint32_t cores = 1; cores <= cores_; ++cores)
        for (std::uint32_t each = 1; each <= cores && at(cores, gpus).nodes > 0; ++each)
          tasks_[each] += std::uint64_t{at(cores, gpus).nodes} * (cores / each);
  }

  void sum_up() {
    auto add = [](cell& to, const cell& from) {
      to.nodes += from.nodes;
      to.memory_most = std::max(to.memory_most, from.memory_most);
    };
    for (std::uint32_t gpus = 0; gpus <= gpus_; ++gpus)
      for (auto cores = cores_; cores > 0; --cores)
        add(at(cores - 1, gpus), at(cores, gpus));
    for (auto gpus = gpus_; gpus > 0; --gpus)
      for (std::uint32_t cores = 0; cores <= cores_; ++cores)
        add(at(cores, gpus - 1), at(cores, gpus));
  }

  std::uint32_t cores_ = 0, gpus_ = 0; ///< the most that any node has free
  std::vector<cell> cells_;
  std::array<std::uint64_t, cores_per_node_max + 2> tasks_{}; ///< of so many cores each
};

} // namespace troupe::plan
