// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace troupe::cli {

/// Columns as wide as their data, no wider than the terminal: only the last column is cut, and only
/// on a terminal.
class table {
public:
  enum class align { left, right };
  struct column {
    std::string title;
    align side = align::left;
  };

  explicit table(std::vector<column> columns) : columns_{std::move(columns)} {}

  /// As many cells as there are columns.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  /// The lines, title first. `width` is in characters; 0 is without limit.
  std::string text(std::size_t width) const;

private:
  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Characters that `text` takes, counting each code point as one.
std::size_t shown_width(std::string_view text);

/// `text` with what could steer a terminal (control characters) replaced by '?'.
std::string printable(std::string_view text);

/// Columns of the terminal that standard output is; 0 when it is none.
std::size_t terminal_width();

} // namespace troupe::cli
