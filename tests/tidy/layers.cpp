// SPDX-License-Identifier: Apache-2.0
#include "tests/tidy/rules.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

// The arrows of the tree: which folder may include which.

namespace troupe::tidy {

namespace {

constexpr std::array<std::string_view, 7> layers{"base",    "auth",   "messages", "config",
                                                 "runtime", "actors", "tools"};

std::string_view first_component(std::string_view path) {
  return path.substr(0, path.find('/'));
}

/// "runtime/plan" of "runtime/plan/types.hpp"; the first component elsewhere.
std::string_view part_of(std::string_view path) {
  const auto first = path.find('/');
  return path.substr(0, first == std::string_view::npos ? first : path.find('/', first + 1));
}

std::ptrdiff_t height_of(std::string_view folder) {
  const auto at = std::ranges::find(layers, folder);
  return at == layers.end() ? -1 : at - layers.begin();
}

/// The one part of runtime/ that stands on another; both READMEs give the reason.
bool may_include_part(std::string_view from, std::string_view to) {
  return from == "runtime/sim" && to == "runtime/plan";
}

std::string broken_arrow(const text_file& file, const include_line& include) {
  const auto here = height_of(file.top_folder());
  const auto there = height_of(first_component(include.path));
  if (there < 0)
    return include.quoted ? "includes \"" + include.path + "\": name it from the tree's root" : "";
  if (there > here)
    return "includes " + include.path + ": " + std::string{layers[there]} + "/ stands above " +
           std::string{layers[here]} + "/";
  const auto from = part_of(file.path);
  const auto to = part_of(include.path);
  if (layers[here] == "runtime" && there == here && from != to && !may_include_part(from, to))
    return "includes " + include.path + ": parts of runtime/ do not include each other";
  return "";
}

bool is_freestanding(std::string_view header) {
  // Headers whose use needs no libstdc++ at run time, as long as nothing in them throws.
  static const std::set<std::string_view> allowed{
      "algorithm", "array",       "atomic",  "bit",     "climits", "compare",
      "concepts",  "cstddef",     "cstdint", "limits",  "span",    "string_view",
      "tuple",     "type_traits", "utility", "new",     "cerrno",  "cstring",
      "cstdio",    "cstdlib",     "csignal", "cstdarg", "ctime"};
  return header.ends_with(".h") || allowed.contains(header);
}

bool may_launcher_reach(std::string_view path, const std::set<std::string_view>& private_folders) {
  static const std::set<std::string_view> shared{
      "base/bytes.hpp",  "base/unique_fd.hpp", "runtime/launch/protocol.hpp", "auth/view.hpp",
      "auth/domain.hpp", "auth/ed25519.hpp",   "runtime/launch/passing.hpp"};
  const auto folder = path.substr(0, path.rfind('/'));
  return shared.contains(path) || private_folders.contains(folder) ||
         (folder == "auth" && path.ends_with("_view.hpp"));
}

const text_file* find_file(const tree& tree, std::string_view path) {
  const auto at = std::ranges::lower_bound(tree.files, path, {}, &text_file::path);
  return at != tree.files.end() && at->path == path ? &*at : nullptr;
}

/// The C++ sources that `add_executable(troupe-launcher …)` lists, anywhere in the tree.
std::vector<std::string> launcher_sources(const tree& tree) {
  constexpr std::string_view root_variable = "${PROJECT_SOURCE_DIR}/";
  std::vector<std::string> sources;
  for (const auto& file : tree.files) {
    const auto start = file.text.find("add_executable(troupe-launcher");
    if (file.kind != file_kind::cmake || start == std::string::npos)
      continue;
    const auto folder = file.path.substr(0, file.path.rfind('/') + 1);
    std::istringstream list{file.text.substr(start, file.text.find(')', start) - start)};
    for (std::string word; list >> word;)
      if (word.ends_with(".cpp"))
        sources.push_back(word.starts_with(root_variable) ? word.substr(root_variable.size())
                                                          : folder + word);
  }
  return sources;
}

} // namespace

void check_layers(const tree& tree, findings& found) {
  for (const auto& file : tree.files) {
    if (file.kind != file_kind::cpp || height_of(file.top_folder()) < 0)
      continue;
    for (std::size_t i = 0; i < file.lines.size(); ++i)
      if (const auto include = parse_include(file.lines[i]); !include.path.empty())
        if (auto text = broken_arrow(file, include); !text.empty())
          found.push_back({file.path, i + 1, std::move(text)});
  }
}

void check_launcher(const tree& tree, findings& found) {
  auto pending = launcher_sources(tree);
  const std::vector<std::string> sources = pending;
  std::set<std::string_view> private_folders;
  for (const auto& source : sources)
    private_folders.insert(std::string_view{source}.substr(0, source.rfind('/')));
  private_folders.erase("runtime/launch"); // shared with trouped's side: named one by one

  std::set<std::string> seen;
  while (!pending.empty()) {
    const auto path = pending.back();
    pending.pop_back();
    const auto* file = find_file(tree, path);
    if (file == nullptr || !seen.insert(path).second)
      continue;
    for (std::size_t i = 0; i < file->lines.size(); ++i) {
      const auto include = parse_include(file->lines[i]);
      if (include.path.empty())
        continue;
      if (height_of(first_component(include.path)) < 0) {
        if (!is_freestanding(include.path))
          found.push_back({path, i + 1,
                           "brings <" + include.path +
                               "> into troupe-launcher, which has libc and libsodium only"});
      } else if (may_launcher_reach(include.path, private_folders)) {
        pending.push_back(include.path);
      } else {
        found.push_back({path, i + 1,
                         "brings " + include.path +
                             " into troupe-launcher; it reads base/bytes, base/unique_fd, "
                             "auth/*_view.hpp, runtime/launch/{protocol,passing}.hpp and its own"});
      }
    }
  }
}

} // namespace troupe::tidy
