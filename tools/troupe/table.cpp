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

void append_printable(std::string& out, std::string_view text) {
  const auto begin = out.size();
  out += text;
  for (auto at = begin; at < out.size(); ++at)
    if (static_cast<unsigned char>(out[at]) < 0x20 || out[at] == 0x7f)
      out[at] = '?';
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
  std::string out;
  append_printable(out, text);
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
    std::size_t used = 0;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const bool is_last = i + 1 == columns_.size();
      const std::string& whole = cell_of(i);
      const auto shortened =
          is_last && width > 0 ? cut(whole, width > used + 4 ? width - used : 4) : std::string{};
      const auto& cell = is_last && width > 0 ? shortened : whole;
      const auto shown = shown_width(cell);
      const auto padding = widths[i] > shown ? widths[i] - shown : 0;
      if (columns_[i].side == align::right)
        out.append(padding, ' ');
      append_printable(out, cell);
      if (columns_[i].side != align::right)
        out.append(padding, ' ');
      out += "  ";
      used += std::max(widths[i], shown) + 2;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };
  line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_)
    line([&](std::size_t i) -> const std::string& { return row[i]; });
  return out;
}

} // namespace troupe::cli
