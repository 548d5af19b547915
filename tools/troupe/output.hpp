// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/calls.hpp"

#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace troupe::cli {

/// Writes streamed output as it was written, byte for byte and in order per stream, and knows how
/// far each stream got, so that following can go on elsewhere.
class output_writer {
public:
  /// Begins each line with its task's number: whole lines then.
  void label_lines() { label_ = true; }

  enum class outcome { written, gap, nobody_reads };

  /// Writes a piece to standard output or error. What was written before is skipped; `gap` says
  /// that bytes are missing before this piece (it is written).
  outcome write(const calls::follow::piece& piece);

  /// What comes from now on is of this run of the job, from its beginning if it is another one than
  /// before: each run has streams of its own. True then.
  bool begin_run(std::uint32_t incarnation);

  /// Writes lines that have no end yet.
  void finish();

  /// Where to go on.
  std::vector<calls::stream_position> positions() const;

private:
  using stream = std::tuple<std::uint32_t, std::uint32_t, bool>; ///< step, rank, error stream
  struct progress {
    std::uint64_t offset = 0;
    std::string line; ///< when labelled: a line without its end
  };
  static std::string label_of(const stream& which);
  bool emit(stream which, progress& of, std::string_view text);

  bool label_ = false;
  std::uint32_t incarnation_ = 0; ///< 0: none has been told yet
  std::map<stream, progress> streams_;
};

} // namespace troupe::cli
