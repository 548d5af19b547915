// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace troupe::cli {

/// Reads lines from standard input: edited and with a history at a terminal, plain otherwise.
class line_editor {
public:
  explicit line_editor(std::string prompt);
  ~line_editor();

  /// The next line without its end; nothing at the end of input.
  std::optional<std::string> next();

private:
  struct state;
  std::unique_ptr<state> state_;
};

} // namespace troupe::cli
