// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/sim/swf.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace troupe::sim {

/// Told how many jobs have been read; called every so often.
using read_progress = std::function<void(std::size_t jobs)>;

/// Hands a file's bytes to `take`, piece by piece: plain, or gzip whatever its name is. Fails
/// (`errc::not_found`, `errc::invalid`, `errc::storage`) with a sentence for a file that cannot be
/// read and for gzip data that are damaged or cut off.
expected<void> read_file(const std::string& path,
                         const std::function<void(std::string_view)>& take);

/// Reads a log. Fails as `read_file` does: a part of a log is another log.
expected<swf_log> read_swf_file(const std::string& path, const read_progress& progress = {});

} // namespace troupe::sim
