// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "messages/cbor.hpp"
#include "runtime/ledger/store_state.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace troupe::ledger {

namespace {

constexpr std::size_t states_max = 64;
constexpr std::size_t ranges_max = 256;

constexpr const char* job_columns =
    "job, uid, name, state, submitted_ns, started_ns, ended_ns, request_id, exit_code, signal, "
    "elements_total, elements_done, elements_failed, reason, submit_seq";

std::optional<std::int32_t> optional_code(const statement& from, int column) {
  if (from.is_null(column))
    return std::nullopt;
  return static_cast<std::int32_t>(from.integer(column));
}

std::optional<request_id> optional_request(const statement& from, int column) {
  request_id id{};
  const auto bytes = from.bytes(column);
  if (from.is_null(column) || bytes.size() != id.size())
    return std::nullopt;
  std::copy(bytes.begin(), bytes.end(), id.begin());
  return id;
}

job_row read_job(const statement& from) {
  job_row row;
  row.job = static_cast<std::uint64_t>(from.integer(0));
  row.uid = static_cast<std::uint32_t>(from.integer(1));
  row.name = from.text(2);
  row.state = static_cast<std::uint8_t>(from.integer(3));
  row.submitted_ns = from.integer(4);
  row.started_ns = from.integer(5);
  row.ended_ns = from.integer(6);
  row.request = optional_request(from, 7);
  row.exit_code = optional_code(from, 8);
  row.signal = optional_code(from, 9);
  row.elements_total = static_cast<std::uint32_t>(from.integer(10));
  row.elements_done = static_cast<std::uint32_t>(from.integer(11));
  row.elements_failed = static_cast<std::uint32_t>(from.integer(12));
  row.reason = from.text(13);
  row.submit_seq = static_cast<std::uint64_t>(from.integer(14));
  return row;
}

element_row read_element(const statement& from) {
  element_row row;
  row.element = static_cast<std::uint32_t>(from.integer(0));
  row.incarnation = static_cast<std::uint32_t>(from.integer(1));
  row.state = static_cast<std::uint8_t>(from.integer(2));
  row.exit_code = static_cast<std::int32_t>(from.integer(3));
  row.signal = static_cast<std::int32_t>(from.integer(4));
  row.started_ns = from.integer(5);
  row.ended_ns = from.integer(6);
  row.node = from.text(7);
  return row;
}

/// Numbers in SQLite are signed: what is above its range means its end.
std::int64_t as_sql(std::uint64_t value) {
  return static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX));
}

/// The condition of a filter; numbers are written into it, texts are bound.
std::string where(const filter& which) {
  std::string sql = " WHERE 1";
  const auto add = [&](const char* text, auto value) { sql += text + std::to_string(value); };
  if (which.uid)
    add(" AND uid = ", *which.uid);
  if (which.since)
    add(" AND coalesce(ended_ns, 9223372036854775807) >= ", *which.since);
  if (which.until)
    add(" AND submitted_ns < ", *which.until);
  if (which.name)
    sql += " AND name = ?1";
  for (std::size_t i = 0; i < which.states.size(); ++i)
    add(i == 0 ? " AND state IN (" : ", ", which.states[i]);
  sql += which.states.empty() ? "" : ")";
  for (std::size_t i = 0; i < which.jobs.size(); ++i) {
    add(i == 0 ? " AND (job BETWEEN " : " OR job BETWEEN ", as_sql(which.jobs[i].first));
    add(" AND ", as_sql(which.jobs[i].last));
  }
  sql += which.jobs.empty() ? "" : ")";
  return sql;
}

/// Steps through a query's rows; returns SQLite's code, SQLITE_OK at the end.
template <class Visit>
int each_row(statement& query, Visit visit) {
  int code = query.step();
  for (; code == SQLITE_ROW; code = query.step())
    visit();
  query.reset();
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

bool sync_file(const std::string& path) {
  const unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  return file && ::fsync(file.get()) == 0;
}

} // namespace

stored_event read_event(const statement& from) {
  stored_event e;
  e.seq = static_cast<std::uint64_t>(from.integer(0));
  e.time = from.integer(1);
  e.job = static_cast<std::uint64_t>(from.integer(2));
  e.element = from.is_null(3) ? whole_job : static_cast<std::uint32_t>(from.integer(3));
  e.incarnation = static_cast<std::uint32_t>(from.integer(4));
  e.kind = static_cast<event_kind>(from.integer(5));
  e.version = static_cast<std::uint8_t>(from.integer(6));
  e.payload = from.bytes(7);
  return e;
}

