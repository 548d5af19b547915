// SPDX-License-Identifier: Apache-2.0
#include "tests/tidy/rules.hpp"

#include <algorithm>
#include <cctype>
#include <set>

// What can be seen in a file without understanding it: its form, its words, its waiting.

namespace troupe::tidy {

namespace {

constexpr std::size_t lines_max = 600;
constexpr std::size_t columns_max = 100;
constexpr std::size_t licence_lines = 3; // a script's first line is its interpreter

/// The one header that may be longer: reading it top to bottom is reading the system.
constexpr std::string_view whole_protocol = "messages/protocol.hpp";
constexpr std::size_t whole_protocol_lines_max = 1000;

/// The one place in tests that may pause: between two looks at a condition that has a deadline.
constexpr std::string_view pausing_helper = "tests/eventually.hpp";

/// The one place that makes threads.
constexpr std::string_view thread_helper = "base/thread.hpp";

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// Calls `act` with the position of each whole-word `word` in `line`.
template <class Act>
void for_each_word(std::string_view line, std::string_view word, Act act) {
  for (auto at = line.find(word); at != std::string_view::npos; at = line.find(word, at + 1)) {
    const bool starts = at == 0 || !is_word(line[at - 1]);
    const bool ends = at + word.size() == line.size() || !is_word(line[at + word.size()]);
    if (starts && ends)
      act(at);
  }
}

std::size_t columns(std::string_view line) {
  return static_cast<std::size_t>(
      std::ranges::count_if(line, [](char c) { return (c & 0xc0) != 0x80; })); // UTF-8 heads
}

bool has_licence(const text_file& file) {
  const auto last = std::min(licence_lines, file.lines.size());
  return std::any_of(file.lines.begin(), file.lines.begin() + static_cast<std::ptrdiff_t>(last),
                     [](const std::string& line) {
                       return line.find("SPDX-License-Identifier: Apache-2.0") != line.npos;
                     });
}

void check_line_form(const text_file& file, std::size_t i, findings& found) {
  const auto& line = file.lines[i];
  // messages/write_interfaces makes the .varlink files from the field lists: one line per method.
  if (columns(line) > columns_max && !file.path.ends_with(".varlink"))
    found.push_back({file.path, i + 1,
                     "is " + std::to_string(columns(line)) + " columns wide; " +
                         std::to_string(columns_max) + " at most"});
  if (line.find('\t') != line.npos)
    found.push_back({file.path, i + 1, "has a tab; indent with spaces"});
  if (line.ends_with(' ') || line.ends_with('\r'))
    found.push_back({file.path, i + 1, "ends in a blank"});
}

/// An owner follows the word: "(security):" or the like.
bool names_owner(std::string_view rest) {
  if (!rest.starts_with("("))
    return false;
  const auto close = rest.find(')');
  return close != std::string_view::npos && close > 1 && rest.substr(close).starts_with("):") &&
         std::ranges::all_of(rest.substr(1, close - 1),
                             [](char c) { return is_word(c) || c == '-'; });
}

std::string open_end_in(std::string_view line) {
  // Written in two halves, so that the rule does not find itself.
  static const std::string todo = std::string{"TO"} + "DO";
  static const std::vector<std::string> never{std::string{"FIX"} + "ME", std::string{"XX"} + "X",
                                              std::string{"HA"} + "CK"};
  std::string text;
  for (const auto& word : never)
    for_each_word(line, word, [&](auto) {
      text = "has a " + word + ": mend it, or write " + todo + "(owner): and what is left";
    });
  for_each_word(line, todo, [&](auto at) {
    if (!names_owner(line.substr(at + todo.size())))
      text = "has a " + todo + " without an owner, such as " + todo + "(security):";
  });
  return text;
}

bool holds_machine_path(std::string_view line) {
  static const std::vector<std::string> prefixes{
      std::string{"/wo"} + "rk/", std::string{"/fa"} + "rm/", std::string{"/ro"} + "ot/"};
  for (const auto& prefix : prefixes)
    for (auto at = line.find(prefix); at != line.npos; at = line.find(prefix, at + 1)) {
      const char before = at == 0 ? ' ' : line[at - 1];
      const auto after = at + prefix.size();
      const bool inside_other_path = is_word(before) || before == '.' || before == '}';
      if (!inside_other_path && after < line.size() && (is_word(line[after]) || line[after] == '.'))
        return true;
    }
  return false;
}

} // namespace

void check_form(const tree& tree, findings& found) {
  for (const auto& file : tree.files) {
    if (file.kind == file_kind::document)
      continue;
    const auto limit = file.path == whole_protocol ? whole_protocol_lines_max : lines_max;
    if (file.lines.size() > limit)
      found.push_back({file.path, 0,
                       "has " + std::to_string(file.lines.size()) + " lines; " +
                           std::to_string(limit) + " at most: split it by topic"});
    if (!has_licence(file))
      found.push_back({file.path, 0, "lacks its first line, SPDX-License-Identifier: Apache-2.0"});
    if (file.is_header() && std::ranges::find(file.lines, "#pragma once") == file.lines.end())
      found.push_back({file.path, 0, "is a header without #pragma once"});
    if (!file.text.empty() && !file.text.ends_with('\n'))
      found.push_back({file.path, file.lines.size(), "does not end with a line end"});
    for (std::size_t i = 0; i < file.lines.size(); ++i)
      check_line_form(file, i, found);
  }
}

void check_words(const tree& tree, findings& found) {
  for (const auto& file : tree.files)
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      if (auto text = open_end_in(file.lines[i]); !text.empty())
        found.push_back({file.path, i + 1, std::move(text)});
      if (holds_machine_path(file.lines[i]))
        found.push_back({file.path, i + 1, "holds a path of one machine"});
    }
}

