// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/keys.hpp"
#include "base/clock.hpp"

#include <optional>
#include <string>
#include <string_view>

// The text of one audit record: shared by the writer and the reader of the log.

namespace troupe::auth::audit_detail {

/// What every line begins with.
struct line_head {
  std::uint64_t sequence = 0;
  utc_ns at = 0;
  digest previous{};
  std::string_view kind;
  std::string_view rest; ///< behind the kind, from its comma or closing brace on
};

/// `{"seq":…,"utc_ns":…,"prev":"…","kind":"…"`, without a closing brace.
std::string format_head(std::uint64_t sequence, utc_ns at, const digest& previous,
                        std::string_view kind);
/// The inverse; nothing if the line is not exactly what format_head writes, and something after it.
std::optional<line_head> parse_head(std::string_view line);

/// Appends `"text"` in JSON, ASCII only: other bytes become \u00xx. Cut at `bytes_max`.
void append_quoted(std::string& to, std::string_view text, std::size_t bytes_max);

/// The hash that the next record names.
digest line_hash(std::string_view line);

/// A checkpoint's fields behind its head: `,"key_id":N,"signature":"…"}`.
struct checkpoint_fields {
  std::uint32_t key_id = 0;
  signature sig{};
};
std::string format_checkpoint(const checkpoint_fields& fields);
std::optional<checkpoint_fields> parse_checkpoint(std::string_view rest);
/// What a checkpoint's signature covers.
fixed_bytes<48> checkpoint_body(std::uint64_t sequence, utc_ns at, const digest& previous);

} // namespace troupe::auth::audit_detail
