// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/sim/swf.hpp"

#include <functional>
#include <string>

namespace troupe::sim {

/// Told how many jobs have been read; called every so often.
using read_progress = std::function<void(std::size_t jobs)>;

/// Reads a log from a file: plain, or gzip whatever its name is. Fails (`errc::not_found`,
/// `errc::storage`) with a sentence for a file that cannot be read or a gzip file that is damaged
/// or cut off: a part of a log is another log.
expected<swf_log> read_swf_file(const std::string& path, const read_progress& progress = {});

} // namespace troupe::sim
