// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <vector>

namespace troupe::actors {

/// Whoever names elements names some that there are, whatever is asked of them: elements of a job
/// that is no array are refused, and those of an array where it has none of a range. No ranges: all
/// of the job is meant.
inline expected<void> check_elements(job_id job, const std::optional<array_spec>& array,
                                     const std::vector<number_range>& named) {
  if (named.empty())
    return {};
  if (!array)
    return fail(errc::invalid, fmt::format("job {} is no array and has no elements", job));
  for (const auto& range : named)
    if (std::none_of(array->ranges.begin(), array->ranges.end(), [&](const number_range& own) {
          return own.first <= range.last && range.first <= own.last;
        }))
      return fail(errc::not_found,
                  fmt::format("job {} has no element {}; 'troupe show {}' tells which it has", job,
                              range.first, job));
  return {};
}

/// The same of one element, or of none (`no_element`).
inline expected<void> check_element(job_id job, const std::optional<array_spec>& array,
                                    std::uint32_t element) {
  if (element == no_element)
    return {};
  return check_elements(job, array, {{element, element}});
}

} // namespace troupe::actors
