// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/tables.hpp"

#include <bit>
#include <cstring>
#include <iterator>

namespace troupe::ledger {

namespace {

/// Each step is one to one in what was before and in what is added: a change within eight bytes
/// always changes the sum, others do but once in 2^64.
class summing {
public:
  void add(std::uint64_t value) {
    sum_ = std::rotl((sum_ ^ value) * 0x9e3779b97f4a7c15u, 29); // an odd factor has an inverse
  }
  void add(byte_view bytes) {
    add(bytes.size());
    for (std::uint64_t word = 0; !bytes.empty();
         bytes = bytes.subspan(std::min(bytes.size(), sizeof word))) {
      word = 0;
      std::memcpy(&word, bytes.data(), std::min(bytes.size(), sizeof word));
      add(word);
    }
  }
  std::int64_t value() const { return static_cast<std::int64_t>(sum_); }

private:
  std::uint64_t sum_ = 0xcbf29ce484222325u;
};

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
    // Request ids have a table of their own, which forgets those whose time is over. Promised
    // starts are known without reading every start. A kept value is what was gathered from the
    // events up to its sequence number.
    R"(
INSERT INTO facts VALUES('identity', (random() & 9223372036854775807) | 1);
INSERT INTO facts SELECT 'promises_from', coalesce(max(seq), 0) + 1 FROM events;
CREATE TABLE requests(request_id BLOB PRIMARY KEY, job INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO requests SELECT request_id, job FROM jobs WHERE request_id IS NOT NULL
  AND submitted_ns > (SELECT max(submitted_ns) FROM jobs) - 86400000000000;
INSERT INTO facts SELECT 'requests_forgotten',
  coalesce((SELECT min(job) - 1 FROM requests), (SELECT max(job) FROM jobs), 0);
DROP INDEX jobs_by_request;
CREATE INDEX jobs_ended ON jobs(ended_ns) WHERE ended_ns IS NOT NULL;
CREATE TABLE promises(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, started_ns INTEGER NOT NULL,
  first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL);
CREATE TABLE kept(name TEXT PRIMARY KEY, seq INTEGER NOT NULL, value BLOB NOT NULL);
)",
    // Each event has a checksum beside it, so that a check finds what a disk has changed.
    R"(
INSERT INTO facts SELECT 'sums_from', coalesce(max(seq), 0) + 1 FROM events;
ALTER TABLE events ADD COLUMN sum INTEGER;
)",
};

constexpr std::string_view insert_sql =
    "INSERT INTO jobs(job, uid, name, state, submitted_ns, request_id, elements_total, reason, "
    "submit_seq, started_ns, ended_ns, exit_code, signal, elements_done, elements_failed) "
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

// Naming ended_ns touches the index of unfinished jobs, so only an end names it.
// ?2 state, ?3 reason, ?4 done, ?5 failed, ?6 exit code, ?7 signal, ?8 requeued, ?9 start,
// ?10 name and ?11 sequence of a resubmission
constexpr std::string_view update_sql =
    "UPDATE jobs SET state = coalesce(?2, state), reason = coalesce(?3, reason), "
    "elements_done = elements_done + ?4, elements_failed = elements_failed + ?5, "
    "exit_code = coalesce(?6, CASE WHEN ?8 THEN NULL ELSE exit_code END), "
    "signal = coalesce(?7, CASE WHEN ?8 THEN NULL ELSE signal END), "
    "started_ns = CASE WHEN ?8 THEN ?9 ELSE coalesce(started_ns, ?9) END, "
    "name = coalesce(?10, name), submit_seq = coalesce(?11, submit_seq) WHERE job = ?1";

// An end that is no requeue: ?8 end, ?9 start
constexpr std::string_view end_sql =
    "UPDATE jobs SET state = coalesce(?2, state), reason = coalesce(?3, reason), "
    "elements_done = elements_done + ?4, elements_failed = elements_failed + ?5, "
    "exit_code = coalesce(?6, exit_code), signal = coalesce(?7, signal), ended_ns = ?8, "
    "started_ns = coalesce(started_ns, ?9) WHERE job = ?1";

constexpr std::string_view element_sql =
    "INSERT OR REPLACE INTO elements(job, element, incarnation, state, exit_code, signal, "
    "started_ns, ended_ns, node) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

