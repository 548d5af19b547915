// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <string>

namespace troupe::cli {

/// The file that `pattern` means for one task of an element, as the launcher opens it: %j job, %a
/// element, %t task, %N node, %% percent; relative to the job's directory.
std::string expand_output_path(const job_view& job, std::uint32_t element, std::uint32_t task,
                               const std::string& pattern);

} // namespace troupe::cli
