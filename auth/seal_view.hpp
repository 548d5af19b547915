// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/domain.hpp"
#include "auth/view.hpp"

#include <sodium.h>

// A seal: one Ed25519 signature over the Merkle root of many bodies, and the path from one body to
// that root. Freestanding (libsodium only); see docs/design.md for the layout.
//
//   leaf  = BLAKE2b-256(key = domain, 0x00 | body)
//   inner = BLAKE2b-256(key = domain, 0x01 | left | right), an odd node is promoted unchanged
//   signed: domain | 0x00 | u32 count | root
//
//   u8 version=1 | u8 path_length | u16 0 | u32 key_id | u32 index | u32 count
//   | path[path_length][32] | signature[64]

namespace troupe::auth {

inline constexpr std::size_t seal_header_bytes = 16;
inline constexpr std::size_t seal_path_max = 16;
inline constexpr std::uint32_t seal_count_max = 65536;
inline constexpr std::size_t seal_bytes_max =
    seal_header_bytes + seal_path_max * 32 + crypto_sign_BYTES;

/// A decoded seal; its spans point into the bytes it was decoded from.
struct seal_view {
  std::uint32_t key_id = 0;
  std::uint32_t index = 0;
  std::uint32_t count = 0;
  byte_view path;      ///< whole digests, from the leaf's sibling upwards
  byte_view signature; ///< 64 bytes
};

/// Siblings on the way from leaf `index` of `count` to the root: a promoted node has none.
inline std::size_t seal_path_length(std::uint32_t index, std::uint32_t count) {
  std::size_t length = 0;
  for (; count > 1; index /= 2, count = (count + 1) / 2)
    if ((index ^ 1U) < count)
      ++length;
  return length;
}

/// Accepts exactly the canonical encoding.
inline problem decode_seal(byte_view bytes, seal_view& out) {
  byte_reader in{bytes};
  auto version = in.take<std::uint8_t>();
  auto path_length = in.take<std::uint8_t>();
  auto reserved = in.take<std::uint16_t>();
  out.key_id = in.take<std::uint32_t>();
  out.index = in.take<std::uint32_t>();
  out.count = in.take<std::uint32_t>();
  if (in.failed())
    return {"the seal is shorter than its header of 16 bytes"};
  if (version != 1)
    return {"the seal's version is not 1"};
  if (reserved != 0)
    return {"a reserved field of the seal is not zero"};
  if (out.count == 0 || out.count > seal_count_max)
    return {"the seal's count is not between 1 and 65,536"};
  if (out.index >= out.count)
    return {"the seal's index is not below its count"};
  if (path_length != seal_path_length(out.index, out.count))
    return {"the seal's path is not as long as its index and count require"};
  out.path = in.take_bytes(std::size_t{path_length} * 32);
  out.signature = in.take_bytes(crypto_sign_BYTES);
  if (!in.at_end())
    return {"the seal's length is not exactly what its header requires"};
  return {};
}

namespace seal_detail {

inline digest hash(std::string_view purpose, std::uint8_t tag, byte_view first, byte_view second) {
  crypto_generichash_blake2b_state state;
  digest out{};
  crypto_generichash_blake2b_init(&state, reinterpret_cast<const unsigned char*>(purpose.data()),
                                  purpose.size(), out.size());
  crypto_generichash_blake2b_update(&state, &tag, 1);
  crypto_generichash_blake2b_update(&state, first.data(), first.size());
  if (!second.empty())
    crypto_generichash_blake2b_update(&state, second.data(), second.size());
  crypto_generichash_blake2b_final(&state, out.data(), out.size());
  return out;
}

inline constexpr std::size_t signed_bytes_max = domain::length_max + 1 + 4 + 32;

/// Writes `domain | 0x00 | u32 count | root`; returns its length. The domain must fit length_max.
inline std::size_t write_signed(std::uint8_t* out, std::string_view purpose, std::uint32_t count,
                                const digest& root) {
  std::memcpy(out, purpose.data(), purpose.size());
  auto* at = out + purpose.size();
  *at++ = 0;
  store_le(at, count);
  std::memcpy(at + 4, root.data(), root.size());
  return purpose.size() + 1 + 4 + 32;
}

} // namespace seal_detail

/// The digest of one body, before it is folded with its siblings.
inline digest seal_leaf(std::string_view purpose, byte_view body) {
  return seal_detail::hash(purpose, 0, body, {});
}

inline digest seal_inner(std::string_view purpose, const digest& left, const digest& right) {
  return seal_detail::hash(purpose, 1, left, right);
}

/// The root that `body` would have to be under for this seal.
inline digest seal_root(std::string_view purpose, const seal_view& seal, byte_view body) {
  auto node = seal_leaf(purpose, body);
  auto index = seal.index;
  const auto* sibling_at = seal.path.data();
  for (auto count = seal.count; count > 1; index /= 2, count = (count + 1) / 2) {
    if ((index ^ 1U) >= count)
      continue;
    digest sibling;
    std::memcpy(sibling.data(), sibling_at, sibling.size());
    sibling_at += sibling.size();
    node =
        (index & 1U) != 0 ? seal_inner(purpose, sibling, node) : seal_inner(purpose, node, sibling);
  }
  return node;
}

/// Remembers the last 16 verified roots, so that the seals of one batch cost one signature check
/// and hashes. The signature is part of the key: a seal with another signature is checked itself.
class seal_cache {
public:
  static constexpr std::size_t size = 16;

  bool contains(byte_view key, std::string_view purpose, std::uint32_t count, const digest& root,
                byte_view sig) const {
    for (const auto& entry : entries_)
      if (entry.count == count && entry.purpose == purpose && same_bytes(entry.root, root) &&
          same_bytes(entry.key, key) && same_bytes(entry.signature, sig))
        return true;
    return false;
  }

  /// `purpose` must be static text, as those of auth/domain.hpp are.
  void insert(byte_view key, std::string_view purpose, std::uint32_t count, const digest& root,
              byte_view sig) {
    auto& entry = entries_[next_];
    next_ = (next_ + 1) % size;
    std::memcpy(entry.key.data(), key.data(), entry.key.size());
    std::memcpy(entry.signature.data(), sig.data(), entry.signature.size());
    entry.purpose = purpose;
    entry.count = count;
    entry.root = root;
  }

private:
  struct remembered {
    fixed_bytes<32> key{};
    fixed_bytes<64> signature{};
    std::string_view purpose;
    std::uint32_t count = 0;
    digest root{};
  };

  remembered entries_[size];
  std::size_t next_ = 0;
};

/// Checks that `body` is under `seal`'s root and that `key` (32 bytes) signed that root.
/// libsodium refuses signatures with S >= L and small-order or non-canonical keys.
inline problem verify_seal(std::string_view purpose, const seal_view& seal, byte_view body,
                           byte_view key, seal_cache& cache) {
  if (key.size() != crypto_sign_PUBLICKEYBYTES || purpose.size() > domain::length_max)
    return {"the verifier was given no valid public key or domain"};
  auto root = seal_root(purpose, seal, body);
  if (cache.contains(key, purpose, seal.count, root, seal.signature))
    return {};
  std::uint8_t message[seal_detail::signed_bytes_max];
  auto length = seal_detail::write_signed(message, purpose, seal.count, root);
  if (crypto_sign_verify_detached(seal.signature.data(), message, length, key.data()) != 0)
    return {"the signature does not verify: the bytes or the seal were altered, or another key "
            "signed them"};
  cache.insert(key, purpose, seal.count, root, seal.signature);
  return {};
}

} // namespace troupe::auth