constexpr std::string_view request_sql = "INSERT INTO requests(request_id, job) VALUES(?1, ?2)";

constexpr std::string_view promise_sql =
    "INSERT INTO promises(seq, job, started_ns, first_ns, last_ns) VALUES(?1, ?2, ?3, ?4, ?5)";

std::optional<utc_ns> time_if(bool set, utc_ns given, utc_ns otherwise) {
  if (!set)
    return std::nullopt;
  return given != 0 ? given : otherwise;
}

} // namespace

std::int64_t sum_of(const stored_event& at, std::optional<byte_view> summary) {
  summing sum;
  sum.add(at.seq);
  sum.add(static_cast<std::uint64_t>(at.time));
  sum.add(at.job);
  sum.add(at.element);
  sum.add(at.incarnation);
  sum.add(static_cast<std::uint64_t>(at.kind));
  sum.add(at.version);
  sum.add(at.payload);
  sum.add(summary.has_value());
  if (summary)
    sum.add(*summary);
  return sum.value();
}

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
    code = end_.prepare(db.get(), end_sql);
  if (code == SQLITE_OK)
    code = element_.prepare(db.get(), element_sql);
  if (code == SQLITE_OK)
    code = request_.prepare(db.get(), request_sql);
  if (code == SQLITE_OK)
    code = promise_.prepare(db.get(), promise_sql);
  return code;
}

int projections::clear(database& db) {
  return db.execute("DELETE FROM jobs; DELETE FROM elements; DELETE FROM requests; "
                    "DELETE FROM promises; "
                    "UPDATE facts SET value = 0 WHERE name = 'requests_forgotten'");
}

/// `taken`: what a number or id that is there already means.
projection_fault projections::fault(int code, projection_fault taken) {
  code_ = code;
  if (code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID)
    return taken;
  return code == SQLITE_OK ? projection_fault::ok : projection_fault::sqlite;
}

projection_fault projections::apply(const stored_event& at, const summary& change) {
  auto done = change.submitted ? insert(at, change) : update(at, change);
  if (done == projection_fault::ok && change.element)
    done = end_element(at, *change.element);
  if (done == projection_fault::ok && change.promised)
    done = promise(at, change);
  return done;
}

projection_fault projections::promise(const stored_event& at, const summary& change) {
  promise_.bind(1, static_cast<std::int64_t>(at.seq));
  promise_.bind(2, static_cast<std::int64_t>(at.job));
  promise_.bind(3, at.time);
  promise_.bind(4, change.promised->first_ns);
  promise_.bind(5, change.promised->last_ns);
  return fault(promise_.run(), projection_fault::sqlite);
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
  if (const auto done = fault(insert_.run(), projection_fault::job_exists);
      done != projection_fault::ok || !s.request)
    return done;
  request_.bind(1, byte_view{*s.request});
  request_.bind(2, static_cast<std::int64_t>(at.job));
  return fault(request_.run(), projection_fault::request_exists);
}

projection_fault projections::update(const stored_event& at, const summary& change) {
  auto& to = change.ends ? end_ : update_;
  to.bind(1, static_cast<std::int64_t>(at.job));
  to.bind(2, change.state);
  if (change.reason)
    to.bind(3, std::string_view{*change.reason});
  else
    to.bind_null(3);
  to.bind(4, std::int64_t{change.elements_done});
  to.bind(5, std::int64_t{change.elements_failed});
  to.bind(6, change.exit_code);
  to.bind(7, change.signal);
  if (change.ends)
    to.bind(8, time_if(true, change.ended_ns, at.time));
  else
    to.bind(8, std::int64_t{change.requeues});
  to.bind(9, time_if(change.starts, change.started_ns, at.time));
  if (!change.ends) {
    if (change.resubmits)
      to.bind(10, std::string_view{*change.resubmits});
    else
      to.bind_null(10);
    to.bind(11, change.resubmits ? std::optional{static_cast<std::int64_t>(at.seq)} : std::nullopt);
  }
  if (const auto done = fault(to.run(), projection_fault::sqlite); done != projection_fault::ok)
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
  return fault(element_.run(), projection_fault::sqlite);
}

} // namespace troupe::ledger
