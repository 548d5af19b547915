// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/order_view.hpp"
#include "auth/reason.hpp"

#include <compare>
#include <map>
#include <unordered_map>

namespace troupe::auth {

/// What was signed so far for jobs that have not ended: which elements of which step and
/// incarnation, on which node, in which order. Not thread-safe; the authority owns it.
class order_book {
public:
  /// The most intervals remembered; beyond it nothing is signed until jobs end.
  static constexpr std::size_t intervals_max = 262'144;
  /// Intervals of one step on one node told apart; older adjacent ones are joined.
  static constexpr std::size_t intervals_apart_max = 64;

  /// Refuses (duplicate_order) an order that overlaps another one signed before, unless it is the
  /// same order again: equal in everything but its times of issue and expiry.
  checked<void> check(const order_view& order, byte_view bytes) const;
  /// Enters an order that `check` let pass; false if it is the same order again.
  bool enter(const order_view& order, byte_view bytes);

  /// Forgets everything signed for a job that ended: its number is never used again.
  void release_job(std::uint64_t job);
  /// Forgets elements [first, last] that the node's launcher has confirmed as never started, so
  /// that they may be ordered anew, there or elsewhere.
  void release_elements(std::uint64_t job, std::uint32_t incarnation, std::uint32_t step,
                        std::uint32_t node, std::uint32_t first, std::uint32_t last);

  std::size_t intervals() const { return intervals_; }

private:
  struct place {
    std::uint32_t incarnation;
    std::uint32_t step;
    std::uint32_t node;
    auto operator<=>(const place&) const = default;
  };
  struct signed_range {
    std::uint32_t last;
    digest fingerprint; ///< all zero: of several orders, equal to none
  };
  using ranges = std::map<std::uint32_t, signed_range>; ///< by first element, disjoint
  using places = std::map<place, ranges>;

  void join_oldest(ranges& known);

  std::unordered_map<std::uint64_t, places> jobs_;
  std::size_t intervals_ = 0;
};

} // namespace troupe::auth
