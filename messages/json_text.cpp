// SPDX-License-Identifier: Apache-2.0
// The parts of JSON that know no field lists: strings and base64url.
#include "messages/json.hpp"
#include "messages/json_scan.hpp"

#include <array>

namespace troupe {

namespace {

constexpr char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

constexpr std::uint8_t no_digit = 0xff;

/// The value of each character that is a digit of base64url.
constexpr auto base64url_values = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(no_digit);
  for (std::uint8_t i = 0; i < 64; ++i)
    values[static_cast<std::uint8_t>(base64url_digits[i])] = i;
  return values;
}();

std::uint8_t base64url_value(char c) {
  return base64url_values[static_cast<std::uint8_t>(c)];
}

void append_escape(std::string& out, char c) {
  switch (c) {
  case '"': out += "\\\""; return;
  case '\\': out += "\\\\"; return;
  case '\b': out += "\\b"; return;
  case '\f': out += "\\f"; return;
  case '\n': out += "\\n"; return;
  case '\r': out += "\\r"; return;
  case '\t': out += "\\t"; return;
  default: break;
  }
  constexpr char hex[] = "0123456789abcdef";
  out += "\\u00";
  out += hex[(c >> 4) & 0xf];
  out += hex[c & 0xf];
}

bool is_plain(char c) {
  const auto u = static_cast<unsigned char>(c);
  return u >= 0x20 && u < 0x7f && c != '"' && c != '\\';
}

} // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  std::size_t at = 0;
  while (at < text.size()) {
    auto end = at;
    while (end < text.size() && is_plain(text[end]))
      ++end;
    out.append(text, at, end - at);
    at = end;
    if (at == text.size())
      break;
    // DEL is escaped as well: a terminal that shows the text must not act on it.
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      append_escape(out, text[at++]);
    } else if (const auto length = utf8_length(text.substr(at)); length != 0) {
      out.append(text, at, length);
      at += length;
    } else {
      out += "\xef\xbf\xbd";
      ++at;
    }
  }
  out += '"';
}

void append_base64url(std::string& out, byte_view bytes) {
  std::uint32_t pending = 0;
  int bits = 0;
  for (const auto byte : bytes) {
    pending = (pending << 8) | byte;
    for (bits += 8; bits >= 6; bits -= 6)
      out += base64url_digits[(pending >> (bits - 6)) & 0x3f];
  }
  if (bits > 0)
    out += base64url_digits[(pending << (6 - bits)) & 0x3f];
}

bool read_base64url(std::string_view text, std::vector<std::uint8_t>& bytes) {
  bytes.clear();
  if (text.size() % 4 == 1)
    return false;
  bytes.resize(text.size() / 4 * 3 + (text.size() % 4 == 0 ? 0 : text.size() % 4 - 1));
  std::size_t at = 0, out = 0;
  std::uint8_t wrong = 0;
  for (; at + 4 <= text.size(); at += 4, out += 3) {
    const std::array<std::uint8_t, 4> v{base64url_value(text[at]), base64url_value(text[at + 1]),
                                        base64url_value(text[at + 2]),
                                        base64url_value(text[at + 3])};
    wrong = static_cast<std::uint8_t>(wrong | v[0] | v[1] | v[2] | v[3]);
    bytes[out] = static_cast<std::uint8_t>(v[0] << 2 | v[1] >> 4);
    bytes[out + 1] = static_cast<std::uint8_t>(v[1] << 4 | v[2] >> 2);
    bytes[out + 2] = static_cast<std::uint8_t>(v[2] << 6 | v[3]);
  }
  std::uint32_t pending = 0;
  int bits = 0;
  for (; at < text.size(); ++at) {
    const auto value = base64url_value(text[at]);
    wrong |= value;
    pending = (pending << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[out++] = static_cast<std::uint8_t>(pending >> bits);
    }
  }
  // A digit is below 64: only what is none has the highest bit.
  return (wrong & 0x80) == 0 && (pending & ((1u << bits) - 1)) == 0;
}

} // namespace troupe
