// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::tidy {

/// What a file is, as far as the rules treat it differently.
enum class file_kind { cpp, script, cmake, data, document };

/// One text file of the tree.
struct text_file {
  std::string path; ///< from the root, with '/'
  file_kind kind;
  std::string text;               ///< all of it, as on disk
  std::vector<std::string> lines; ///< without line ends
  std::vector<std::string> code;  ///< C++ only: the same lines, comments and literals blanked

  bool is_header() const { return path.ends_with(".hpp") || path.ends_with(".h"); }
  /// The first component of the path: "auth" of "auth/seal.hpp", "" of "check".
  std::string_view top_folder() const;
};

/// Every text file under `root` that the rules look at, and every folder that holds one.
/// Build directories, hidden folders (other than .ci) and test data are left out.
struct tree {
  std::filesystem::path root;
  std::vector<text_file> files;

  bool has(std::string_view path) const { return std::filesystem::exists(root / path); }
};

tree read_tree(const std::filesystem::path& root);

/// `text` with comments and string and character literals replaced by spaces, line ends kept:
/// what is left is what the compiler acts on.
std::string without_comments_and_literals(std::string_view text);

/// The path in an #include line, "" when the line is none. `quoted` tells "x" from <x>.
struct include_line {
  std::string path;
  bool quoted = false;
};
include_line parse_include(std::string_view line);

} // namespace troupe::tidy
