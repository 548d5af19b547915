// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

#include <optional>
#include <string_view>

namespace troupe::plan {

/// In which order jobs are looked at. The formulas and their sources are in docs/scheduling.md.
enum class queue_order : std::uint8_t {
  fcfs,   ///< as submitted
  sjf,    ///< the shortest estimate first
  wfp3,   ///< (wait / estimate)³ × processors, highest first
  unicef, ///< wait / (log2(processors) × estimate), highest first
  f1,     ///< log10(r)·n + 870·log10(s), lowest first: r estimate, n processors, s submission
  f2,     ///< √r·n + 25,600·log10(s)
  f3,     ///< r·n + 6,860,000·log10(s)
  f4,     ///< r·√n + 530,000·log10(s)
  /// wfp3 with estimates of at least 10 s
  slowdown,
};

/// What an order may look at. Times are in seconds: the constants of f1 to f4 are.
struct order_view {
  duration estimate = 0;
  std::uint32_t processors = 0;
  instant submitted = 0;
  instant overdue_at = never; ///< when nobody overtakes it any more

  bool operator==(const order_view&) const = default;
};

/// The lower goes first; equal ones as submitted. Whoever is overdue goes before all who are not.
double order_key(queue_order order, const order_view& job, instant now);

/// Do keys change with time? Then a queue is sorted anew in each pass.
constexpr bool changes_with_time(queue_order order) {
  return order == queue_order::wfp3 || order == queue_order::unicef ||
         order == queue_order::slowdown;
}

std::string_view to_string(queue_order order);
std::optional<queue_order> queue_order_named(std::string_view name);

/// All names, for help: "fcfs, sjf, …".
std::string_view queue_order_names();

} // namespace troupe::plan
