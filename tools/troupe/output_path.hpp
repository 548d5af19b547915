// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace troupe::cli {

/// Where a job, an element of it or one of its steps writes to.
struct output_place {
  job_id job = 0;
  std::uint32_t element = no_element;
  std::string nodelist;
  std::string cwd;
  std::string stdout_path; ///< as in the spec
  std::string stderr_path;
  bool merge_stderr = false;
};
output_place place_of(const job_view& job, std::uint32_t element);
/// Nothing where the job has had no such step, or one too long ago to be shown.
std::optional<output_place> place_of_step(const job_view& job, std::uint32_t step);

/// The file that `pattern` means for one task there, as the launcher opens it: %j job, %a element,
/// %t task, %N node, %% percent; relative to its directory.
std::string expand_output_path(const output_place& place, std::uint32_t task,
                               std::string_view pattern);

} // namespace troupe::cli
