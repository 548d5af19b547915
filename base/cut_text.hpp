// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

// Small cuts that the readers of options and settings share.

namespace troupe {

/// All of `text` as a decimal number; nothing for an empty text, a sign, or what is too large.
inline std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || bad != std::errc{} || end != text.data() + text.size())
    return {};
  return value;
}

/// Cuts `text` at the first `separator`; what follows replaces it. The last part leaves it empty.
inline std::string_view take_until(std::string_view& text, char separator) {
  auto at = text.find(separator);
  auto part = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
  return part;
}

} // namespace troupe
