// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <string>
#include <string_view>

// JSON is checked and cut into spans here without building anything: an envelope is read in one
// pass, its `parameters` stay text until the method's own decoder reads them into a struct.

namespace troupe {

/// Objects and arrays may be nested this deep.
inline constexpr std::size_t scan_depth_max = 64;

/// Walks over one JSON text (RFC 8259, UTF-8 checked). Every function leaves the position after
/// what it read; after an error the scanner is of no further use.
class json_scanner {
public:
  explicit json_scanner(std::string_view text) : text_{text} {}

  /// Reads one value of any kind; answers its exact text, without white space around it.
  expected<std::string_view> value();

  /// Reads one value that is no object and no list; answers its exact text.
  expected<std::string_view> raw_scalar();

  /// Reads a string; answers what is between its quotes, escapes left as they are.
  expected<std::string_view> raw_string();

  /// Skips white space; the character that comes next, 0 at the end.
  char next() {
    skip_space();
    return position_ < text_.size() ? text_[position_] : '\0';
  }

  /// Skips white space; takes `c` if it comes next.
  bool take(char c) {
    skip_space();
    const bool is_next = peek(c);
    position_ += is_next ? 1 : 0;
    return is_next;
  }

  /// Skips white space; true when nothing is left.
  bool at_end() {
    skip_space();
    return position_ == text_.size();
  }

  /// Bytes read so far.
  std::size_t position() const { return position_; }

private:
  expected<void> nested();
  expected<void> scalar();
  expected<void> number();
  expected<void> literal(std::string_view word);
  expected<void> escape();
  /// The number in four hexadecimal digits, -1 if they are not there.
  int code_unit();
  expected<void> utf8_sequence();
  bool digits();
  void skip_space() {
    while (position_ < text_.size() && is_space(text_[position_]))
      ++position_;
  }
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  void skip_plain();
  bool peek(char c) const { return position_ < text_.size() && text_[position_] == c; }
  tl::unexpected<error> wrong(std::string_view expectation) const;

  std::string_view text_;
  std::size_t position_ = 0;
};

/// Appends what a string means that raw_string() answered.
void append_unescaped(std::string& out, std::string_view raw);

/// The length of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none.
std::size_t utf8_length(std::string_view text);

} // namespace troupe
