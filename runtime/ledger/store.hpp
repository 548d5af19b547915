// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/ledger/ballast.hpp"
#include "runtime/ledger/event.hpp"
#include "runtime/ledger/tables.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>

namespace troupe::ledger {

struct options {
  std::string path;
  std::uint64_t ballast_bytes = 4u << 20; ///< 0: none
  std::uint64_t wal_bytes_max = 8u << 20; ///< written ahead; what is longer is shortened
};

/// Numbers first to last, both included.
struct range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

/// Which jobs `history` shows; what is empty does not restrict.
struct filter {
  std::optional<std::uint32_t> uid;
  std::vector<std::uint8_t> states; ///< at most 64
  std::optional<utc_ns> since;      ///< jobs that had not ended before
  std::optional<utc_ns> until;      ///< jobs submitted before
  std::vector<range> jobs;          ///< at most 256
  std::optional<std::string> name;
  std::uint64_t limit = 1000; ///< the newest of them
};

/// The event log of a cluster and the tables projected from it, in one SQLite file (WAL, full
/// sync). One thread of one process owns it; a second opening is refused. Everything here blocks on
/// the disk.
class store {
public:
  using event_visitor = std::function<void(const stored_event&)>;

  /// Opens or makes the ledger at `how.path`; its directory must exist. Refuses, with a sentence, a
  /// file that is no ledger, one of a newer Troupe, a damaged one, and one that another process has
  /// open.
  static expected<store> open(options how, const clock_source& clock);

  store(store&&) noexcept;
  store& operator=(store&&) noexcept;
  ~store();

  // ---- writing

  /// Appends all events and applies their summaries, in one transaction that is on the disk when
  /// this returns; the events get consecutive sequence numbers from the one returned. On an error
  /// nothing was appended: conflict (a request id or job that exists, by name), not_found (no such
  /// job), exhausted (a bound), storage (the disk; while the ballast is given up, every append but
  /// essential ones).
  expected<std::uint64_t> append(std::span<const event> events);

  /// The same for what must not be lost when the disk is full: the ends of running jobs. Uses the
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

  // ---- reading

  /// Every event of every job that has not ended, by job, in order. Job 0's events are not among
  /// them.
  expected<void> load_unfinished(const event_visitor& visit);

  /// All events of one job, in order; of job 0: those that belong to no job.
  expected<void> events_of(std::uint64_t job, const event_visitor& visit);

  /// Events of one kind since then, newest first, until `visit` answers false.
  expected<void> events_of_kind(event_kind kind, utc_ns since,
                                const std::function<bool(const stored_event&)>& visit);

  /// The payload a job was submitted with, or was last given in its place; or not_found.
  expected<std::vector<std::uint8_t>> submitted_payload(std::uint64_t job);

  /// Rows of jobs, newest first.
  expected<void> history(const filter& which, const std::function<void(const job_row&)>& visit);

  /// One job's row, or not_found.
  expected<job_row> row_of(std::uint64_t job);

  /// Rows of a job's ended elements in `elements`, in order.
  expected<void> elements_of(std::uint64_t job, range elements,
                             const std::function<void(const element_row&)>& visit);

  /// The job that was submitted with this request id, if there is one.
  expected<std::optional<std::uint64_t>> job_of_request(const request_id& id);

  /// The newest request ids, at most `count_max`.
  expected<void> recent_requests(
      std::uint64_t count_max,
      const std::function<void(const request_id&, std::uint64_t job, utc_ns submitted)>& visit);

  /// The highest job number ever used; 0 in a new ledger.
  std::uint64_t highest_job() const;

  /// Sequence number of the last event; 0 in a new ledger.
  std::uint64_t last_seq() const;

  // ---- keeping

  /// Copies the ledger to a new file, consistent and synced. Refuses a file that exists.
  expected<void> backup(const std::string& path);

  /// Reads all of the file and says what is damaged.
  expected<void> check();

  /// False while the disk is so full that only essential appends are taken.
  bool accepts_submissions() const;

  /// Size of the log that the next checkpoint moves.
  std::uint64_t wal_bytes() const;

private:
  struct state;
  explicit store(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

} // namespace troupe::ledger
