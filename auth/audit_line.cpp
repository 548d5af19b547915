// SPDX-License-Identifier: Apache-2.0
#include "auth/audit_line.hpp"

#include <charconv>

namespace troupe::auth::audit_detail {

namespace {

bool take(std::string_view& text, std::string_view expected_text) {
  if (!text.starts_with(expected_text))
    return false;
  text.remove_prefix(expected_text.size());
  return true;
}

template <class T>
bool take_number(std::string_view& text, T& value) {
  auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{})
    return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take_quoted(std::string_view& text, std::string_view& value) {
  if (!take(text, "\""))
    return false;
  auto end = text.find('"');
  if (end == std::string_view::npos)
    return false;
  value = text.substr(0, end);
  text.remove_prefix(end + 1);
  return true;
}

/// A string as append_quoted writes it.
bool skip_string(std::string_view& text) {
  if (!take(text, "\""))
    return false;
  while (!text.empty()) {
    char c = text.front();
    if (c < 0x20 || c >= 0x7f)
      return false;
    text.remove_prefix(1);
    if (c == '"')
      return true;
    if (c != '\\')
      continue;
    if (text.empty())
      return false;
    text.remove_prefix(1); // of \uXXXX the digits are ordinary characters
  }
  return false;
}

/// `,"name":"text"` or `,"name":7`, any number of times, then the closing brace and nothing more:
/// what is not hashed as one record must not pass as one.
bool is_field_list(std::string_view text) {
  while (take(text, ",")) {
    std::string_view name;
    std::uint64_t number = 0;
    if (!take_quoted(text, name) || !take(text, ":"))
      return false;
    if (!skip_string(text) && !take_number(text, number))
      return false;
  }
  return text == "}";
}

template <std::size_t N>
bool copy_exactly(const expected<std::vector<std::uint8_t>>& from, fixed_bytes<N>& to) {
  if (!from || from->size() != N)
    return false;
  std::memcpy(to.data(), from->data(), N);
  return true;
}

} // namespace

std::string format_head(std::uint64_t sequence, utc_ns at, const digest& previous,
                        std::string_view kind) {
  std::string line = "{\"seq\":" + std::to_string(sequence) + ",\"utc_ns\":" + std::to_string(at);
  line.append(",\"prev\":\"").append(to_hex(previous)).append("\",\"kind\":\"");
  return line.append(kind).append("\"");
}

std::optional<line_head> parse_head(std::string_view line) {
  line_head head;
  std::string_view previous;
  auto text = line;
  if (!take(text, "{\"seq\":") || !take_number(text, head.sequence) ||
      !take(text, ",\"utc_ns\":") || !take_number(text, head.at) || !take(text, ",\"prev\":") ||
      !take_quoted(text, previous) || !copy_exactly(from_hex(previous), head.previous) ||
      !take(text, ",\"kind\":") || !take_quoted(text, head.kind) || !is_field_list(text))
    return std::nullopt;
  head.rest = text;
  return head;
}

void append_quoted(std::string& to, std::string_view text, std::size_t bytes_max) {
  static constexpr char hex[] = "0123456789abcdef";
  to += '"';
  for (char c : text.substr(0, bytes_max)) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to += '\\';
      to += c;
    } else if (byte >= 0x20 && byte < 0x7f) {
      to += c;
    } else {
      to.append("\\u00").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
    }
  }
  to += '"';
}

digest line_hash(std::string_view line) {
  return keyed_digest(domain::audit, as_bytes(line));
}

std::string format_checkpoint(const checkpoint_fields& fields) {
  return ",\"key_id\":" + std::to_string(fields.key_id) + ",\"signature\":\"" +
         to_base64url(fields.sig) + "\"}";
}

std::optional<checkpoint_fields> parse_checkpoint(std::string_view rest) {
  checkpoint_fields fields;
  std::string_view encoded;
  if (!take(rest, ",\"key_id\":") || !take_number(rest, fields.key_id) ||
      !take(rest, ",\"signature\":") || !take_quoted(rest, encoded) || rest != "}" ||
      !copy_exactly(from_base64url(encoded), fields.sig))
    return std::nullopt;
  return fields;
}

fixed_bytes<48> checkpoint_body(std::uint64_t sequence, utc_ns at, const digest& previous) {
  fixed_bytes<48> body;
  store_le(body.data(), sequence);
  store_le(body.data() + 8, at);
  std::memcpy(body.data() + 16, previous.data(), previous.size());
  return body;
}

} // namespace troupe::auth::audit_detail
