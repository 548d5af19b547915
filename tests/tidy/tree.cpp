// SPDX-License-Identifier: Apache-2.0
#include "tests/tidy/tree.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <optional>

namespace troupe::tidy {

namespace fs = std::filesystem;

namespace {

std::optional<file_kind> kind_of(const std::string& path) {
  const auto ends = [&](auto... suffix) { return (path.ends_with(suffix) || ...); };
  if (ends(".cpp", ".hpp", ".c", ".h"))
    return file_kind::cpp;
  if (ends(".cmake", "CMakeLists.txt"))
    return file_kind::cmake;
  if (ends(".md"))
    return file_kind::document;
  if (ends(".toml", ".service", ".varlink", ".sql", ".supp") || path == ".clang-tidy")
    return file_kind::data;
  if (ends(".sh") || path == "quickstart" || path == "check" || path == ".ci/run" ||
      path == "bench/run")
    return file_kind::script;
  return std::nullopt;
}

bool is_skipped_folder(const std::string& name) {
  return name.starts_with("build") || name == "corpus" || name == "golden" ||
         (name.starts_with(".") && name != ".ci");
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

text_file read_file(const fs::path& root, const std::string& path, file_kind kind) {
  std::ifstream in{root / path, std::ios::binary};
  text_file file{path, kind, {std::istreambuf_iterator<char>{in}, {}}, {}, {}};
  file.lines = split_lines(file.text);
  if (kind == file_kind::cpp)
    file.code = split_lines(without_comments_and_literals(file.text));
  return file;
}

/// Walks C++ text once and blanks what is not code.
class blanker {
public:
  explicit blanker(std::string_view text) : in_{text}, out_{text} {}

  std::string run() {
    while (at_ < in_.size())
      step();
    return std::move(out_);
  }

private:
  bool sees(std::string_view word) const { return in_.substr(at_).starts_with(word); }

  void step() {
    if (sees("//"))
      blank_until(in_.find('\n', at_));
    else if (sees("/*"))
      blank_until(past("*/", at_ + 2));
    else if (sees("R\"") && !is_word_before())
      blank_raw_string();
    else if (in_[at_] == '"' || (in_[at_] == '\'' && !is_word_before()))
      blank_literal(in_[at_]);
    else
      ++at_;
  }

  // 'x' after a digit or letter is a digit separator (1'000) or a prefix's literal (u8'x').
  bool is_word_before() const {
    return at_ > 0 && (std::isalnum(static_cast<unsigned char>(in_[at_ - 1])) != 0);
  }

  std::size_t past(std::string_view word, std::size_t from) const {
    const auto found = in_.find(word, from);
    return found == std::string_view::npos ? found : found + word.size();
  }

  void blank_raw_string() {
    const auto open = std::min(in_.find('(', at_), in_.size());
    const auto delimiter = in_.substr(at_ + 2, open - at_ - 2);
    blank_until(past(")" + std::string{delimiter} + "\"", open));
  }

  void blank_literal(char quote) {
    auto end = at_ + 1;
    while (end < in_.size() && in_[end] != quote && in_[end] != '\n')
      end += in_[end] == '\\' ? 2 : 1;
    blank_until(end + 1);
  }

  void blank_until(std::size_t end) {
    for (end = std::min(end, in_.size()); at_ < end; ++at_)
      if (in_[at_] != '\n')
        out_[at_] = ' ';
  }

  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
};

} // namespace

std::string_view text_file::top_folder() const {
  const auto slash = path.find('/');
  return slash == std::string::npos ? std::string_view{} : std::string_view{path}.substr(0, slash);
}

tree read_tree(const fs::path& root) {
  tree result{root, {}};
  for (auto entry = fs::recursive_directory_iterator{root}; entry != fs::end(entry); ++entry) {
    const auto name = entry->path().filename().string();
    if (entry->is_directory() && is_skipped_folder(name)) {
      entry.disable_recursion_pending();
      continue;
    }
    const auto path = entry->path().lexically_relative(root).generic_string();
    const auto kind = entry->is_regular_file() ? kind_of(path) : std::nullopt;
    if (kind)
      result.files.push_back(read_file(root, path, *kind));
  }
  std::ranges::sort(result.files, {}, &text_file::path);
  return result;
}

std::string without_comments_and_literals(std::string_view text) {
  return blanker{text}.run();
}

include_line parse_include(std::string_view line) {
  const auto skip = [&line](std::string_view word) {
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (!line.starts_with(word))
      return false;
    line.remove_prefix(word.size());
    return true;
  };
  if (!skip("#") || !skip("include") || !(skip("\"") || skip("<")))
    return {};
  const auto end = line.find_first_of("\">");
  if (end == std::string_view::npos)
    return {};
  return {std::string{line.substr(0, end)}, line[end] == '"'};
}

} // namespace troupe::tidy
