// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace troupe {

/// A Varlink interface as the code has it: its name and the text of its definition.
struct interface_text {
  std::string name;
  std::string text;
};

/// All interfaces, made from messages/calls.hpp. messages/varlink/*.varlink hold the same texts for
/// people and other programs; a test compares them, and `write_interfaces DIR` writes them anew.
std::vector<interface_text> interface_texts();

} // namespace troupe
