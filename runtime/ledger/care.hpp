// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <vector>

// Looking after a ledger: what `troupe ledger check`, `troupe ledger rebuild` and `troupe backup`
// stand on. All of it blocks for as long as the ledger is large: some 20 s for a million jobs.

namespace troupe::ledger {

/// What a check found.
struct check_report {
  std::int64_t schema = 0;
  std::uint64_t events = 0;
  std::uint64_t jobs = 0;
  std::uint64_t unfinished = 0;
  std::uint64_t last_seq = 0;
  std::uint64_t highest_job = 0;
  std::vector<std::string> problems; ///< sentences, at most `problems_max`

  bool good() const { return problems.empty(); }
};

inline constexpr std::size_t problems_max = 100;

/// Reads all of a ledger: its log, its pages, every event, and whether the tables are what the
/// events make of them. Changes nothing. Beside the store that has the ledger open in this process,
/// or alone; another process's is refused.
expected<check_report> check_ledger(const std::string& path);

/// What a rebuild kept.
struct rebuild_report {
  std::uint64_t events = 0;
  std::uint64_t jobs = 0;
  std::uint64_t highest_job = 0;
  std::string former; ///< where the ledger that was there is now; empty: there was none
  std::vector<std::string> problems; ///< what could not be taken over, at most `problems_max`
};

/// Makes a ledger anew from the events that can be read of the one at `path`, whose cluster must be
/// down, and lets it count, whatever was known beside it: numbers go on above every number that is
/// known, `job_seen` too. What was there is kept beside it under another name.
expected<rebuild_report> rebuild_ledger(const std::string& path, std::uint64_t job_seen);

struct copy_report {
  std::uint64_t bytes = 0;
  std::uint64_t last_seq = 0;
  std::uint64_t highest_job = 0;
};

/// Copies a ledger to the new file `to` (0600, synced), as it is at one moment, while it may be
/// written. The file has its name when it is whole, not before; one that exists is never
/// overwritten. It says of itself that it is a copy: a store goes on with it only after a rebuild.
/// Refuses a directory in which others could put something else in its place.
expected<copy_report> copy_ledger(const std::string& path, const std::string& to);

} // namespace troupe::ledger
