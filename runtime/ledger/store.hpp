// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/ledger/ballast.hpp"
#include "runtime/ledger/reads.hpp"
#include "runtime/ledger/tables.hpp"

#include <memory>
#include <span>
#include <string>

namespace troupe::ledger {

struct options {
  std::string path;
  std::uint64_t ballast_bytes = 4u << 20; ///< 0: none
  std::uint64_t wal_bytes_max = 8u << 20; ///< written ahead; what is longer is shortened
  /// The cluster has other state already: a ledger that is not there is gone, not new.
  bool cluster_exists = false;
  /// A head stood beside it: one that is not there is gone.
  bool had_head = false;
  /// The highest job that left output, and the highest that was ordered: a ledger that does not
  /// know it is older than what is beside it.
  std::uint64_t job_seen = 0;
  std::uint64_t job_ordered = 0;
  /// What is there counts, whatever the head says; numbers go on above both.
  bool take_what_is_there = false;
};

/// The event log of a cluster and the tables projected from it, in one SQLite file (WAL, full
/// sync). One thread of one process owns it; a second opening is refused. Everything here blocks on
/// the disk.
class store : public reads {
public:
  /// Opens or makes the ledger at `how.path`; its directory must exist. Refuses, with a sentence
  /// that says what to do, a file that is no ledger, one of a newer Troupe, a damaged one or one
  /// with a damaged log, one that another process has open, and what contradicts its head: a ledger
  /// that is gone, emptied, older than it was, or another's.
  static expected<store> open(options how, const clock_source& clock);

  store(store&&) noexcept;
  store& operator=(store&&) noexcept;
  ~store();

  // ---- writing

  /// Appends all events and applies their summaries, in one transaction that is on the disk when
  /// this returns; the events get consecutive sequence numbers from the one returned. On an error
  /// nothing was appended: conflict (a request id or job that exists, by name), not_found (no such
  /// job), exhausted (a bound), storage (the disk; while the ballast is given up, every append but
  /// essential ones). After a failed write or sync the log is cut to what was kept before, and what
  /// failed to sync is tried once more; where the log cannot be cut, the answer says that it is not
  /// known what was kept, and every append is refused until it could be.
  expected<std::uint64_t> append(std::span<const event> events);

  /// The same for what must not wait for a full disk: what ends something, or gives it up. Uses the
  /// ballast.
  expected<std::uint64_t> append_essential(std::span<const event> events);

  /// Moves a log that is longer than `wal_bytes_max` into the database file, so that it is written
  /// from its start again; for when what was appended has been answered.
  void shorten_log();

  /// Moves the log into the database file; for when nothing waits. Also tries to take the ballast
  /// back.
  expected<void> checkpoint();

  /// Makes the tables again from the events.
  expected<void> rebuild();

  /// Keeps a value that was gathered from the events up to `seq`, in place of an earlier one.
  expected<void> keep(std::string_view name, std::uint64_t seq, byte_view value);

  /// Forgets the request ids of the first `jobs_max` jobs that have one, as far as they were
  /// submitted before then. Answers how many.
  expected<std::uint64_t> forget_requests(utc_ns before, std::uint64_t jobs_max);

  /// The highest job number ever used; 0 in a new ledger.
  std::uint64_t highest_job() const;

  /// Sequence number of the last event; 0 in a new ledger.
  std::uint64_t last_seq() const;

  /// The time under which the last append stands; 0 before the first.
  utc_ns appended_at() const;

  // ---- keeping

  /// False while the disk is so full that only essential appends are taken, or takes none.
  bool accepts_submissions() const;

  /// Size of the log that the next checkpoint moves.
  std::uint64_t wal_bytes() const;

private:
  struct state;
  explicit store(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

} // namespace troupe::ledger
