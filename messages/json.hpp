// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "messages/schema.hpp"

#include <string>
#include <string_view>

// JSON from field lists: for Varlink, for --json, for the console. Byte strings are base64url
// without padding; an optional that holds nothing is left out; bytes that are not UTF-8 are written
// as U+FFFD.

namespace troupe {

/// What a JSON reader accepts at most.
struct json_limits {
  std::size_t bytes_max = 16u << 20; ///< of one document
  std::size_t entries_bytes_max = 64u
                                  << 20; ///< memory of all list entries of one document together
};

/// Levels of objects and lists within each other.
inline constexpr std::size_t json_depth_max = 16;

/// Whether a field that has its default value is written. Left out, it reads as the default again.
enum class json_defaults { written, left_out };

/// What is written of a value: nothing that `viewer` may not see.
struct json_style {
  json_style(visibility who = visibility::public_, json_defaults what = json_defaults::written)
      : viewer{who}, defaults{what} {}
  visibility viewer;
  json_defaults defaults;
};

namespace codec {

void write_json(std::string& out, const schema& type, const void* value, json_style style);
expected<void> read_json(std::string_view from, const schema& type, void* value,
                         const json_limits& limits);

} // namespace codec

/// Appends `value` as one JSON object.
template <fielded T>
void to_json(std::string& out, const T& value, json_style style) {
  codec::write_json(out, codec::schema_of<T>, &value, style);
}

/// `value` as one JSON object.
template <fielded T>
std::string to_json_text(const T& value, json_style style) {
  std::string out;
  to_json(out, value, style);
  return out;
}

/// Reads one JSON object. Refused with errc::invalid and a sentence that names the field: unknown
/// and repeated keys, wrong types, integers out of range, broken bounds, missing mandatory fields.
/// null stands for "not given".
template <fielded T>
expected<T> from_json_text(std::string_view from, const json_limits& limits = {}) {
  expected<T> result{T{}};
  if (auto done = codec::read_json(from, codec::schema_of<T>, &*result, limits); !done)
    return tl::unexpected<error>{std::move(done.error())};
  return result;
}

/// Appends `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

/// Appends `bytes` in base64url (RFC 4648, section 5) without padding.
void append_base64url(std::string& out, byte_view bytes);

/// Reads base64url without padding; false for any other character, length or a set unused bit.
bool read_base64url(std::string_view text, std::vector<std::uint8_t>& bytes);

} // namespace troupe
