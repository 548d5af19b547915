// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "runtime/ledger/event.hpp"
#include "runtime/ledger/sqlite.hpp"

#include <functional>
#include <memory>
#include <string>

namespace troupe::ledger {

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

/// A value gathered from the events up to `seq`.
struct kept_value {
  std::uint64_t seq = 0;
  std::vector<std::uint8_t> value;
};

/// What a ledger answers, on a connection of one owner's: the store's own, or a reader's.
/// Everything here blocks on the disk.
class reads {
public:
  using event_visitor = std::function<void(const stored_event&)>;

  /// Every event of every job that has not ended, by job, in order. Job 0's events are not among
  /// them.
  expected<void> load_unfinished(const event_visitor& visit);

  /// All events of one job, in order; of job 0: those that belong to no job.
  expected<void> events_of(std::uint64_t job, const event_visitor& visit);

  /// Events of one kind with these sequence numbers, in order.
  expected<void> events_in(range sequence, event_kind kind, const event_visitor& visit);

  /// Sequence number of the last event.
  expected<std::uint64_t> newest_event();

  /// The payload a job was submitted with, or was last given in its place; or not_found.
  expected<std::vector<std::uint8_t>> submitted_payload(std::uint64_t job);

  /// Rows of jobs, newest first.
  expected<void> history(const filter& which, const std::function<void(const job_row&)>& visit);

  /// A page of the same: at most `which.limit` rows of jobs numbered below `before`, which may be
  /// none. Answers what the next page comes before, 0 when there is none. A page looks at a bounded
  /// number of jobs.
  expected<std::uint64_t> history_page(const filter& which, std::uint64_t before,
                                       const std::function<void(const job_row&)>& visit);

  /// The same of starts that had been promised, newest first; `before` and the answer are sequence
  /// numbers, `which.since` means the start.
  expected<std::uint64_t> promises_page(const filter& which, std::uint64_t before,
                                        const std::function<void(const promise_row&)>& visit);

  /// Starts before this event are not in the table of promises: an earlier Troupe wrote them.
  expected<std::uint64_t> promises_from();

  /// A value that store::keep has kept.
  expected<std::optional<kept_value>> kept(std::string_view name);

  /// One job's row, or not_found.
  expected<job_row> row_of(std::uint64_t job);

  /// Rows of a job's ended elements in `elements`, in order.
  expected<void> elements_of(std::uint64_t job, range elements,
                             const std::function<void(const element_row&)>& visit);

  /// The job that was submitted with this request id, if there is one.
  expected<std::optional<std::uint64_t>> job_of_request(const request_id& id);

protected:
  /// A connection and the statements that are kept on it.
  struct connection {
    std::string path;
    database db; // before the statements, which must go first
    statement events_by_job;
    statement unfinished;
    statement job_by_request;
    statement row_by_job;
    statement payload_by_job;

    int prepare_reads();
    /// The sentence for what SQLite answered.
    tl::unexpected<error> failure(int code, const std::string& doing) const;
  };

  explicit reads(connection& on) : on_{&on} {}
  connection* on_;

private:
  expected<void> check(const filter& which) const;
  expected<range> reach_of(const filter& which);
};

/// Reads a ledger beside the store that writes it, in the same process, on a thread of its own.
class reader : public reads {
public:
  /// The ledger must have been opened by a store of this process.
  static expected<reader> open(const std::string& path);

private:
  explicit reader(std::unique_ptr<connection> own) : reads{*own}, own_{std::move(own)} {}
  std::unique_ptr<connection> own_;
};

} // namespace troupe::ledger