void check_sleeps(const tree& tree, findings& found) {
  static const std::vector<std::string_view> calls{"sleep",     "usleep",      "nanosleep",
                                                   "sleep_for", "sleep_until", "clock_nanosleep"};
  for (const auto& file : tree.files) {
    if (file.kind != file_kind::cpp || file.top_folder() != "tests" || file.path == pausing_helper)
      continue;
    for (std::size_t i = 0; i < file.code.size(); ++i)
      for (const auto call : calls)
        for_each_word(file.code[i], call, [&](auto at) {
          if (std::string_view{file.code[i]}.substr(at + call.size()).starts_with('('))
            found.push_back({file.path, i + 1,
                             "waits for time to pass (" + std::string{call} +
                                 "); wait for a condition, with a deadline"});
        });
  }
}

void check_threads(const tree& tree, findings& found) {
  constexpr std::string_view word = "thread";
  for (const auto& file : tree.files) {
    if (file.kind != file_kind::cpp || file.top_folder() == "tests" ||
        file.top_folder() == "bench" || file.path == thread_helper)
      continue;
    for (std::size_t i = 0; i < file.code.size(); ++i) {
      const std::string_view line{file.code[i]};
      for_each_word(file.code[i], word, [&](auto at) {
        const auto rest = line.substr(at + word.size());
        if (line.substr(0, at).ends_with("std::") &&
            (rest.starts_with('{') || rest.starts_with('(')))
          found.push_back({file.path, i + 1,
                           "makes a thread that throws where none can be had; use make_thread "
                           "(base/thread.hpp)"});
      });
    }
  }
}

void check_temporaries(const tree& tree, findings& found) {
  for (const auto& file : tree.files) {
    if (file.kind != file_kind::cpp)
      continue;
    for (std::size_t i = 0; i < file.code.size(); ++i) {
      const std::string_view line{file.code[i]};
      const auto loop = line.find("for (");
      const auto range = line.find(" : ", loop == line.npos ? 0 : loop);
      if (loop != line.npos && range != line.npos && line.find(")[", range) != line.npos)
        found.push_back({file.path, i + 1,
                         "goes through a part of what a call answers, which is gone by then; keep "
                         "the answer first"});
    }
  }
}

} // namespace troupe::tidy
