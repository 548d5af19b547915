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

table::table(std::vector<column> columns) : columns_{std::move(columns)} {
  widths_.resize(columns_.size());
  for (const auto& each : columns_)
    add({each.title});
}

void table::add(std::initializer_list<std::string_view> cells) {
  for (const auto each : cells) {
    const auto begin = cells_.size();
    append_printable(cells_, each);
    const auto shown = shown_width(std::string_view{cells_}.substr(begin));
    auto& widest = widths_[parts_.size() % columns_.size()];
    widest = std::max(widest, shown);
    parts_.push_back({cells_.size(), shown});
  }
}

std::string table::text(std::size_t width) const {
  std::string out;
  std::size_t line_width = 1;
  for (const auto widest : widths_)
    line_width += widest + 2;
  out.reserve(cells_.size() + parts_.size() / columns_.size() * line_width);
  std::size_t begin = 0, at = 0, used = 0;
  for (const auto& each : parts_) {
    auto cell = std::string_view{cells_}.substr(begin, each.end - begin);
    begin = each.end;
    const auto padding = widths_[at] - each.shown;
    const bool is_last = at + 1 == columns_.size();
    if (columns_[at].side == align::right)
      out.append(padding, ' ');
    if (is_last && width > 0)
      out += cut(cell, width > used + 4 ? width - used : 4);
    else
      out += cell;
    if (!is_last) {
      if (columns_[at].side != align::right)
        out.append(padding, ' ');
      out += "  ";
      used += widths_[at] + 2;
      ++at;
      continue;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
    used = at = 0;
  }
  return out;
}

} // namespace troupe::cli
