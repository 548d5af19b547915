// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace troupe {

/// Why something was not done; decides the exit code of the command line (see DESIGN, section 10).
enum class errc : std::uint8_t {
  invalid = 1, ///< the request itself is wrong: a field, a value, a limit
  refused,     ///< no capability allows it, or it failed verification
  not_found,   ///< names something that is not there
  conflict,    ///< not possible in the present state
  exhausted,   ///< a bound was reached: try again later
  storage,     ///< the disk did not take it
  unreachable, ///< a peer did not answer
  internal,    ///< a defect of Troupe
};

/// The field's word for each code, stable: used in JSON, in logs and as Varlink error names.
inline const char* to_string(errc code) {
  switch (code) {
  case errc::invalid: return "invalid";
  case errc::refused: return "refused";
  case errc::not_found: return "not_found";
  case errc::conflict: return "conflict";
  case errc::exhausted: return "exhausted";
  case errc::storage: return "storage";
  case errc::unreachable: return "unreachable";
  case errc::internal: return "internal";
  }
  return "unknown";
}

/// What was being done, to what, why it failed, and what the reader can do: one sentence for
/// people.
struct error {
  errc code = errc::internal;
  std::string text;
};

template <class T>
using expected = tl::expected<T, error>;

inline tl::unexpected<error> fail(errc code, std::string text) {
  return tl::unexpected<error>{error{code, std::move(text)}};
}

} // namespace troupe
