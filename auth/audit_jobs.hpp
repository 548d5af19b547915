// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>

namespace troupe::auth {

/// The highest jobs that an audit log tells of; 0: none.
struct audit_jobs {
  std::uint64_t numbered = 0; ///< got a number; whether it was submitted then is not known
  std::uint64_t ordered = 0;  ///< got its orders signed: it had been submitted
};

/// Reads the last `bytes_max` bytes of the log at `path`; one that is not there tells of none, and
/// neither does a line that is no record. Proves nothing: verify_audit does.
expected<audit_jobs> jobs_in_audit(const std::string& path, std::uint64_t bytes_max);

} // namespace troupe::auth
