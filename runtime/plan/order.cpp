// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/order.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace troupe::plan {

namespace {

constexpr std::array<std::string_view, 9> names{"fcfs", "sjf", "wfp3", "unicef",  "f1",
                                                "f2",   "f3",  "f4",   "slowdown"};

/// Below it a run time counts as this in slowdowns, so that a second's job is not most urgent.
constexpr double slowdown_bound_s = 10;

/// Submission at time 0 has no logarithm: it counts as 1, the first second.
double submission_term(double weight, instant submitted) {
  return weight * std::log10(static_cast<double>(std::max<instant>(submitted, 1)));
}

/// One processor has the logarithm 0; it counts as two, so that its urgency stays finite.
double unicef_key(double wait, double estimate, std::uint32_t processors) {
  return -wait / (std::log2(static_cast<double>(std::max(processors, 2u))) * estimate);
}

double wfp3_key(double wait, double estimate, double processors) {
  auto slowdown = wait / estimate;
  return -slowdown * slowdown * slowdown * processors;
}

} // namespace

double order_key(queue_order order, const order_view& job, instant now) {
  // All who are overdue are equal, so that they go as submitted.
  if (now >= job.overdue_at)
    return -std::numeric_limits<double>::infinity();
  auto r = static_cast<double>(std::max<duration>(job.estimate, 1));
  auto n = static_cast<double>(job.processors);
  auto wait = static_cast<double>(std::max<duration>(now - job.submitted, 0));
  switch (order) {
  case queue_order::fcfs: return 0;
  case queue_order::sjf: return r;
  case queue_order::wfp3: return wfp3_key(wait, r, n);
  case queue_order::unicef: return unicef_key(wait, r, job.processors);
  case queue_order::f1: return std::log10(r) * n + submission_term(870, job.submitted);
  case queue_order::f2: return std::sqrt(r) * n + submission_term(25600, job.submitted);
  case queue_order::f3: return r * n + submission_term(6860000, job.submitted);
  case queue_order::f4: return r * std::sqrt(n) + submission_term(530000, job.submitted);
  case queue_order::slowdown: return wfp3_key(wait, std::max(r, slowdown_bound_s), n);
  }
  return 0;
}

std::string_view to_string(queue_order order) {
  return names[static_cast<std::size_t>(order)];
}

std::optional<queue_order> queue_order_named(std::string_view name) {
  auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end())
    return std::nullopt;
  return static_cast<queue_order>(at - names.begin());
}

std::string_view queue_order_names() {
  return "fcfs, sjf, wfp3, unicef, f1, f2, f3, f4, slowdown";
}

} // namespace troupe::plan
