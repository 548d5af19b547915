// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "messages/fields.hpp"

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A job's number; never reused in one cluster, 0 is no job.
using job_id = std::uint64_t;

/// The element number of a job that is no array.
inline constexpr std::uint32_t no_element = 0xffffffff;

/// An array's highest element number.
inline constexpr std::uint32_t element_max = 999'999;

/// One element of one incarnation of a job; what starts and ends.
struct element_ref {
  job_id job = 0;
  std::uint32_t element = no_element;
  std::uint32_t incarnation = 0;
  auto operator<=>(const element_ref&) const = default;
};

/// An inclusive range of numbers.
struct number_range {
  static constexpr std::string_view type_name = "NumberRange";
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  auto operator<=>(const number_range&) const = default;
  static constexpr auto fields() {
    return field_list(field<1>("first", &number_range::first),
                      field<2>("last", &number_range::last));
  }
};

/// Which elements of an array: inclusive ranges, ascending, disjoint; and how many may run at once.
struct array_spec {
  static constexpr std::string_view type_name = "ArraySpec";
  std::vector<number_range> ranges;
  std::uint32_t running_max = 0; ///< 0 is no limit
  bool operator==(const array_spec&) const = default;
  static constexpr auto fields() {
    return field_list(field<1>("ranges", &array_spec::ranges, at_most(1024)),
                      field<2>("running_max", &array_spec::running_max));
  }
};

/// "812", "812_7".
std::string format_id(job_id job, std::uint32_t element = no_element);

} // namespace troupe
