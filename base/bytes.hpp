// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

// Byte views and little-endian access. Freestanding: the launcher, which links no libstdc++, uses
// this.

namespace troupe {

using byte_view = std::span<const std::uint8_t>;
using mutable_byte_view = std::span<std::uint8_t>;

template <std::size_t N>
using fixed_bytes = std::array<std::uint8_t, N>;

/// A BLAKE2b-256 digest.
using digest = fixed_bytes<32>;

inline byte_view as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string_view as_text(byte_view bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads an unsigned or signed integer stored little-endian. `from` must hold sizeof(T) bytes.
template <class T>
T load_le(const std::uint8_t* from) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value |= std::uint64_t{from[i]} << (8 * i);
  return static_cast<T>(value);
}

/// Writes an integer little-endian. `to` must have room for sizeof(T) bytes.
template <class T>
void store_le(std::uint8_t* to, T value) {
  auto wide = static_cast<std::uint64_t>(value);
  for (std::size_t i = 0; i < sizeof(T); ++i)
    to[i] = static_cast<std::uint8_t>(wide >> (8 * i));
}

} // namespace troupe
