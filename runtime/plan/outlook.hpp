// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/nodes.hpp"
#include "runtime/plan/timeline.hpp"

#include <span>
#include <vector>

namespace troupe::plan {

/// When a unit ends, for planning: an unlimited one, and one that starts at an unknown time, never.
inline instant until(instant start, duration limit) {
  if (limit == never || start >= unknown_ends || limit >= unknown_ends - start)
    return time_ends;
  return start + limit;
}

/// A node that is up, as a search sees it: what most nodes are turned down by lies in one row.
struct node_line {
  std::uint32_t node = 0;           ///< index
  std::uint32_t count = 0;          ///< of steps, the first of which is now's
  const step* steps = nullptr;      ///< valid until the node is claimed again
  std::int32_t cores = 0, gpus = 0; ///< free now
  instant next = time_ends;         ///< when that changes
  std::int32_t cores_all = 0;
  std::uint64_t features = 0;
  bool dips = false; ///< what is free now may not all be free later, or be claimed

  std::span<const step> all() const { return {steps, count}; }
};

/// What is free of the node all through [from, to), which is not before now, as room for tasks.
node_room room_in(const node_line& line, instant from, instant to);

/// The same from the line's step number `first` on.
node_room room_from(const node_line& line, std::uint32_t first, instant to);

/// What is planned at one moment: what runs, until its predicted end; advance reservations; and
/// what a pass promises to jobs that wait. Valid until the pool changes; `note` keeps it so.
class outlook {
public:
  void begin(const node_pool& pool, instant now);

  std::span<const node_line> lines() const { return lines_; }
  /// Of a node that is up.
  const node_line& line_of(std::uint32_t node) const { return lines_[at_[node]]; }
  instant now() const { return now_; }

  /// Something of the node is promised. Nothing happens for one that is not up.
  void claim(std::uint32_t node, instant from, instant to, const amounts& what);

  /// Something of it will be free after all.
  void release(std::uint32_t node, instant from, instant to, const amounts& what) {
    claim(node, from, to, {-what.memory_bytes, -what.cores, -what.gpus});
  }

  /// A unit started on the node, after the pool was told.
  void note(std::uint32_t node, instant to, const amounts& what);

private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  node_timeline& overlay(std::uint32_t node);

  const node_pool* pool_ = nullptr;
  instant now_ = 0;
  std::vector<node_line> lines_;
  std::vector<std::uint32_t> at_;         ///< node → line
  std::vector<std::uint32_t> overlay_of_; ///< node → its timeline with promises
  std::vector<node_timeline> overlays_;   ///< kept between passes for their memory
  std::size_t overlays_used_ = 0;
};

/// A row made from any timeline of that node.
node_line line_from(std::uint32_t node, const node_room& has, std::span<const step> steps,
                    instant now);

/// The nodes of an advance reservation as its own jobs see them: nothing outside its time, and
/// inside what it keeps from others.
class inside_view {
public:
  inside_view(const node_pool& pool, const outlook& plan, std::span<const std::uint32_t> nodes,
              instant from, instant to);

  std::span<const node_line> lines() const { return lines_; }

private:
  std::vector<node_timeline> timelines_;
  std::vector<node_line> lines_;
};

/// For `chooser`: what stays free through [from, until).
struct window_rooms {
  std::span<const node_line> lines;
  instant from = 0, until = time_ends;
  std::int32_t cores_least = 1; ///< nodes with fewer are of no use

  template <class F>
  void each(F&& f) const {
    for (const auto& line : lines) {
      if (line.cores < cores_least && line.next > from)
        continue;
      auto room = room_in(line, from, until);
      if (room.cores > 0 && !f(line.node, room))
        return;
    }
  }
};

/// For `chooser`: what is free now and stays so until the unit's end.
struct rooms_from_now {
  const node_pool& pool;
  const outlook& plan;
  instant until = time_ends;

  template <class F>
  void each(F&& f) const {
    pool.each([&](std::uint32_t i, node_room room) {
      const auto& line = plan.line_of(i);
      // An advance reservation that has begun takes all cores.
      if (line.dips || line.cores < static_cast<std::int32_t>(room.cores)) {
        auto kept = room_in(line, plan.now(), until);
        room.cores = std::min(room.cores, kept.cores);
        room.gpus = std::min(room.gpus, kept.gpus);
        room.memory_bytes = std::min(room.memory_bytes, kept.memory_bytes);
      }
      return room.cores == 0 || f(i, room);
    });
  }
};

/// The same for a job inside an advance reservation.
struct inside_rooms_from_now {
  const node_pool& pool;
  std::span<const node_line> lines;
  instant now = 0, until = time_ends;

  template <class F>
  void each(F&& f) const {
    for (const auto& line : lines) {
      auto room = pool.at(line.node).room();
      auto kept = room_in(line, now, until);
      room.cores = std::min(room.cores, kept.cores);
      room.gpus = std::min(room.gpus, kept.gpus);
      room.memory_bytes = std::min(room.memory_bytes, kept.memory_bytes);
      if (room.cores > 0 && !f(line.node, room))
        return;
    }
  }
};

} // namespace troupe::plan