expected<void> store::load_unfinished(const event_visitor& visit) {
  auto& query = state_->unfinished;
  if (const int code = each_row(query, [&] { visit(read_event(query)); }); code != SQLITE_OK)
    return state_->failure(code, "loading unfinished jobs");
  return {};
}

expected<void> store::events_of(std::uint64_t job, const event_visitor& visit) {
  auto& query = state_->events_by_job;
  query.bind(1, as_sql(job));
  if (const int code = each_row(query, [&] { visit(read_event(query)); }); code != SQLITE_OK)
    return state_->failure(code, "reading the events of job " + std::to_string(job));
  return {};
}

expected<void> store::events_of_kind(event_kind kind, utc_ns since,
                                     const std::function<bool(const stored_event&)>& visit) {
  const auto doing = std::string{"reading events of kind "} + to_string(kind);
  statement query;
  int code = query.prepare(state_->db.get(),
                           "SELECT seq, utc_ns, job, element, incarnation, kind, version, payload "
                           "FROM events WHERE kind = ?1 AND utc_ns >= ?2 ORDER BY seq DESC",
                           false);
  if (code != SQLITE_OK)
    return state_->failure(code, doing);
  query.bind(1, std::int64_t{static_cast<std::uint8_t>(kind)});
  query.bind(2, since);
  for (code = query.step(); code == SQLITE_ROW; code = query.step())
    if (!visit(read_event(query)))
      return {};
  return code == SQLITE_DONE ? expected<void>{} : state_->failure(code, doing);
}

expected<std::vector<std::uint8_t>> store::submitted_payload(std::uint64_t job) {
  const auto doing = "reading the submission of job " + std::to_string(job);
  statement query;
  int code = query.prepare(state_->db.get(),
                           "SELECT e.payload FROM jobs j JOIN events e ON e.seq = j.submit_seq "
                           "WHERE j.job = ?1",
                           false);
  if (code != SQLITE_OK)
    return state_->failure(code, doing);
  query.bind(1, as_sql(job));
  code = query.step();
  if (code == SQLITE_DONE)
    return fail(errc::not_found, "there is no job " + std::to_string(job));
  if (code != SQLITE_ROW)
    return state_->failure(code, doing);
  const auto bytes = query.bytes(0);
  return std::vector<std::uint8_t>{bytes.begin(), bytes.end()};
}

expected<void> store::history(const filter& which,
                              const std::function<void(const job_row&)>& visit) {
  if (which.states.size() > states_max || which.jobs.size() > ranges_max)
    return fail(errc::exhausted, "a history query names " + std::to_string(which.states.size()) +
                                     " states and " + std::to_string(which.jobs.size()) +
                                     " job ranges; at most " + std::to_string(states_max) +
                                     " and " + std::to_string(ranges_max) + " are taken");
  const auto sql = std::string{"SELECT "} + job_columns + " FROM jobs" + where(which) +
                   " ORDER BY job DESC LIMIT " + std::to_string(as_sql(which.limit));
  statement query;
  int code = query.prepare(state_->db.get(), sql, false);
  if (code == SQLITE_OK) {
    if (which.name)
      query.bind(1, std::string_view{*which.name});
    code = each_row(query, [&] { visit(read_job(query)); });
  }
  if (code != SQLITE_OK)
    return state_->failure(code, "reading the history");
  return {};
}

expected<job_row> store::row_of(std::uint64_t job) {
  std::optional<job_row> found;
  filter which;
  which.jobs = {{job, job}};
  if (auto done = history(which, [&](const job_row& row) { found = row; }); !done)
    return tl::unexpected<error>{std::move(done.error())};
  if (!found)
    return fail(errc::not_found, "there is no job " + std::to_string(job));
  return std::move(*found);
}

