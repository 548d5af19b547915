// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

// What a signature or a keyed digest is about. A signature of one domain is worth nothing in
// another. Freestanding.

namespace troupe::auth::domain {

inline constexpr std::string_view capability = "troupe/capability/v1";
inline constexpr std::string_view delegation = "troupe/delegation/v1";
inline constexpr std::string_view request = "troupe/request/v1";
inline constexpr std::string_view warrant = "troupe/warrant/v1";
inline constexpr std::string_view order = "troupe/order/v1";
inline constexpr std::string_view keyring = "troupe/keyring/v1";
inline constexpr std::string_view audit = "troupe/audit/v1";
inline constexpr std::string_view proof = "troupe/proof/v1";
inline constexpr std::string_view spec = "troupe/spec/v1";

/// The longest name above, and room: what a buffer for a signed prefix must hold.
inline constexpr std::size_t length_max = 32;

} // namespace troupe::auth::domain
