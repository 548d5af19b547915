// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/blocked_list.hpp"
#include "runtime/plan/types.hpp"

namespace troupe::plan {

/// When a job of that many processors is promised to start, and what is spare beside it then.
class processor_reservation {
public:
  processor_reservation() = default;
  processor_reservation(instant at, std::uint32_t spare) : at_(at), spare_(spare) {}

  /// The shadow time.
  instant at() const { return at_; }
  /// How many processors may be taken from now until after that.
  std::uint32_t spare() const { return spare_; }
  void take(std::uint32_t processors) { spare_ -= processors; }

  bool operator==(const processor_reservation&) const = default;

private:
  instant at_ = never;
  std::uint32_t spare_ = 0;
};

/// A machine of interchangeable processors: how many are free, and when more will be, as far as
/// predictions go. A job's processors count as free from its predicted end on; whoever knows better
/// moves that end first.
class processors {
public:
  explicit processors(std::uint32_t count) : count_(count), free_(count) {}

  struct ending {
    instant at = never;
    std::uint32_t job = 0;
    std::uint32_t processors = 0;
    bool operator<(const ending& other) const {
      return at != other.at ? at < other.at : job < other.job;
    }
  };

  std::uint32_t count() const { return count_; }
  std::uint32_t free() const { return free_; }

  /// Time goes on to `now`. True if processors came free by a predicted end.
  bool advance(instant now);

  /// At most `free()` processors, until `job.at`.
  void start(const ending& job);

  /// The job has ended. True if this frees processors: its predicted end was still to come.
  bool end(const ending& job);

  /// The job will end at `at` instead, which is to come.
  void move_end(const ending& job, instant at);

  /// When so many, which are not free now, will be free together.
  processor_reservation reserve(std::uint32_t wanted) const;

private:
  struct sum {
    std::uint64_t processors = 0;
    void add(const ending& job) { processors += job.processors; }
  };

  std::uint32_t count_;
  std::uint32_t free_;
  blocked_list<ending, sum> ends_;
};

} // namespace troupe::plan
