// SPDX-License-Identifier: Apache-2.0
#include "messages/json_scan.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <bitset>
#include <charconv>
#include <cstdint>
#include <cstring>

namespace troupe {

namespace {

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Stands in a string for itself, as one byte.
constexpr auto plain_characters = [] {
  std::array<bool, 256> plain{};
  for (std::size_t c = 0x20; c < 0x80; ++c)
    plain[c] = c != '"' && c != '\\';
  return plain;
}();

bool is_plain(char c) {
  return plain_characters[static_cast<unsigned char>(c)];
}

} // namespace

// Unicode, table 3-7: overlong forms, surrogates and values above U+10FFFF are not well-formed.
std::size_t utf8_length(std::string_view text) {
  if (text.empty())
    return 0;
  auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  auto first = at(0);
  if (first < 0x80)
    return 1;
  std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length)
    return 0;
  for (std::size_t i = 1; i < length; ++i)
    if (!is_continuation(text[i]))
      return 0;
  auto second = at(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
    return 0;
  return length;
}

tl::unexpected<error> json_scanner::wrong(std::string_view expectation) const {
  auto text = "not valid JSON: expected " + std::string{expectation} + " at byte " +
              std::to_string(position_);
  return fail(errc::invalid, position_ >= text_.size() ? text + ", where the text ends" : text);
}

/// Passes over what stands in a string for itself, eight characters at a time while there are so
/// many: the highest bit of each byte of `special` says that it is above 0x7f, below 0x20, a quote
/// or a backslash. A borrow can mark a byte wrongly, but only behind one that is marked rightly.
void json_scanner::skip_plain() {
  constexpr std::uint64_t ones = 0x0101010101010101, highest = ones * 0x80;
  const auto zero_bytes = [](std::uint64_t word) { return (word - ones) & ~word; };
  if constexpr (std::endian::native == std::endian::little)
    while (position_ + sizeof(std::uint64_t) <= text_.size()) {
      std::uint64_t word = 0;
      std::memcpy(&word, text_.data() + position_, sizeof word);
      const auto special = (word | (word - ones * 0x20) | zero_bytes(word ^ ones * '"') |
                            zero_bytes(word ^ ones * '\\')) &
                           highest;
      position_ +=
          special == 0 ? sizeof word : static_cast<std::size_t>(std::countr_zero(special)) / 8;
      if (special != 0)
        return;
    }
  while (position_ < text_.size() && is_plain(text_[position_]))
    ++position_;
}

expected<std::string_view> json_scanner::raw_string() {
  if (!take('"'))
    return wrong("a string");
  auto begin = position_;
  while (true) {
    skip_plain();
    if (position_ == text_.size())
      break;
    auto c = static_cast<unsigned char>(text_[position_]);
    if (c == '"')
      return text_.substr(begin, position_++ - begin);
    if (c < 0x20)
      return wrong("no control character in a string");
    if (auto step = c == '\\' ? escape() : utf8_sequence(); !step)
      return tl::unexpected{step.error()};
  }
  return wrong("the end of a string");
}

expected<void> json_scanner::utf8_sequence() {
  auto length = utf8_length(text_.substr(position_));
  if (length == 0)
    return wrong("UTF-8");
  position_ += length;
  return {};
}

expected<void> json_scanner::escape() {
  ++position_;
  if (position_ >= text_.size())
    return wrong("an escaped character");
  auto c = text_[position_++];
  if (c != 'u')
    return std::string_view{"\"\\/bfnrt"}.find(c) == std::string_view::npos
               ? wrong("a known escape")
               : expected<void>{};
  auto first = code_unit();
  if (first < 0)
    return wrong("four hexadecimal digits");
  // Halves of a surrogate pair come together or not at all: nothing else is text.
  if (first < 0xd800 || first > 0xdfff)
    return {};
  if (first > 0xdbff || text_.substr(position_, 2) != "\\u")
    return wrong("a whole surrogate pair");
  position_ += 2;
  auto second = code_unit();
  if (second < 0xdc00 || second > 0xdfff)
    return wrong("a whole surrogate pair");
  return {};
}

int json_scanner::code_unit() {
  auto digits = text_.substr(position_, 4);
  int value = 0;
  auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  // from_chars takes a minus sign.
  if (bad != std::errc{} || digits.size() != 4 || end != digits.data() + 4 || digits.front() == '-')
    return -1;
  position_ += 4;
  return value;
}

bool json_scanner::digits() {
  auto begin = position_;
  while (position_ < text_.size() && is_digit(text_[position_]))
    ++position_;
  return position_ > begin;
}

expected<void> json_scanner::number() {
  if (peek('-'))
    ++position_;
  if (peek('0'))
    ++position_;
  else if (!digits())
    return wrong("a digit");
  if (peek('.')) {
    ++position_;
    if (!digits())
      return wrong("a digit after the point");
  }
  if (peek('e') || peek('E')) {
    ++position_;
    if (peek('+') || peek('-'))
      ++position_;
    if (!digits())
      return wrong("a digit in the exponent");
  }
  return {};
}

expected<void> json_scanner::literal(std::string_view word) {
  if (text_.substr(position_, word.size()) != word)
    return wrong("a value");
  position_ += word.size();
  return {};
}

expected<void> json_scanner::scalar() {
  if (position_ >= text_.size())
    return wrong("a value");
  switch (text_[position_]) {
  case '"': return raw_string().map([](std::string_view) {});
  case 't': return literal("true");
  case 'f': return literal("false");
  case 'n': return literal("null");
  default: return number();
  }
}

// One loop instead of a recursion: the depth of hostile input costs bits here, not stack.
expected<void> json_scanner::nested() {
  std::bitset<scan_depth_max> is_object;
  std::size_t depth = 0;
  do {
    skip_space();
    if (peek('{') || peek('[')) {
      if (depth == scan_depth_max)
        return fail(errc::invalid,
                    "JSON nested deeper than " + std::to_string(scan_depth_max) + " levels");
      is_object[depth++] = text_[position_++] == '{';
      bool empty = take(is_object[depth - 1] ? '}' : ']');
      if (!empty) {
        if (is_object[depth - 1]) {
          if (auto key = raw_string(); !key)
            return tl::unexpected{key.error()};
          if (!take(':'))
            return wrong("':'");
        }
        continue;
      }
      --depth;
    } else if (auto one = scalar(); !one) {
      return one;
    }
    while (depth > 0 && take(is_object[depth - 1] ? '}' : ']'))
      --depth;
    if (depth == 0)
      return {};
    if (!take(','))
      return wrong(is_object[depth - 1] ? "',' or '}'" : "',' or ']'");
    if (is_object[depth - 1]) {
      if (auto key = raw_string(); !key)
        return tl::unexpected{key.error()};
      if (!take(':'))
        return wrong("':'");
    }
  } while (true);
}

expected<std::string_view> json_scanner::raw_scalar() {
  skip_space();
  auto begin = position_;
  if (auto done = scalar(); !done)
    return tl::unexpected{done.error()};
  return text_.substr(begin, position_ - begin);
}

expected<std::string_view> json_scanner::value() {
  skip_space();
  auto begin = position_;
  if (auto done = nested(); !done)
    return tl::unexpected{done.error()};
  return text_.substr(begin, position_ - begin);
}

namespace {

void append_utf8(std::string& out, std::uint32_t code) {
  const auto byte = [&](std::uint32_t value) { out += static_cast<char>(value); };
  if (code < 0x80) {
    byte(code);
    return;
  }
  if (code < 0x800) {
    byte(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      byte(0xe0 | code >> 12);
    } else {
      byte(0xf0 | code >> 18);
      byte(0x80 | (code >> 12 & 0x3f));
    }
    byte(0x80 | (code >> 6 & 0x3f));
  }
  byte(0x80 | (code & 0x3f));
}

/// The number in the four hexadecimal digits at the front, which are taken off.
std::uint32_t take_code_unit(std::string_view& raw) {
  std::uint32_t value = 0;
  std::from_chars(raw.data(), raw.data() + 4, value, 16);
  raw.remove_prefix(4);
  return value;
}

char meaning_of(char escaped) {
  switch (escaped) {
  case 'b': return '\b';
  case 'f': return '\f';
  case 'n': return '\n';
  case 'r': return '\r';
  case 't': return '\t';
  default: return escaped;
  }
}

} // namespace

void append_unescaped(std::string& out, std::string_view raw) {
  while (!raw.empty()) {
    const auto plain = std::min(raw.find('\\'), raw.size());
    out += raw.substr(0, plain);
    raw.remove_prefix(plain);
    if (raw.size() < 2)
      return;
    const auto c = raw[1];
    raw.remove_prefix(2);
    if (c != 'u') {
      out += meaning_of(c);
      continue;
    }
    auto code = take_code_unit(raw);
    if (code >= 0xd800 && code <= 0xdbff) {
      raw.remove_prefix(2);
      code = 0x10000 + ((code - 0xd800) << 10) + (take_code_unit(raw) - 0xdc00);
    }
    append_utf8(out, code);
  }
}

} // namespace troupe
