// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>

namespace troupe::actors {

/// The user's name, or the number where there is none. Blocks as long as NSS does.
std::string user_name_of(std::uint32_t uid);

/// The user's number, or not_found.
expected<std::uint32_t> uid_of(const std::string& name);

} // namespace troupe::actors
