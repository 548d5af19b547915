// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/exec_spec_view.hpp"
#include "base/error.hpp"

#include <string>
#include <vector>

namespace troupe::auth {

/// What is executed; see auth/exec_spec_view.hpp for layout and bounds.
struct exec_spec {
  bool merge_stderr = false;
  bool has_shepherd = false;   ///< MPI ranks
  bool append = false;         ///< to output files
  bool outlives_ranks = false; ///< a rank that fails ends no other
  bool has_terminal = false;   ///< rank 0 has one, of this size
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
  std::string cwd;
  std::string stdin_path;
  std::string stdout_path;
  std::string stderr_path;
  std::string script; ///< empty = argv[0] is a program; else argv[0] is the script's name
  std::vector<std::string> argv;
  std::vector<std::string> env; ///< "K=V"; encoding sorts it by key

  bool operator==(const exec_spec&) const = default;
};

/// The canonical bytes; errc::invalid with a sentence when a bound or a rule is broken (a duplicate
/// environment name, a NUL byte, a length).
expected<std::vector<std::uint8_t>> encode_exec_spec(const exec_spec& spec);

expected<exec_spec> decode_exec_spec(byte_view bytes);

} // namespace troupe::auth
