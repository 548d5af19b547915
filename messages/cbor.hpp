// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "messages/schema.hpp"

#include <vector>

// The encoding of links and of the ledger: CBOR (RFC 8949) maps {field number: value} of definite
// length. A field equal to its default is left out. A critical field has its number negated, so
// that a reader that does not know it refuses the message; other unknown numbers are skipped. The
// same value always gives the same bytes.

namespace troupe {

/// What a CBOR reader accepts at most.
struct cbor_limits {
  std::size_t bytes_max = 16u << 20;         ///< of one message
  std::size_t entries_bytes_max = 64u << 20; ///< memory of all list entries of one message together
};

/// Levels of maps, lists and skipped items within each other.
inline constexpr unsigned cbor_depth_max = 16;

namespace codec {

void encode_cbor(std::vector<std::uint8_t>& out, const schema& type, const void* value);
expected<void> decode_cbor(byte_view from, const schema& type, void* value,
                           const cbor_limits& limits);

} // namespace codec

/// Appends the encoding of `value` to `out`.
template <fielded T>
void to_cbor(std::vector<std::uint8_t>& out, const T& value) {
  codec::encode_cbor(out, codec::schema_of<T>, &value);
}

/// The encoding of `value`.
template <fielded T>
std::vector<std::uint8_t> to_cbor(const T& value) {
  std::vector<std::uint8_t> out;
  to_cbor(out, value);
  return out;
}

/// Reads exactly one T; refuses (errc::invalid) unknown critical fields, repeated fields, wrong
/// types, broken bounds, lengths beyond the input and anything after the end.
template <fielded T>
expected<T> from_cbor(byte_view from, const cbor_limits& limits = {}) {
  expected<T> result{T{}};
  if (auto done = codec::decode_cbor(from, codec::schema_of<T>, &*result, limits); !done)
    return tl::unexpected<error>{std::move(done.error())};
  return result;
}

} // namespace troupe
