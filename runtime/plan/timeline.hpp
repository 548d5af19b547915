// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/fit.hpp"
#include "runtime/plan/types.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace troupe::plan {

/// The core's own axis of time reaches beyond all real instants: what has no known end is taken to
/// end after everything else, one after another in the order of starts. So nothing that is started
/// beside a reservation without a known end can come before what the reservation waits for.
inline constexpr instant unknown_ends = instant{1} << 62;
inline constexpr instant time_begins = std::numeric_limits<instant>::min();
inline constexpr instant time_ends = never;

/// Where on that axis something ends that starts as the `order`-th.
inline instant planned_end(instant predicted, std::uint64_t order) {
  return predicted < unknown_ends ? predicted : unknown_ends + static_cast<instant>(order);
}
/// The same for what has not started, after all that has.
inline instant promised_end(std::uint64_t index) {
  return unknown_ends + (instant{1} << 60) + static_cast<instant>(index);
}
/// And back: what callers are told.
inline instant told(instant planned) {
  return planned < unknown_ends ? planned : never;
}

/// What is free of a node, or taken. Signed: what is kept for an advance reservation may still be
/// in use by others.
struct amounts {
  std::int64_t memory_bytes = 0;
  std::int32_t cores = 0;
  std::int32_t gpus = 0;

  bool operator==(const amounts&) const = default;
  void add(const amounts& other, std::int32_t sign) {
    memory_bytes += sign * other.memory_bytes;
    cores += sign * other.cores;
    gpus += sign * other.gpus;
  }
  void cap(const amounts& other) {
    memory_bytes = std::min(memory_bytes, other.memory_bytes);
    cores = std::min(cores, other.cores);
    gpus = std::min(gpus, other.gpus);
  }
};

/// So much is free from `at` until the next step.
struct step {
  instant at = time_begins;
  amounts free;
};

/// What is free of one node at each time, as far as predictions go: a step function from
/// `time_begins` on, whose last step lasts forever.
class node_timeline {
public:
  node_timeline() = default;
  explicit node_timeline(const amounts& all) : steps_{{time_begins, all}} {}
  explicit node_timeline(std::span<const step> steps) : steps_(steps.begin(), steps.end()) {
    steps_.front().at = time_begins;
  }

  /// From `from` until before `to`.
  void take(instant from, instant to, const amounts& what) { change(from, to, what, -1); }
  void give(instant from, instant to, const amounts& what) { change(from, to, what, 1); }

  std::span<const step> steps() const { return steps_; }

private:
  void change(instant from, instant to, const amounts& what, std::int32_t sign);
  std::size_t split(instant at);
  void merge(std::size_t at);

  std::vector<step> steps_;
};

} // namespace troupe::plan
