// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/connection.hpp"

#include <algorithm>

namespace troupe::ledger {

namespace {

constexpr std::size_t states_max = 64;
constexpr std::size_t ranges_max = 256;

/// What one page looks at, at most, whatever it finds: others wait for its end.
constexpr std::uint64_t page_jobs_max = 100'000;
constexpr std::uint64_t page_events_max = 400'000;
constexpr std::int64_t ended_since_max = 100'000;

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

promise_row read_promise(const statement& from) {
  promise_row row;
  row.seq = static_cast<std::uint64_t>(from.integer(0));
  row.job = static_cast<std::uint64_t>(from.integer(1));
  row.started_ns = from.integer(2);
  row.promised = {from.integer(3), from.integer(4)};
  row.uid = static_cast<std::uint32_t>(from.integer(5));
  row.name = from.text(6);
  row.submitted_ns = from.integer(7);
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

/// The condition of a filter on the table of jobs, which the query calls j; numbers are written
/// into it, texts are bound.
std::string where(const filter& which) {
  std::string sql = " WHERE 1";
  const auto add = [&](const char* text, auto value) { sql += text + std::to_string(value); };
  if (which.uid)
    add(" AND j.uid = ", *which.uid);
  if (which.since)
    add(" AND coalesce(j.ended_ns, 9223372036854775807) >= ", *which.since);
  if (which.until)
    add(" AND j.submitted_ns < ", *which.until);
  if (which.name)
    sql += " AND j.name = ?1";
  for (std::size_t i = 0; i < which.states.size(); ++i)
    add(i == 0 ? " AND j.state IN (" : ", ", which.states[i]);
  sql += which.states.empty() ? "" : ")";
  for (std::size_t i = 0; i < which.jobs.size(); ++i) {
    add(i == 0 ? " AND (j.job BETWEEN " : " OR j.job BETWEEN ", as_sql(which.jobs[i].first));
    add(" AND ", as_sql(which.jobs[i].last));
  }
  sql += which.jobs.empty() ? "" : ")";
  return sql;
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

int reads::connection::prepare_reads() {
  const std::string columns{event_columns};
  int code = events_by_job.prepare(db.get(), "SELECT " + columns +
                                                 " FROM events e WHERE e.job = ?1 ORDER BY e.seq");
  if (code == SQLITE_OK)
    code = unfinished.prepare(
        db.get(), "SELECT " + columns +
                      " FROM jobs j INDEXED BY jobs_unfinished CROSS JOIN events e ON e.job = "
                      "j.job WHERE j.ended_ns IS NULL ORDER BY j.job, e.seq");
  if (code == SQLITE_OK)
    code = job_by_request.prepare(db.get(), "SELECT job FROM requests WHERE request_id = ?1");
  if (code == SQLITE_OK)
    code = row_by_job.prepare(db.get(),
                              std::string{"SELECT "} + job_columns + " FROM jobs WHERE job = ?1");
  if (code == SQLITE_OK)
    code = payload_by_job.prepare(db.get(), "SELECT e.payload FROM jobs j JOIN events e ON e.seq = "
                                            "j.submit_seq WHERE j.job = ?1");
  return code;
}

expected<void> reads::load_unfinished(const event_visitor& visit) {
  auto& query = on_->unfinished;
  if (const int code = each_row(query, [&] { visit(read_event(query)); }); code != SQLITE_OK)
    return on_->failure(code, "loading unfinished jobs");
  return {};
}

expected<void> reads::events_of(std::uint64_t job, const event_visitor& visit) {
  auto& query = on_->events_by_job;
  query.bind(1, as_sql(job));
  if (const int code = each_row(query, [&] { visit(read_event(query)); }); code != SQLITE_OK)
    return on_->failure(code, "reading the events of job " + std::to_string(job));
  return {};
}

expected<void> reads::events_in(range sequence, event_kind kind, const event_visitor& visit) {
  statement query;
  int code = query.prepare(on_->db.get(),
                           "SELECT seq, utc_ns, job, element, incarnation, kind, version, payload "
                           "FROM events WHERE seq BETWEEN ?1 AND ?2 AND kind = ?3 ORDER BY seq",
                           false);
  if (code == SQLITE_OK) {
    query.bind(1, as_sql(sequence.first));
    query.bind(2, as_sql(sequence.last));
    query.bind(3, std::int64_t{static_cast<std::uint8_t>(kind)});
    code = each_row(query, [&] { visit(read_event(query)); });
  }
  if (code != SQLITE_OK)
    return on_->failure(code, std::string{"reading events of kind "} + to_string(kind));
  return {};
}

expected<std::uint64_t> reads::newest_event() {
  std::int64_t last = 0;
  const int code = on_->db.query_integer("SELECT coalesce(max(seq), 0) FROM events", last);
  if (code != SQLITE_OK)
    return on_->failure(code, "reading the last event");
  return static_cast<std::uint64_t>(last);
}

expected<std::vector<std::uint8_t>> reads::submitted_payload(std::uint64_t job) {
  auto& query = on_->payload_by_job;
  query.bind(1, as_sql(job));
  std::optional<std::vector<std::uint8_t>> found;
  const int code = each_row(query, [&] {
    const auto bytes = query.bytes(0);
    found.emplace(bytes.begin(), bytes.end());
  });
  if (code != SQLITE_OK)
    return on_->failure(code, "reading the submission of job " + std::to_string(job));
  if (!found)
    return fail(errc::not_found, "there is no job " + std::to_string(job));
  return std::move(*found);
}

expected<void> reads::check(const filter& which) const {
  if (which.states.size() <= states_max && which.jobs.size() <= ranges_max)
    return {};
  return fail(errc::exhausted, "a history query names " + std::to_string(which.states.size()) +
                                   " states and " + std::to_string(which.jobs.size()) +
                                   " job ranges; at most " + std::to_string(states_max) + " and " +
                                   std::to_string(ranges_max) + " are taken");
}

/// Where the jobs that a filter means begin and end, as far as that is quickly found.
expected<range> reads::reach_of(const filter& which) {
  std::int64_t highest = 0;
  int code = on_->db.query_integer("SELECT coalesce(max(job), 0) FROM jobs", highest);
  range reach{1, static_cast<std::uint64_t>(highest)};
  if (!which.jobs.empty()) {
    const auto& jobs = which.jobs;
    reach.first = std::min_element(jobs.begin(), jobs.end(), [](const auto& a, const auto& b) {
                    return a.first < b.first;
                  })->first;
    reach.last = std::min(
        reach.last, std::max_element(jobs.begin(), jobs.end(), [](const auto& a, const auto& b) {
                      return a.last < b.last;
                    })->last);
  }
  // Few ended since then, usually: theirs are the only jobs to look at, besides unfinished ones.
  if (code == SQLITE_OK && which.since && !which.states.empty()) {
    std::int64_t count = 0, lowest = 0;
    const auto of = " FROM (SELECT job FROM jobs INDEXED BY jobs_ended WHERE ended_ns >= " +
                    std::to_string(*which.since) + " LIMIT " + std::to_string(ended_since_max) +
                    ")";
    code = on_->db.query_integer("SELECT count(*)" + of, count);
    if (code == SQLITE_OK && count < ended_since_max) {
      code = on_->db.query_integer("SELECT coalesce(min(job), 9223372036854775807)" + of, lowest);
      reach.first = std::max(reach.first, static_cast<std::uint64_t>(lowest));
    }
  }
  if (code != SQLITE_OK)
    return on_->failure(code, "reading the history");
  return reach;
}

expected<std::uint64_t> reads::history_page(const filter& which, std::uint64_t before,
                                            const std::function<void(const job_row&)>& visit) {
  if (auto ok = check(which); !ok)
    return tl::unexpected<error>{std::move(ok.error())};
  auto reach = reach_of(which);
  if (!reach)
    return tl::unexpected<error>{std::move(reach.error())};
  statement query;
  int code = query.prepare(on_->db.get(),
                           std::string{"SELECT "} + job_columns + " FROM jobs j" + where(which) +
                               " AND j.job BETWEEN ?2 AND ?3 ORDER BY j.job DESC LIMIT " +
                               std::to_string(as_sql(which.limit)),
                           false);
  if (code != SQLITE_OK)
    return on_->failure(code, "reading the history");
  if (which.name)
    query.bind(1, std::string_view{*which.name});
  if (reach->last == 0 || reach->first > reach->last || before <= reach->first)
    return std::uint64_t{0};
  const auto last = std::min(reach->last, before - 1);
  const auto first = std::max(reach->first, last >= page_jobs_max ? last - page_jobs_max + 1 : 1);
  query.bind(2, as_sql(first));
  query.bind(3, as_sql(last));
  std::uint64_t count = 0, lowest = 0;
  code = each_row(query, [&] {
    ++count;
    const auto row = read_job(query);
    lowest = row.job;
    visit(row);
  });
  if (code != SQLITE_OK)
    return on_->failure(code, "reading the history");
  const auto next = count == which.limit ? lowest : first;
  return next <= reach->first ? 0 : next;
}

expected<void> reads::history(const filter& which,
                              const std::function<void(const job_row&)>& visit) {
  if (auto ok = check(which); !ok)
    return ok;
  const auto sql = std::string{"SELECT "} + job_columns + " FROM jobs j" + where(which) +
                   " ORDER BY job DESC LIMIT " + std::to_string(as_sql(which.limit));
  statement query;
  int code = query.prepare(on_->db.get(), sql, false);
  if (code == SQLITE_OK) {
    if (which.name)
      query.bind(1, std::string_view{*which.name});
    code = each_row(query, [&] { visit(read_job(query)); });
  }
  if (code != SQLITE_OK)
    return on_->failure(code, "reading the history");
  return {};
}

expected<std::uint64_t> reads::promises_page(const filter& which, std::uint64_t before,
                                             const std::function<void(const promise_row&)>& visit) {
  if (auto ok = check(which); !ok)
    return tl::unexpected<error>{std::move(ok.error())};
  std::int64_t newest = 0;
  int code = on_->db.query_integer("SELECT coalesce(max(seq), 0) FROM promises", newest);
  const auto last = std::min(before - 1, static_cast<std::uint64_t>(newest));
  const auto first = last >= page_events_max ? last - page_events_max + 1 : 1;
  auto only = which;
  only.states.clear();
  only.since.reset(); // of promises, that means the start
  const auto since = which.since ? " AND p.started_ns >= " + std::to_string(*which.since) : "";
  statement query;
  if (code == SQLITE_OK)
    code = query.prepare(
        on_->db.get(),
        "SELECT p.seq, p.job, p.started_ns, p.first_ns, p.last_ns, j.uid, j.name, j.submitted_ns "
        "FROM promises p CROSS JOIN jobs j ON j.job = p.job" +
            where(only) + since + " AND p.seq BETWEEN ?2 AND ?3 ORDER BY p.seq DESC LIMIT " +
            std::to_string(as_sql(which.limit)),
        false);
  if (code != SQLITE_OK)
    return on_->failure(code, "reading promised starts");
  if (which.name)
    query.bind(1, std::string_view{*which.name});
  query.bind(2, as_sql(first));
  query.bind(3, as_sql(last));
  std::uint64_t count = 0, lowest = 0;
  code = each_row(query, [&] {
    ++count;
    const auto row = read_promise(query);
    lowest = row.seq;
    visit(row);
  });
  if (code != SQLITE_OK)
    return on_->failure(code, "reading promised starts");
  const auto next = count == which.limit ? lowest : first;
  return next <= 1 ? 0 : next;
}

expected<std::uint64_t> reads::promises_from() {
  std::int64_t from = 1;
  const int code =
      on_->db.query_integer("SELECT value FROM facts WHERE name = 'promises_from'", from);
  if (code != SQLITE_OK)
    return on_->failure(code, "reading promised starts");
  return static_cast<std::uint64_t>(from);
}

expected<std::optional<kept_value>> reads::kept(std::string_view name) {
  statement query;
  std::optional<kept_value> found;
  int code = query.prepare(on_->db.get(), "SELECT seq, value FROM kept WHERE name = ?1", false);
  if (code == SQLITE_OK) {
    query.bind(1, name);
    code = each_row(query, [&] {
      const auto bytes = query.bytes(1);
      found =
          kept_value{static_cast<std::uint64_t>(query.integer(0)), {bytes.begin(), bytes.end()}};
    });
  }
  if (code != SQLITE_OK)
    return on_->failure(code, "reading what is kept of " + std::string{name});
  return found;
}

expected<job_row> reads::row_of(std::uint64_t job) {
  auto& query = on_->row_by_job;
  query.bind(1, as_sql(job));
  std::optional<job_row> found;
  const int code = each_row(query, [&] { found = read_job(query); });
  if (code != SQLITE_OK)
    return on_->failure(code, "reading job " + std::to_string(job));
  if (!found)
    return fail(errc::not_found, "there is no job " + std::to_string(job));
  return std::move(*found);
}

expected<void> reads::elements_of(std::uint64_t job, range elements,
                                  const std::function<void(const element_row&)>& visit) {
  statement query;
  int code = query.prepare(on_->db.get(),
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
    return on_->failure(code, "reading the elements of job " + std::to_string(job));
  return {};
}

expected<std::optional<std::uint64_t>> reads::job_of_request(const request_id& id) {
  auto& query = on_->job_by_request;
  std::optional<std::uint64_t> job;
  query.bind(1, byte_view{id});
  const int code = each_row(query, [&] { job = static_cast<std::uint64_t>(query.integer(0)); });
  if (code != SQLITE_OK)
    return on_->failure(code, "looking up a request");
  return job;
}

} // namespace troupe::ledger
