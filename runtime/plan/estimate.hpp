// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace troupe::plan {

/// What a job is taken to run for when it is submitted.
enum class estimates : std::uint8_t {
  request,      ///< what was asked for
  actual,       ///< what it will run for: clairvoyance, for comparison
  user_average, ///< the mean of its user's last two run times (Tsafrir, Etzion, Feitelson 2007)
};

/// What becomes of an estimate that a running job has outlived.
enum class correction : std::uint8_t {
  incremental, ///< grows step by step (`correction_steps_s`), up to the request
  request,     ///< becomes the request
};

std::string_view to_string(estimates kind);
std::string_view to_string(correction kind);
std::optional<estimates> estimates_named(std::string_view name);
std::optional<correction> correction_named(std::string_view name);

/// The mean of a user's last two run times, no longer than the request; the request while there
/// are not two. Times in seconds.
class user_average {
public:
  using user_id = std::int64_t;

  duration predict(user_id user, duration request) const;

  /// Are there two run times to go by?
  bool knows(user_id user) const;

  /// A job of the user has ended, after `run`.
  void learn(user_id user, duration run);

private:
  struct last_two {
    duration last = 0, before = 0;
    std::uint8_t known = 0; ///< how many of them
  };
  std::unordered_map<user_id, last_two> users_;
};

/// What a job will probably run for: the mean of the last two run times of its user's jobs with the
/// same request, else of the user's last two, else the request; never more than the request. For
/// the order of a queue, where a wrong guess costs a place and breaks no promise.
class similar_jobs {
public:
  using user_id = user_average::user_id;

  duration predict(user_id user, duration request) const;
  void learn(user_id user, duration request, duration run);

private:
  user_average users_;
  std::map<duration, user_average> with_request_;
};

/// The estimate after its `steps`-th correction (the first is 1), from the one at submission.
/// Seconds; never more than the request.
duration corrected(correction kind, duration first, std::uint32_t steps, duration request);

} // namespace troupe::plan
