// SPDX-License-Identifier: Apache-2.0
#include "tests/tidy/rules.hpp"

#include <algorithm>
#include <set>

// Documents: each folder has a README, links lead somewhere, commands exist.

namespace troupe::tidy {

namespace {

/// The folders a README is asked of: those at the top, and the parts of runtime/.
std::set<std::string> rooms(const tree& tree) {
  std::set<std::string> folders;
  for (const auto& file : tree.files) {
    const auto top = std::string{file.top_folder()};
    if (top.empty() || top.starts_with("."))
      continue;
    folders.insert(top);
    const auto second = file.path.find('/', top.size() + 1);
    if (top == "runtime" && second != std::string::npos)
      folders.insert(file.path.substr(0, second));
  }
  return folders;
}

void check_link(const tree& tree, const text_file& file, std::size_t i, std::string_view target,
                findings& found) {
  target = target.substr(0, target.find('#'));
  if (target.empty() || target.find("://") != target.npos || target.starts_with("mailto:"))
    return;
  const auto folder = std::filesystem::path{file.path}.parent_path();
  if (!tree.has((folder / target).lexically_normal().generic_string()))
    found.push_back({file.path, i + 1, "links to " + std::string{target} + ", which is not there"});
}

void check_links(const tree& tree, const text_file& file, findings& found) {
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const std::string_view line = file.lines[i];
    for (auto at = line.find("]("); at != line.npos; at = line.find("](", at + 2)) {
      const auto end = line.find(')', at);
      if (end != line.npos)
        check_link(tree, file, i, line.substr(at + 2, end - at - 2), found);
    }
  }
}

/// The words `troupe` knows: the rows command{"…"} of its table in tools/.
std::set<std::string> commands(const tree& tree) {
  constexpr std::string_view call = "command{\"";
  std::set<std::string> names;
  for (const auto& file : tree.files) {
    if (file.kind != file_kind::cpp || file.top_folder() != "tools")
      continue;
    for (auto at = file.text.find(call); at != file.text.npos; at = file.text.find(call, at + 1)) {
      const auto begin = at + call.size();
      names.insert(file.text.substr(begin, file.text.find('"', begin) - begin));
    }
  }
  return names;
}

/// Words after "troupe " where a document shows a command: at a line's start, after "$ " or '`'.
/// Alternatives ("wait|cancel") are words of their own.
std::vector<std::string> commands_shown(std::string_view line) {
  constexpr std::string_view program = "troupe ";
  std::vector<std::string> shown;
  for (auto at = line.find(program); at != line.npos; at = line.find(program, at + 1)) {
    const auto before = line.substr(0, at);
    const bool is_command = before.find_first_not_of(' ') == before.npos || before.ends_with('`') ||
                            before.ends_with("$ ") || before.ends_with("/");
    auto rest = line.substr(at + program.size());
    while (is_command) {
      const auto length = rest.find_first_not_of("abcdefghijklmnopqrstuvwxyz");
      const auto word = rest.substr(0, length);
      if (!word.empty())
        shown.emplace_back(word);
      if (length == rest.npos || rest[length] != '|')
        break;
      rest.remove_prefix(length + 1);
    }
  }
  return shown;
}

/// Prose may start a line with the word: only code blocks (indented or fenced) and `…` count.
void check_commands(const std::set<std::string>& known, const text_file& file, findings& found) {
  bool fenced = false;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const std::string_view line = file.lines[i];
    if (line.starts_with("```")) {
      fenced = !fenced;
      continue;
    }
    const bool code = fenced || line.starts_with("    ");
    if (!code && line.find("`troupe ") == line.npos)
      continue;
    for (const auto& word : commands_shown(line))
      if (!known.contains(word))
        found.push_back(
            {file.path, i + 1, "shows `troupe " + word + "`, which tools/ does not have"});
  }
}

} // namespace

void check_documents(const tree& tree, findings& found) {
  for (const auto& folder : rooms(tree))
    if (!tree.has(folder + "/README.md"))
      found.push_back({folder, 0, "has no README.md: what lives here, what may it include?"});
  const auto known = commands(tree);
  for (const auto& file : tree.files) {
    if (file.kind != file_kind::document)
      continue;
    check_links(tree, file, found);
    if (!known.empty())
      check_commands(known, file, found);
  }
}

findings check_all(const tree& tree) {
  findings found;
  check_layers(tree, found);
  check_launcher(tree, found);
  check_form(tree, found);
  check_words(tree, found);
  check_sleeps(tree, found);
  check_threads(tree, found);
  check_temporaries(tree, found);
  check_documents(tree, found);
  std::ranges::sort(found, {}, [](const finding& f) { return std::tie(f.file, f.line, f.text); });
  return found;
}

} // namespace troupe::tidy
