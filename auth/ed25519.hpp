// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/domain.hpp"
#include "base/bytes.hpp"

#include <sodium.h>

// What both sides, daemon and launcher, agree on about a signature. Freestanding: libsodium and
// libc only, no allocation, no exceptions.

namespace troupe::auth {

using public_key = fixed_bytes<32>;
using signature = fixed_bytes<64>;
using cluster_id = fixed_bytes<16>;

/// The longest body signed directly; longer things are signed by their digest (see seal.hpp).
inline constexpr std::size_t signed_body_max = 2048;

/// Whether S, the signature's second half, is below the group order (RFC 8032, 5.1.7). A larger one
/// would be a second encoding of the same signature. libsodium checks too; this does not depend on
/// how it was built.
inline bool canonical_signature(const std::uint8_t* sig) {
  static constexpr std::uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                             0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                             0,    0,    0,    0,    0,    0,    0,    0,
                                             0,    0,    0,    0,    0,    0,    0,    0x10};
  for (int i = 31; i >= 0; --i) {
    if (sig[32 + i] < order[i])
      return true;
    if (sig[32 + i] > order[i])
      return false;
  }
  return false;
}

/// Whether these 32 bytes are a canonical point of the large prime-order group: what a key that
/// was generated honestly always is. Small-order keys would verify forged signatures.
inline bool acceptable_public_key(const std::uint8_t* key) {
  return ::crypto_core_ed25519_is_valid_point(key) == 1;
}

/// Puts `purpose ‖ 0 ‖ body` into `to`, the purpose one of auth/domain.hpp; returns its length,
/// or 0 if it is too long.
inline std::size_t frame_for_signing(std::string_view purpose, byte_view body, std::uint8_t* to,
                                     std::size_t room) {
  auto length = purpose.size() + 1 + body.size();
  if (purpose.size() > domain::length_max || body.size() > signed_body_max || length > room)
    return 0;
  std::memcpy(to, purpose.data(), purpose.size());
  to[purpose.size()] = 0;
  if (!body.empty())
    std::memcpy(to + purpose.size() + 1, body.data(), body.size());
  return length;
}

/// Verifies an Ed25519 signature over `purpose ‖ 0 ‖ body`. sodium_init() must have been called.
inline bool verify_signature(std::string_view purpose, byte_view body, const std::uint8_t* sig,
                             const std::uint8_t* key) {
  std::uint8_t framed[domain::length_max + 1 + signed_body_max];
  auto length = frame_for_signing(purpose, body, framed, sizeof framed);
  return length != 0 && canonical_signature(sig) && acceptable_public_key(key) &&
         ::crypto_sign_ed25519_verify_detached(sig, framed, length, key) == 0;
}

} // namespace troupe::auth
