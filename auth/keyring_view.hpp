// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/ed25519.hpp"

// The keyring as bytes: decoding, verification and the rule against rollback. Freestanding, because
// the launcher compiles it without exceptions, RTTI or the C++ run time.
//
//   0 version=1 · 1 count (1..16) · 2 reserved u16=0 · 4 keyring_version u32 (≥1) · 8
//   cluster_id[16] 24 entries[count]: key_id u32 (≥1, rising) · state u8 · reserved[3]=0 ·
//   not_after i64 (UTC ns,
//      0 = none) · public_key[32]
//   then signature[64] by the root key over "troupe/keyring/v1" ‖ 0 ‖ everything before it.

namespace troupe::auth {

/// A signing key's life. `next` is published ahead so that every verifier knows it before its first
/// signature; `retiring` signs nothing new but still verifies; `retired` verifies nothing.
enum class key_state : std::uint8_t { next = 1, active = 2, retiring = 3, retired = 4 };

inline const char* to_string(key_state state) {
  switch (state) {
  case key_state::next: return "next";
  case key_state::active: return "active";
  case key_state::retiring: return "retiring";
  case key_state::retired: return "retired";
  }
  return "unknown";
}

inline constexpr std::size_t keyring_entries_max = 16;
inline constexpr std::size_t keyring_header_size = 24;
inline constexpr std::size_t keyring_entry_size = 48;
inline constexpr std::size_t keyring_size_max =
    keyring_header_size + keyring_entries_max * keyring_entry_size + 64;

enum class keyring_fault : std::uint8_t {
  none = 0,
  length,        ///< shorter or longer than its own count says
  version,       ///< another format
  reserved,      ///< a reserved bit is set, or a value is not one of those defined
  order,         ///< key ids do not rise strictly from 1, or two keys are active
  bad_key,       ///< a key is not canonical or of small order
  cluster,       ///< of another cluster
  bad_signature, ///< not signed by this root key
  rollback,      ///< older than the one already known, or another one of the same number
};

inline const char* to_string(keyring_fault fault) {
  switch (fault) {
  case keyring_fault::none: return "none";
  case keyring_fault::length: return "its length is not what its count of keys implies";
  case keyring_fault::version: return "its format version is not 1";
  case keyring_fault::reserved: return "a reserved bit is set or a key state is unknown";
  case keyring_fault::order: return "its key ids do not rise, or two keys are active";
  case keyring_fault::bad_key: return "a public key in it is not canonical or of small order";
  case keyring_fault::cluster: return "it belongs to another cluster";
  case keyring_fault::bad_signature: return "it is not signed by this cluster's root key";
  case keyring_fault::rollback: return "it is older than the keyring already known";
  }
  return "unknown";
}

/// One entry of a decoded keyring; points into the keyring's bytes.
struct keyring_entry_view {
  std::uint32_t key_id = 0;
  key_state state = key_state::retired;
  std::int64_t not_after = 0;
  const std::uint8_t* key = nullptr;
};

/// A decoded keyring: spans into bytes that must outlive it.
struct keyring_view {
  byte_view bytes;

  std::uint32_t version() const { return load_le<std::uint32_t>(bytes.data() + 4); }
  const std::uint8_t* cluster() const { return bytes.data() + 8; }
  std::size_t count() const { return bytes[1]; }
  keyring_entry_view entry(std::size_t i) const {
    const auto* at = bytes.data() + keyring_header_size + i * keyring_entry_size;
    return {load_le<std::uint32_t>(at), static_cast<key_state>(at[4]),
            load_le<std::int64_t>(at + 8), at + 16};
  }
  byte_view body() const { return bytes.first(bytes.size() - 64); }
  const std::uint8_t* root_signature() const { return bytes.data() + bytes.size() - 64; }
};

/// Checks the form only: exact length, reserved bits, order, keys. Fills `out` on success.
inline keyring_fault decode_keyring(byte_view bytes, keyring_view& out) {
  if (bytes.size() < keyring_header_size + keyring_entry_size + 64)
    return keyring_fault::length;
  if (bytes[0] != 1)
    return keyring_fault::version;
  std::size_t count = bytes[1];
  if (count == 0 || count > keyring_entries_max ||
      bytes.size() != keyring_header_size + count * keyring_entry_size + 64)
    return keyring_fault::length;
  if (bytes[2] != 0 || bytes[3] != 0 || load_le<std::uint32_t>(bytes.data() + 4) == 0)
    return keyring_fault::reserved;
  keyring_view view{bytes};
  std::uint32_t last_id = 0;
  bool active = false;
  for (std::size_t i = 0; i < count; ++i) {
    const auto* at = bytes.data() + keyring_header_size + i * keyring_entry_size;
    auto entry = view.entry(i);
    if (at[5] != 0 || at[6] != 0 || at[7] != 0 || entry.not_after < 0 ||
        entry.state < key_state::next || entry.state > key_state::retired)
      return keyring_fault::reserved;
    if (entry.key_id <= last_id || (active && entry.state == key_state::active))
      return keyring_fault::order;
    last_id = entry.key_id;
    active = active || entry.state == key_state::active;
    if (!acceptable_public_key(entry.key))
      return keyring_fault::bad_key;
  }
  out = view;
  return keyring_fault::none;
}

/// Checks that a decoded keyring is this cluster's and signed by its root key.
inline keyring_fault verify_keyring(const keyring_view& ring, const std::uint8_t* root_key,
                                    const std::uint8_t* cluster) {
  if (std::memcmp(ring.cluster(), cluster, 16) != 0)
    return keyring_fault::cluster;
  if (!verify_signature(domain::keyring, ring.body(), ring.root_signature(), root_key))
    return keyring_fault::bad_signature;
  return keyring_fault::none;
}

/// The rule against rollback, used by daemon and launcher: a keyring replaces `known` only with a
/// higher number; the same number must be the same bytes. An empty `known` is replaced by any.
inline keyring_fault check_keyring_succession(byte_view known, const keyring_view& offered) {
  if (known.empty())
    return keyring_fault::none;
  auto known_version = keyring_view{known}.version();
  if (offered.version() > known_version)
    return keyring_fault::none;
  bool same = offered.bytes.size() == known.size() &&
              std::memcmp(offered.bytes.data(), known.data(), known.size()) == 0;
  return same ? keyring_fault::none : keyring_fault::rollback;
}

enum class key_fault : std::uint8_t { none = 0, unknown, retired, expired };

/// Finds the key that may verify a signature at `now` (UTC ns): known, not retired, not past its
/// end. Fills `out` on success.
inline key_fault find_verifying_key(const keyring_view& ring, std::uint32_t key_id,
                                    std::int64_t now, keyring_entry_view& out) {
  for (std::size_t i = 0; i < ring.count(); ++i) {
    auto entry = ring.entry(i);
    if (entry.key_id != key_id)
      continue;
    if (entry.state == key_state::retired)
      return key_fault::retired;
    if (entry.not_after != 0 && now > entry.not_after)
      return key_fault::expired;
    out = entry;
    return key_fault::none;
  }
  return key_fault::unknown;
}

} // namespace troupe::auth
