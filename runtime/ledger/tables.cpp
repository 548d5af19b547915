// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/tables.hpp"

#include <iterator>

namespace troupe::ledger {

namespace {

// migrations[v] leads from version v to v + 1. An entry is never changed once it was released.
constexpr const char* migrations[] = {
    R"(
CREATE TABLE events(seq INTEGER PRIMARY KEY, utc_ns INTEGER NOT NULL, job INTEGER NOT NULL,
  element INTEGER, incarnation INTEGER NOT NULL, kind INTEGER NOT NULL, version INTEGER NOT NULL,
  payload BLOB NOT NULL, summary BLOB);
CREATE INDEX events_by_job ON events(job);
CREATE TABLE jobs(job INTEGER PRIMARY KEY, uid INTEGER NOT NULL, name TEXT NOT NULL,
  state INTEGER NOT NULL, submitted_ns INTEGER NOT NULL, started_ns INTEGER, ended_ns INTEGER,
  request_id BLOB, exit_code INTEGER, signal INTEGER, elements_total INTEGER NOT NULL,
  elements_done INTEGER NOT NULL DEFAULT 0, elements_failed INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '', submit_seq INTEGER NOT NULL);
CREATE UNIQUE INDEX jobs_by_request ON jobs(request_id) WHERE request_id IS NOT NULL;
CREATE INDEX jobs_unfinished ON jobs(job) WHERE ended_ns IS NULL;
CREATE TABLE elements(job INTEGER NOT NULL, element INTEGER NOT NULL,
  incarnation INTEGER NOT NULL, state INTEGER NOT NULL, exit_code INTEGER NOT NULL,
  signal INTEGER NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL,
  node TEXT NOT NULL, PRIMARY KEY(job, element, incarnation)) WITHOUT ROWID;
CREATE TABLE facts(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO facts VALUES('highest_job', 0);
)",
};

constexpr std::string_view insert_sql =
    "INSERT INTO jobs(job, uid, name, state, submitted_ns, request_id, elements_total, reason, "
    "submit_seq, started_ns, ended_ns, exit_code, signal, elements_done, elements_failed) "
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

// ?2 state, ?3 start, ?4 requeued, ?5 end, ?6 exit code, ?7 signal, ?8 done, ?9 failed, ?10 reason
constexpr std::string_view update_sql =
    "UPDATE jobs SET state = coalesce(?2, state), "
    "started_ns = CASE WHEN ?4 THEN ?3 ELSE coalesce(started_ns, ?3) END, "
    "ended_ns = coalesce(?5, ended_ns), "
    "exit_code = coalesce(?6, CASE WHEN ?4 THEN NULL ELSE exit_code END), "
    "signal = coalesce(?7, CASE WHEN ?4 THEN NULL ELSE signal END), "
    "elements_done = elements_done + ?8, elements_failed = elements_failed + ?9, "
    "reason = coalesce(?10, reason) WHERE job = ?1";

constexpr std::string_view element_sql =
    "INSERT OR REPLACE INTO elements(job, element, incarnation, state, exit_code, signal, "
    "started_ns, ended_ns, node) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

std::optional<utc_ns> time_if(bool set, utc_ns given, utc_ns otherwise) {
  if (!set)
    return std::nullopt;
  return given != 0 ? given : otherwise;
}

} // namespace

std::int64_t schema_version() {
  return std::size(migrations);
}

int migrate(database& db, std::int64_t from) {
  int code = SQLITE_OK;
  for (auto version = from; code == SQLITE_OK && version < schema_version(); ++version)
    code = db.execute(migrations[version]);
  if (code == SQLITE_OK)
    code = db.execute("PRAGMA application_id = " + std::to_string(application_id) +
                      "; PRAGMA user_version = " + std::to_string(schema_version()));
  return code;
}

int projections::prepare(database& db) {
  db_ = &db;
  int code = insert_.prepare(db.get(), insert_sql);
  if (code == SQLITE_OK)
    code = update_.prepare(db.get(), update_sql);
  if (code == SQLITE_OK)
    code = element_.prepare(db.get(), element_sql);
  return code;
}

int projections::clear(database& db) {
  return db.execute("DELETE FROM jobs; DELETE FROM elements");
}

projection_fault projections::fault(int code) {
  code_ = code;
  if (code == SQLITE_CONSTRAINT_UNIQUE)
    return projection_fault::request_exists;
  if (code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID)
    return projection_fault::job_exists;
  return code == SQLITE_OK ? projection_fault::ok : projection_fault::sqlite;
}

projection_fault projections::apply(const stored_event& at, const summary& change) {
  const auto done = change.submitted ? insert(at, change) : update(at, change);
  if (done != projection_fault::ok || !change.element)
    return done;
  return end_element(at, *change.element);
}

projection_fault projections::insert(const stored_event& at, const summary& change) {
  const auto& s = *change.submitted;
  insert_.bind(1, static_cast<std::int64_t>(at.job));
  insert_.bind(2, std::int64_t{s.uid});
  insert_.bind(3, std::string_view{s.name});
  insert_.bind(4, std::int64_t{change.state.value_or(0)});
  insert_.bind(5, at.time);
  if (s.request)
    insert_.bind(6, byte_view{*s.request});
  else
    insert_.bind_null(6);
  insert_.bind(7, std::int64_t{s.elements_total});
  insert_.bind(8, change.reason ? std::string_view{*change.reason} : std::string_view{});
  insert_.bind(9, static_cast<std::int64_t>(at.seq));
  insert_.bind(10, time_if(change.starts, change.started_ns, at.time));
  insert_.bind(11, time_if(change.ends, change.ended_ns, at.time));
  insert_.bind(12, change.exit_code);
  insert_.bind(13, change.signal);
  insert_.bind(14, std::int64_t{change.elements_done});
  insert_.bind(15, std::int64_t{change.elements_failed});
  return fault(insert_.run());
}

projection_fault projections::update(const stored_event& at, const summary& change) {
  update_.bind(1, static_cast<std::int64_t>(at.job));
  update_.bind(2, change.state);
  update_.bind(3, time_if(change.starts, change.started_ns, at.time));
  update_.bind(4, std::int64_t{change.requeues});
  update_.bind(5, time_if(change.ends, change.ended_ns, at.time));
  update_.bind(6, change.exit_code);
  update_.bind(7, change.signal);
  update_.bind(8, std::int64_t{change.elements_done});
  update_.bind(9, std::int64_t{change.elements_failed});
  if (change.reason)
    update_.bind(10, std::string_view{*change.reason});
  else
    update_.bind_null(10);
  if (const auto done = fault(update_.run()); done != projection_fault::ok)
    return done;
  return sqlite3_changes(db_->get()) == 1 ? projection_fault::ok : projection_fault::no_such_job;
}

projection_fault projections::end_element(const stored_event& at, const element_end& end) {
  element_.bind(1, static_cast<std::int64_t>(at.job));
  element_.bind(2, std::int64_t{at.element});
  element_.bind(3, std::int64_t{at.incarnation});
  element_.bind(4, std::int64_t{end.state});
  element_.bind(5, std::int64_t{end.exit_code});
  element_.bind(6, std::int64_t{end.signal});
  element_.bind(7, end.started_ns);
  element_.bind(8, end.ended_ns != 0 ? end.ended_ns : at.time);
  element_.bind(9, std::string_view{end.node});
  return fault(element_.run());
}

} // namespace troupe::ledger
