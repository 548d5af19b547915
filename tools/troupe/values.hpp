// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/duration.hpp"
#include "messages/types.hpp"
#include <optional>

#include <string>
#include <string_view>
#include <vector>

// How values are written on the command line and in #TROUPE lines. Errors are the second half of a
// sentence that begins with the option's name: what is wrong with the value, and how to write it.

namespace troupe::cli {

/// A whole number from `least` to `most`.
expected<std::uint64_t> parse_number(std::string_view text, std::uint64_t least,
                                     std::uint64_t most);

/// "4096" bytes, "512M", "4G", "1.5G"; K, M, G, T are powers of 1024.
expected<std::uint64_t> parse_memory(std::string_view text);

/// "1-1000%50", "1,3,5-9:2".
expected<array_spec> parse_array(std::string_view text);

/// "node[1-4,7],login" as single names, leading zeroes kept.
expected<std::vector<std::string>> parse_node_list(std::string_view text);

/// "ssd,fast": names without blanks, none twice.
expected<std::vector<std::string>> parse_names(std::string_view text, std::size_t count_max);

/// "afterok:812:813,afterany:7".
expected<std::vector<job_dependency>> parse_dependencies(std::string_view text);

/// A whole number, from -10000 to 10000.
expected<std::int32_t> parse_nice(std::string_view text);

/// "TERM", "SIGTERM" or "15".
expected<std::int32_t> parse_signal(std::string_view text);

/// "now+2h", "14:30" (today or tomorrow), "2026-05-01", "2026-05-01T14:30[:00]"; local time.
expected<utc_ns> parse_point_in_time(std::string_view text, utc_ns now);

/// "812", "812-900", "812_7", "812_[1-9,12]", "812.0", "812_7.0". A list of elements gives several
/// targets.
expected<std::vector<job_selector::target>> parse_job_ids(std::string_view text);

/// One job, or one element of it.
struct job_and_element {
  job_id job = 0;
  std::uint32_t element = no_element;
  bool operator==(const job_and_element&) const = default;
};
expected<job_and_element> parse_one_job(std::string_view text);

/// A step beyond step 0: "812.1", "812_7.1".
struct job_step_id {
  job_and_element of;
  std::uint32_t step = 0;
  bool operator==(const job_step_id&) const = default;
};
/// Nothing where the id names no such step.
expected<std::optional<job_step_id>> parse_step(std::string_view text);

/// "812.1", "812_7.1".
std::string format_step(const job_step_id& id);

/// "SIGTERM" of 15, "signal 99" of a number without a name.
std::string signal_name(std::int32_t number);

/// "512 MiB", "1.5 GiB"; "-" for 0.
std::string format_memory(std::uint64_t bytes);

/// "2026-05-01 14:30:05" in local time; "-" for 0.
std::string format_time(utc_ns at);

} // namespace troupe::cli
