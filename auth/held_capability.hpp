// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/capability.hpp"

namespace troupe::auth {

// A capability in a file, with the key that holds it: whoever reads the file may use it, so nobody
// but its owner may.
//
//   "troupe-capability-v1\n" · seed[32] of the holder's key · the chain

inline constexpr std::string_view held_capability_magic = "troupe-capability-v1\n";

/// A chain and its holder's key.
struct held_capability {
  std::vector<std::uint8_t> chain;
  key_pair holder;
};

/// Writes a new file, 0600; an existing one is not replaced.
expected<void> store_held_capability(const std::string& path, const held_capability& what);

/// Refused: a symbolic link, another owner, any access for group or others, another length, and a
/// key that does not hold the chain. Nothing is verified here: the keys for that are with the
/// cluster.
expected<held_capability> load_held_capability(const std::string& path);

/// The chain's bytes, when `file` is what store_held_capability() wrote.
std::optional<byte_view> chain_of_held(byte_view file);

} // namespace troupe::auth
