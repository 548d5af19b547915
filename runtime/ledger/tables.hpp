// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/ledger/event.hpp"
#include "runtime/ledger/sqlite.hpp"

// The ledger's tables, their versions, and how an event's summary changes them.

namespace troupe::ledger {

/// Marks a SQLite file as a ledger ("TRPL").
inline constexpr std::int64_t application_id = 0x5452504c;

/// From this schema on a ledger has an identity.
inline constexpr std::int64_t identity_since = 2;

/// What is kept beside an event and its encoded summary: it changes when anything of them does.
std::int64_t sum_of(const stored_event& at, std::optional<byte_view> summary);

/// The newest schema this program knows.
std::int64_t schema_version();

/// Brings the tables from version `from` (0: a new file) to the newest, inside the caller's
/// transaction.
int migrate(database& db, std::int64_t from);

/// Why a projection did not take an event; `ok` when it did.
enum class projection_fault { ok, sqlite, no_such_job, job_exists, request_exists };

/// Writes summaries into `jobs`, `elements`, `requests` and `promises`. The same code serves append
/// and rebuild.
class projections {
public:
  int prepare(database& db);
  projection_fault apply(const stored_event& at, const summary& change);
  int clear(database& db);

  /// SQLite's code behind projection_fault::sqlite.
  int code() const { return code_; }

private:
  projection_fault insert(const stored_event& at, const summary& change);
  projection_fault update(const stored_event& at, const summary& change);
  projection_fault end_element(const stored_event& at, const element_end& end);
  projection_fault promise(const stored_event& at, const summary& change);
  projection_fault fault(int code, projection_fault taken);

  database* db_ = nullptr;
  statement insert_;
  statement update_;
  statement end_;
  statement element_;
  statement request_;
  statement promise_;
  int code_ = SQLITE_OK;
};

} // namespace troupe::ledger
