// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/tidy/tree.hpp"

namespace troupe::tidy {

/// One place that breaks one rule: what, and what to do instead.
struct finding {
  std::string file;
  std::size_t line = 0; ///< from 1; 0 for the file as a whole
  std::string text;
};

using findings = std::vector<finding>;

/// base ◁ auth ◁ messages ◁ runtime ◁ actors ◁ tools; parts of runtime/ stand side by side.
void check_layers(const tree& tree, findings& found);

/// troupe-launcher stands on little: what its sources reach by #include is a short list.
void check_launcher(const tree& tree, findings& found);

/// Lengths, licence line, #pragma once, tabs, blanks at line ends.
void check_form(const tree& tree, findings& found);

/// No open ends without an owner, no paths of somebody's machine.
void check_words(const tree& tree, findings& found);

/// Tests wait for a condition, not for time.
void check_sleeps(const tree& tree, findings& found);

/// A thread that cannot be made is an error, not an exception.
void check_threads(const tree& tree, findings& found);

/// A loop over a part of what a call answers: that ends before the first turn.
void check_temporaries(const tree& tree, findings& found);

/// A README in each folder; links that lead somewhere; commands that exist.
void check_documents(const tree& tree, findings& found);

/// All of the above, sorted by file and line.
findings check_all(const tree& tree);

} // namespace troupe::tidy
