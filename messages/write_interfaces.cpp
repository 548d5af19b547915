// SPDX-License-Identifier: Apache-2.0
#include "messages/interfaces.hpp"

#include <cstdio>
#include <fstream>

/// write_interfaces DIR: writes every interface definition into DIR.
int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: write_interfaces DIRECTORY\n", stderr);
    return 2;
  }
  for (const auto& each : troupe::interface_texts()) {
    std::ofstream file{std::string{argv[1]} + "/" + each.name + ".varlink"};
    file << each.text;
    if (!file.flush()) {
      std::fprintf(stderr, "cannot write %s.varlink\n", each.name.c_str());
      return 1;
    }
  }
  return 0;
}
