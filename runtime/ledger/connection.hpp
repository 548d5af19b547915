// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/ledger/reads.hpp"

// What every connection to a ledger shares; of runtime/ledger's own files only.

namespace troupe::ledger {

inline constexpr const char* event_columns =
    "e.seq, e.utc_ns, e.job, e.element, e.incarnation, e.kind, e.version, e.payload";

/// Reads the columns of events in the order of `event_columns`.
stored_event read_event(const statement& from);

/// Opens a connection. This process alone may have the file open then, with as many connections as
/// it likes: the index of the log is in its memory, not in a file that a crash could leave behind.
int open_connection(database& db, const std::string& path, int flags);

/// Whether the disk took no more: a quota or a file size limit shows as a failed write.
bool is_full(int code);
bool is_failed_sync(int code);

/// The sentence for what SQLite answered.
tl::unexpected<error> sentence_of(int code, const std::string& path, const std::string& doing,
                                  const database& db);

/// Steps through a query's rows; returns SQLite's code, SQLITE_OK at the end.
template <class Visit>
int each_row(statement& query, Visit visit) {
  int code = query.step();
  for (; code == SQLITE_ROW; code = query.step())
    visit();
  query.reset();
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

/// The directory that a file is in.
std::string directory_of(const std::string& path);
/// What was made, renamed or removed in a directory is so after a power cut, too.
bool sync_directory(const std::string& path);

} // namespace troupe::ledger
