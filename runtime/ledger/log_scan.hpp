// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace troupe::ledger {

/// What tells one generation of a log's frames from the next.
using log_salts = std::array<std::uint8_t, 8>;

/// What the log beside a ledger (SQLite's write-ahead log) holds, read without SQLite, which passes
/// over what is damaged. https://www.sqlite.org/fileformat2.html#the_write_ahead_log
struct log_scan {
  bool empty = true;           ///< nothing was written since it was made or cleared
  bool header_good = false;    ///< of a log that is not empty
  std::uint64_t frames = 0;    ///< whole ones from the start
  std::uint64_t kept = 0;      ///< of them, up to the last end of a transaction
  std::uint64_t ends_lost = 0; ///< ends of transactions behind the first frame that is not whole
  log_salts salts{};           ///< of its header

  /// Each transaction was on the disk before the next one was written. So one end behind a broken
  /// frame is what a power cut leaves of the transaction that was being written; a second one means
  /// that what had been kept is gone.
  bool damaged() const { return (!empty && !header_good) || ends_lost > 1; }
  std::string sentence(const std::string& path) const;
};

inline constexpr std::uint64_t log_header_bytes = 32;
inline constexpr std::uint64_t log_frame_header_bytes = 24;

/// The salts in the header of an open log; zeros when it has none.
log_salts read_log_salts(int log);

/// Reads the log of the ledger at `path`; one that is not there is empty.
expected<log_scan> scan_log(const std::string& path);

/// The same of a log that may be written or begun anew while it is read, and then seems to be
/// broken wherever that happens: what is damaged is so at the same place when it is looked at
/// again.
expected<log_scan> scan_log_in_use(const std::string& path);

} // namespace troupe::ledger
