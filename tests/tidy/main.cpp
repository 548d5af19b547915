// SPDX-License-Identifier: Apache-2.0
#include "tests/tidy/rules.hpp"

#include <cstdio>

// tidy ROOT: prints each place that breaks a rule, one per line; exit code 1 if there is one.

int main(int argc, char** argv) {
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: tidy ROOT, the folder of Troupe's source\n");
    return 2;
  }
  const auto tree = troupe::tidy::read_tree(argv[1]);
  const auto found = troupe::tidy::check_all(tree);
  for (const auto& place : found)
    std::printf("%s:%zu: %s\n", place.file.c_str(), place.line, place.text.c_str());
  std::printf("tidy: %zu files read, %zu findings\n", tree.files.size(), found.size());
  return found.empty() ? 0 : 1;
}
