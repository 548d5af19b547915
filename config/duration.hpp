// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// "30" minutes, "MM:SS", "HH:MM:SS", "D-HH:MM:SS", "90s", "15m", "2h", "1d"; seconds, at least 1,
/// at most a year. An error is the second half of a sentence that begins with the value's name.
expected<std::uint32_t> parse_duration_s(std::string_view text);

/// "2-03:04:05", "03:04:05", "4:05".
std::string format_duration(std::int64_t seconds);

} // namespace troupe
