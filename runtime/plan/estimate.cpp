// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/estimate.hpp"

#include <algorithm>
#include <array>

namespace troupe::plan {

namespace {

/// How far an outlived estimate is ahead of the first one after each correction: 1, 5, 15, 30 min,
/// 1, 2, 5, 10, 20, 50, 100 h (Tsafrir et al. 2007). After the last it is the request.
constexpr std::array<duration, 11> correction_steps_s{
    60, 300, 900, 1800, 3600, 2 * 3600, 5 * 3600, 10 * 3600, 20 * 3600, 50 * 3600, 100 * 3600};

} // namespace

std::string_view to_string(estimates kind) {
  switch (kind) {
  case estimates::request: return "request";
  case estimates::actual: return "actual";
  case estimates::user_average: return "user-average";
  }
  return "unknown";
}

std::string_view to_string(correction kind) {
  return kind == correction::incremental ? "incremental" : "request";
}

std::optional<estimates> estimates_named(std::string_view name) {
  for (auto kind : {estimates::request, estimates::actual, estimates::user_average})
    if (name == to_string(kind))
      return kind;
  return std::nullopt;
}

std::optional<correction> correction_named(std::string_view name) {
  for (auto kind : {correction::incremental, correction::request})
    if (name == to_string(kind))
      return kind;
  return std::nullopt;
}

bool user_average::knows(user_id user) const {
  auto known = users_.find(user);
  return known != users_.end() && known->second.known == 2;
}

duration user_average::predict(user_id user, duration request) const {
  if (!knows(user))
    return request;
  const auto& known = users_.at(user);
  // Halves first would lose a second; the sum of two run times is far from overflow.
  return std::clamp<duration>((known.last + known.before) / 2, 1, request);
}

void user_average::learn(user_id user, duration run) {
  auto& known = users_[user];
  known.before = known.last;
  known.last = run;
  known.known = static_cast<std::uint8_t>(std::min(known.known + 1, 2));
}

duration similar_jobs::predict(user_id user, duration request) const {
  auto same = with_request_.find(request);
  if (same != with_request_.end() && same->second.knows(user))
    return same->second.predict(user, request);
  return users_.predict(user, request);
}

void similar_jobs::learn(user_id user, duration request, duration run) {
  users_.learn(user, run);
  with_request_[request].learn(user, run);
}

duration corrected(correction kind, duration first, std::uint32_t steps, duration request) {
  if (kind == correction::request || steps > correction_steps_s.size())
    return request;
  return std::min(first + correction_steps_s[std::max(steps, 1u) - 1], request);
}

} // namespace troupe::plan
