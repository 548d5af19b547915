// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/table.hpp"

#include <algorithm>
#include <sys/ioctl.h>
#include <unistd.h>

namespace troupe::cli {

namespace {

bool begins_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

std::string cut(std::string_view text, std::size_t width) {
  if (shown_width(text) <= width)
    return std::string{text};
  std::size_t shown = 0;
  std::size_t end = 0;
  while (end < text.size() && (shown + 1 < width || !begins_character(text[end])))
    shown += begins_character(text[end++]) ? 1 : 0;
  return std::string{text.substr(0, end)} + "…";
}

} // namespace

std::size_t shown_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

std::string printable(std::string_view text) {
  std::string out{text};
  for (auto& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      c = '?';
  return out;
}

std::size_t terminal_width() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) == 0 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
    return 0;
  return size.ws_col;
}

std::string table::text(std::size_t width) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    auto widest = shown_width(columns_[i].title);
    for (const auto& row : rows_)
      widest = std::max(widest, shown_width(row[i]));
    widths.push_back(widest);
  }
  std::string out;
  auto line = [&](auto cell_of) {
    std::string one;
    std::size_t used = 0;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      auto cell = printable(cell_of(i));
      if (i + 1 == columns_.size() && width > 0)
        cell = cut(cell, width > used + 4 ? width - used : 4);
      auto shown = shown_width(cell);
      auto padding = std::string(widths[i] > shown ? widths[i] - shown : 0, ' ');
      one += columns_[i].side == align::right ? padding + cell : cell + padding;
      one += "  ";
      used += std::max(widths[i], shown) + 2;
    }
    one.erase(one.find_last_not_of(' ') + 1);
    out += one + "\n";
  };
  line([&](std::size_t i) { return columns_[i].title; });
  for (const auto& row : rows_)
    line([&](std::size_t i) { return row[i]; });
  return out;
}

} // namespace troupe::cli