expected<void> store::elements_of(std::uint64_t job, range elements,
                                  const std::function<void(const element_row&)>& visit) {
  statement query;
  int code = query.prepare(state_->db.get(),
                           "SELECT element, incarnation, state, exit_code, signal, started_ns, "
                           "ended_ns, node FROM elements WHERE job = ?1 AND element BETWEEN ?2 "
                           "AND ?3 ORDER BY element, incarnation",
                           false);
  if (code == SQLITE_OK) {
    query.bind(1, as_sql(job));
    query.bind(2, as_sql(elements.first));
    query.bind(3, as_sql(elements.last));
    code = each_row(query, [&] { visit(read_element(query)); });
  }
  if (code != SQLITE_OK)
    return state_->failure(code, "reading the elements of job " + std::to_string(job));
  return {};
}

expected<std::optional<std::uint64_t>> store::job_of_request(const request_id& id) {
  auto& query = state_->job_by_request;
  std::optional<std::uint64_t> job;
  query.bind(1, byte_view{id});
  const int code = each_row(query, [&] { job = static_cast<std::uint64_t>(query.integer(0)); });
  if (code != SQLITE_OK)
    return state_->failure(code, "looking up a request");
  return job;
}

expected<void>
store::recent_requests(std::uint64_t count_max,
                       const std::function<void(const request_id&, std::uint64_t, utc_ns)>& visit) {
  statement query;
  int code = query.prepare(state_->db.get(),
                           "SELECT request_id, job, submitted_ns FROM jobs "
                           "WHERE request_id IS NOT NULL ORDER BY job DESC LIMIT ?1",
                           false);
  if (code == SQLITE_OK) {
    query.bind(1, as_sql(count_max));
    code = each_row(query, [&] {
      if (const auto id = optional_request(query, 0))
        visit(*id, static_cast<std::uint64_t>(query.integer(1)), query.integer(2));
    });
  }
  if (code != SQLITE_OK)
    return state_->failure(code, "reading recent requests");
  return {};
}

expected<void> store::rebuild() {
  auto& s = *state_;
  const auto doing = std::string{"rebuilding the tables of the ledger"};
  statement query;
  int code = s.begin.run();
  if (code == SQLITE_OK)
    code = s.tables.clear(s.db);
  if (code == SQLITE_OK)
    code = query.prepare(s.db.get(),
                         std::string{"SELECT "} + event_columns +
                             ", e.summary FROM events e WHERE e.summary IS NOT NULL ORDER BY e.seq",
                         false);
  expected<void> applied;
  if (code == SQLITE_OK)
    code = each_row(query, [&] {
      if (!applied)
        return;
      const auto at = read_event(query);
      const auto change = from_cbor<summary>(query.bytes(8));
      if (!change || s.tables.apply(at, *change) != projection_fault::ok)
        applied = fail(errc::storage, doing + ": event " + std::to_string(at.seq) + " of job " +
                                          std::to_string(at.job) + " in " + s.how.path +
                                          " cannot be applied; restore it from a backup");
    });
  if (code == SQLITE_OK && applied)
    code = s.commit.run();
  if (sqlite3_get_autocommit(s.db.get()) == 0)
    s.rollback.run();
  if (code != SQLITE_OK)
    return s.failure(code, doing);
  return applied;
}

expected<void> store::backup(const std::string& path) {
  const auto doing = "copying the ledger to " + path;
  // Claims the name: what exists is never overwritten.
  const unique_fd claim{
      ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!claim)
    return fail(errc::storage, doing + ": " + std::strerror(errno) +
                                   "; name a new file in a directory that exists");
  database target;
  int code = target.open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX);
  if (code == SQLITE_OK) {
    auto* copy = sqlite3_backup_init(target.get(), "main", state_->db.get(), "main");
    sqlite3_backup_step(copy, -1);
    code = sqlite3_backup_finish(copy);
  }
  const auto message = target.message();
  target = database{};
  if (code == SQLITE_OK && sync_file(path))
    return {};
  ::unlink(path.c_str());
  return fail(errc::storage, doing + ": " +
                                 (code == SQLITE_OK ? std::strerror(errno) : message.c_str()) +
                                 "; nothing was left there");
}

expected<void> store::check() {
  statement query;
  int code = query.prepare(state_->db.get(), "PRAGMA integrity_check(1)", false);
  std::string verdict;
  if (code == SQLITE_OK)
    code = each_row(query, [&] { verdict = query.text(0); });
  if (code != SQLITE_OK)
    return state_->failure(code, "checking the ledger");
  if (verdict != "ok")
    return fail(errc::storage, "the ledger " + state_->how.path + " is damaged (" + verdict +
                                   "); restore it from a backup");
  return {};
}

} // namespace troupe::ledger
