// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::sim {

/// Times are whole seconds, processors are counts; -1 is "not known", as in the format.
inline constexpr std::int64_t time_s_max = 100'000'000'000; ///< 3,000 years
inline constexpr std::int64_t processors_max = 2'000'000'000;
/// With these three no sum of times in a replay overflows 64 bits.
inline constexpr std::size_t jobs_max = 1u << 24;
inline constexpr std::size_t line_bytes_max = 1u << 16;
/// How many malformed lines are described; all are counted.
inline constexpr std::size_t problems_max = 5;

/// A line of a log: the fields that scheduling needs (numbers are the format's).
struct swf_job {
  std::int64_t id = 0;                   ///< 1
  std::int64_t submit = 0;               ///< 2
  std::int64_t run = 0;                  ///< 4
  std::int64_t allocated_processors = 0; ///< 5
  std::int64_t requested_processors = 0; ///< 8
  std::int64_t requested_time = 0;       ///< 9
  std::int64_t user = 0;                 ///< 12

  bool operator==(const swf_job&) const = default;
};

struct swf_problem {
  std::uint64_t line = 0; ///< from 1
  std::string what;       ///< "field 4 (run time) is 'abc', not a whole number"
};

struct swf_log {
  std::vector<swf_job> jobs; ///< in the order of the file
  std::uint64_t lines = 0;
  std::uint64_t malformed = 0;
  std::vector<swf_problem> problems; ///< the first of them
  bool too_many = false;             ///< more than `jobs_max`: the rest was not read
};

/// Reads the Standard Workload Format (Chapin et al. 1999; version 2.2): lines of 18 numbers,
/// comments after ';', empty lines. A line that is none of these is malformed: it is counted, the
/// first ones are described, and nothing of it is used.
class swf_reader {
public:
  /// The next bytes of the file, cut anywhere.
  void feed(std::string_view bytes);

  /// Read so far.
  std::size_t jobs() const { return log_.jobs.size(); }

  /// After the last byte: the log.
  swf_log finish();

private:
  void line(std::string_view text);
  void malformed(std::string what);

  swf_log log_;
  std::string begun_;     ///< a line whose end has not come yet
  bool overlong_ = false; ///< the line begun is too long; its bytes are not kept
};

} // namespace troupe::sim
