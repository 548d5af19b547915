// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <initializer_list>
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

  explicit table(std::vector<column> columns);

  /// As many cells as there are columns. What could steer a terminal is replaced by '?'.
  void add(std::initializer_list<std::string_view> cells);

  /// The lines, title first. `width` is in characters; 0 is without limit.
  std::string text(std::size_t width) const;

private:
  /// One cell's part of `cells_`; a table of many rows is little more than its text.
  struct part {
    std::size_t end = 0;
    std::size_t shown = 0; ///< characters
  };

  std::vector<column> columns_;
  std::vector<std::size_t> widths_;
  std::string cells_;
  std::vector<part> parts_; ///< row by row, the titles first
};

/// Characters that `text` takes, counting each code point as one.
std::size_t shown_width(std::string_view text);

/// `text` with what could steer a terminal (control characters) replaced by '?'.
std::string printable(std::string_view text);

/// Columns of the terminal that standard output is; 0 when it is none.
std::size_t terminal_width();

} // namespace troupe::cli
