// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/keyring_view.hpp"
#include "auth/keys.hpp"
#include "auth/reason.hpp"

#include <vector>

namespace troupe::auth {

/// One signing key of the cluster's authority.
struct keyring_entry {
  std::uint32_t key_id = 0; ///< ≥ 1; 0 means "known from context" in seals
  key_state state = key_state::next;
  std::int64_t not_after = 0; ///< UTC ns; 0 = no end
  public_key key{};

  bool operator==(const keyring_entry&) const = default;
};

/// What the root key signs, before it is bytes. The format is in keyring_view.hpp.
struct keyring_contents {
  std::uint32_t version = 1;
  cluster_id cluster{};
  std::vector<keyring_entry> entries; ///< 1..16, key ids rising

  bool operator==(const keyring_contents&) const = default;
};

/// Encodes and signs; refuses contents that decode_keyring would refuse.
expected<std::vector<std::uint8_t>> make_keyring(const keyring_contents& contents,
                                                 const key_pair& root);

/// A verified keyring: owns its bytes, immutable.
class keyring {
public:
  /// Verifies `bytes` as this cluster's keyring signed by `root`; `known` is the one in force
  /// (nullptr at the start): older ones are refused.
  static checked<keyring> verify(byte_view bytes, const public_key& root, const cluster_id& cluster,
                                 const keyring* known = nullptr);

  std::uint32_t version() const { return view().version(); }
  byte_view bytes() const { return bytes_; }
  keyring_view view() const { return keyring_view{bytes_}; }
  keyring_contents contents() const;

  /// The key that may verify a signature made under `key_id`, at `now` (UTC ns).
  checked<public_key> verifying_key(std::uint32_t key_id, std::int64_t now) const;
  /// The key of that number, though it be retired: for what only has to come to its end.
  checked<public_key> key_named(std::uint32_t key_id) const;

private:
  std::vector<std::uint8_t> bytes_;
};

} // namespace troupe::auth
