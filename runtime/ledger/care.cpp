// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/care.hpp"

#include "messages/cbor.hpp"
#include "runtime/ledger/connection.hpp"
#include "runtime/ledger/head.hpp"
#include "runtime/ledger/log_scan.hpp"
#include "runtime/ledger/tables.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::ledger {

namespace {

void add_problem(std::vector<std::string>& to, std::string text) {
  if (to.size() < problems_max)
    to.push_back(std::move(text));
}

/// A connection that leaves the log where it is when it is closed.
int open_to_look(database& db, const std::string& path) {
  int code = open_connection(db, path, SQLITE_OPEN_READWRITE);
  if (code == SQLITE_OK)
    code = sqlite3_db_config(db.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  return code;
}

std::uint64_t integer_of(database& db, const std::string& sql) {
  std::int64_t value = 0;
  return db.query_integer(sql, value) == SQLITE_OK ? static_cast<std::uint64_t>(value) : 0;
}

// -- check ----------------------------------------------------------------------------------------

/// Tables of the same names in memory come before those of the file: what writes `jobs` writes
/// there.
int make_shadows(database& db) {
  statement query;
  std::string all;
  int code = query.prepare(db.get(),
                           "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name IN "
                           "('jobs', 'elements', 'requests', 'promises', 'facts')",
                           false);
  if (code == SQLITE_OK)
    code = each_row(query, [&] {
      auto sql = std::string{query.text(0)};
      all += sql.replace(0, std::strlen("CREATE TABLE "), "CREATE TEMP TABLE ") + ";";
    });
  return code == SQLITE_OK ? db.execute(all) : code;
}

/// Of an event and its summary, which are columns 0 to 8; column 9 is the sum.
std::optional<byte_view> summary_in(const statement& row) {
  if (row.is_null(8))
    return std::nullopt;
  return row.bytes(8);
}

/// Whether an event is as it was written. Those of an earlier schema have no sum to tell.
bool is_as_written(const statement& row, const stored_event& at, std::uint64_t sums_from) {
  // What is wider in the file than what it is read into.
  const auto fits = (row.is_null(3) || row.integer(3) == std::int64_t{at.element}) &&
                    row.integer(4) == std::int64_t{at.incarnation} &&
                    row.integer(5) == static_cast<std::int64_t>(at.kind) &&
                    row.integer(6) == std::int64_t{at.version};
  if (!fits)
    return false;
  if (row.is_null(9))
    return at.seq < sums_from;
  return row.integer(9) == sum_of(at, summary_in(row));
}

std::uint64_t sums_from(database& db) {
  return integer_of(db, "SELECT value FROM main.facts WHERE name = 'sums_from'");
}

std::string name_of(const stored_event& at) {
  return "event " + std::to_string(at.seq) + " of job " + std::to_string(at.job);
}

/// Reads every event; makes the tables from them, and compares.
int check_events(database& db, check_report& into) {
  projections shadows;
  int code = make_shadows(db);
  if (code == SQLITE_OK)
    code = shadows.prepare(db);
  const auto first_sum = sums_from(db);
  statement query;
  if (code == SQLITE_OK)
    code = query.prepare(db.get(),
                         std::string{"SELECT "} + event_columns +
                             ", e.summary, e.sum FROM main.events e ORDER BY e.seq",
                         false);
  if (code == SQLITE_OK)
    code = each_row(query, [&] {
      const auto at = read_event(query);
      if (!is_as_written(query, at, first_sum))
        return add_problem(into.problems,
                           name_of(at) + " is not as it was written: restore a backup, or have "
                                         "'troupe ledger rebuild' take it as it is");
      const auto encoded = summary_in(query);
      if (!encoded)
        return;
      const auto change = from_cbor<summary>(*encoded);
      if (!change || shadows.apply(at, *change) != projection_fault::ok)
        add_problem(into.problems, name_of(at) + " cannot be applied" +
                                       (change ? "" : ": " + change.error().text));
    });
  for (const std::string table : {"jobs", "elements"}) {
    const auto differ = [&](const char* one, const char* other) {
      return integer_of(db, "SELECT count(*) FROM (SELECT * FROM " + std::string{one} + "." +
                                table + " EXCEPT SELECT * FROM " + other + "." + table + ")");
    };
    if (code != SQLITE_OK)
      break;
    if (const auto count = differ("main", "temp") + differ("temp", "main"); count > 0)
      add_problem(into.problems, "the table of " + table + " is not what the events make of it: " +
                                     std::to_string(count) +
                                     " rows differ; 'troupe ledger rebuild' makes it anew");
  }
  return code;
}

int check_pages(database& db, check_report& into) {
  statement query;
  int code = query.prepare(db.get(), "PRAGMA main.integrity_check(20)", false);
  if (code == SQLITE_OK)
    code = each_row(query, [&] {
      if (query.text(0) != "ok")
        add_problem(into.problems, "its pages: " + std::string{query.text(0)});
    });
  return code;
}

// -- copy -----------------------------------------------------------------------------------------

/// Nobody but its owner and root may put another file under a name in there.
expected<void> check_directory(const std::string& to) {
  const auto where = directory_of(to);
  struct stat there {};
  if (::stat(where.c_str(), &there) != 0)
    return fail(errc::storage, "the directory of " + to + ": " + std::strerror(errno));
  const bool mine = there.st_uid == ::geteuid() || there.st_uid == 0;
  const bool closed = (there.st_mode & 022) == 0 || (there.st_mode & S_ISVTX) != 0;
  if (mine && closed)
    return {};
  return fail(errc::refused, "others may replace files in " + where +
                                 "; name a file in a directory that only you may write");
}

/// Fills the target, which has been claimed, from one moment of the source.
int copy_pages(database& from, const std::string& to, copy_report& into, std::string& message) {
  database target;
  int code = target.open(to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (code == SQLITE_OK)
    code = target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
  if (code == SQLITE_OK)
    code = from.execute("BEGIN");
  if (code == SQLITE_OK) {
    into.last_seq = integer_of(from, "SELECT coalesce(max(seq), 0) FROM events");
    into.highest_job = integer_of(from, "SELECT value FROM facts WHERE name = 'highest_job'");
    if (auto* copy = sqlite3_backup_init(target.get(), "main", from.get(), "main")) {
      sqlite3_backup_step(copy, -1);
      code = sqlite3_backup_finish(copy);
      // What came after this moment is not in it: it does not go on as if nothing had.
      if (code == SQLITE_OK)
        code = target.execute("INSERT OR REPLACE INTO facts VALUES('backup', 1)");
    } else {
      code = sqlite3_errcode(target.get());
    }
    (void)from.execute("COMMIT");
  }
  message = target.message();
  return code;
}

/// Gives a whole file its name, unless something has it.
bool name_it(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0)
    return true;
  // Not every file system can.
  return errno == EINVAL && ::link(from.c_str(), to.c_str()) == 0 && ::unlink(from.c_str()) == 0;
}

// -- rebuild --------------------------------------------------------------------------------------

/// The sequence number from which on reading is tried again behind a page that cannot be read.
constexpr std::uint64_t skip_events_max = 1u << 20;

class rebuilding {
public:
  rebuilding(database& from, database& to, rebuild_report& report)
      : from_{from}, to_{to}, report_{report}, sums_from_{sums_from(from)} {}

  int run() {
    int code = tables_.prepare(to_);
    if (code == SQLITE_OK)
      code = insert_.prepare(to_.get(),
                             "INSERT INTO events(seq, utc_ns, job, element, incarnation, kind, "
                             "version, payload, summary, sum) VALUES(?1, ?2, ?3, ?4, ?5, ?6, "
                             "?7, ?8, ?9, ?10)");
    std::uint64_t skip = 1;
    while (code == SQLITE_OK && skip <= skip_events_max) {
      const auto before = last_;
      const int read = take_from(last_ + skip, code);
      if (read == SQLITE_OK)
        break;
      add_problem(report_.problems, "events behind " + std::to_string(last_ + skip - 1) +
                                        " cannot be read: " + from_.message());
      skip = last_ > before ? 1 : skip * 2;
    }
    return code;
  }

private:
  /// Takes events over from this one on; SQLite's code of reading. `code`: of writing.
  int take_from(std::uint64_t first, int& code) {
    statement query;
    int read = query.prepare(from_.get(),
                             std::string{"SELECT "} + event_columns + ", e.summary, " +
                                 (sums_from_ == 0 ? "NULL" : "e.sum") +
                                 " FROM events e WHERE e.seq >= ?1 ORDER BY e.seq",
                             false);
    if (read != SQLITE_OK)
      return read;
    query.bind(1, static_cast<std::int64_t>(first));
    for (read = query.step(); read == SQLITE_ROW && code == SQLITE_OK; read = query.step())
      code = take(query);
    return read == SQLITE_DONE || code != SQLITE_OK ? SQLITE_OK : read;
  }

  int take(const statement& from) {
    const auto at = read_event(from);
    const auto encoded = summary_in(from);
    last_ = at.seq;
    ++report_.events;
    report_.highest_job = std::max(report_.highest_job, at.job);
    insert_.bind(1, static_cast<std::int64_t>(at.seq));
    insert_.bind(2, at.time);
    insert_.bind(3, static_cast<std::int64_t>(at.job));
    if (at.element == whole_job)
      insert_.bind_null(4);
    else
      insert_.bind(4, std::int64_t{at.element});
    insert_.bind(5, std::int64_t{at.incarnation});
    insert_.bind(6, static_cast<std::int64_t>(at.kind));
    insert_.bind(7, std::int64_t{at.version});
    insert_.bind(8, at.payload);
    if (!encoded)
      insert_.bind_null(9);
    else
      insert_.bind(9, *encoded);
    insert_.bind(10, sum_of(at, encoded));
    if (sums_from_ != 0 && !is_as_written(from, at, sums_from_))
      add_problem(report_.problems,
                  name_of(at) + " is not as it was written, and was taken over as it is");
    if (const int code = insert_.run(); code != SQLITE_OK || !encoded)
      return code;
    const auto change = from_cbor<summary>(*encoded);
    if (!change || tables_.apply(at, *change) != projection_fault::ok)
      add_problem(report_.problems, name_of(at) + " cannot be applied");
    return SQLITE_OK;
  }

  database& from_;
  database& to_;
  rebuild_report& report_;
  std::uint64_t sums_from_; ///< 0: of an earlier schema, or that cannot be read
  projections tables_;
  statement insert_;
  std::uint64_t last_ = 0;
};

/// The new ledger's file, with all that could be taken over.
expected<void> fill_new(const std::string& path, const std::string& to, std::uint64_t job_seen,
                        head& now, rebuild_report& report) {
  database from, target;
  struct stat there {};
  bool is_there = ::stat(path.c_str(), &there) == 0 && there.st_size > 0;
  int code = is_there ? open_to_look(from, path) : SQLITE_OK;
  if (code != SQLITE_OK)
    return sentence_of(code, path, "reading the ledger", from);
  // What was only in a log that is gone leaves an empty database.
  if (is_there && integer_of(from, "PRAGMA page_count") <= 1) {
    add_problem(report.problems, "there is no event in " + path + " that could be taken over");
    is_there = false;
  }
  if (is_there && integer_of(from, "PRAGMA application_id") != application_id)
    return fail(errc::invalid, path + " cannot be read as a ledger of Troupe; restore a backup");
  code = target.open(to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (code == SQLITE_OK)
    code = target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN");
  if (code == SQLITE_OK)
    code = migrate(target, 0);
  if (code == SQLITE_OK && is_there)
    code = rebuilding{from, target, report}.run();
  const auto fact = [&](const char* name) {
    return integer_of(from, std::string{"SELECT value FROM facts WHERE name = '"} + name + "'");
  };
  report.highest_job =
      std::max({report.highest_job, job_seen, now.highest_job, is_there ? fact("highest_job") : 0});
  const auto set = [&](const char* name, std::uint64_t value) {
    if (code == SQLITE_OK && value != 0)
      code = target.execute("UPDATE facts SET value = " + std::to_string(value) +
                            " WHERE name = '" + name + "'");
  };
  set("highest_job", report.highest_job);
  set("identity", is_there ? fact("identity") : 0);
  set("promises_from", is_there ? fact("promises_from") : 0);
  if (code == SQLITE_OK)
    code = target.execute("COMMIT");
  if (code != SQLITE_OK)
    return sentence_of(code, to, "making the ledger anew", target);
  report.jobs = integer_of(target, "SELECT count(*) FROM jobs");
  now = {integer_of(target, "SELECT value FROM facts WHERE name = 'identity'"),
         integer_of(target, "SELECT coalesce(max(seq), 0) FROM events"), report.highest_job};
  return {};
}

/// Puts what was there aside, with its log, under the first free name.
expected<std::string> set_aside(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0)
    return std::string{};
  for (int number = 1; number < 1000; ++number) {
    const auto to = path + ".before-" + std::to_string(number);
    if (::link(path.c_str(), to.c_str()) != 0) {
      if (errno == EEXIST)
        continue;
      return fail(errc::storage, "cannot keep " + path + " as " + to + ": " + std::strerror(errno));
    }
    if (::rename((path + "-wal").c_str(), (to + "-wal").c_str()) != 0 && errno != ENOENT)
      return fail(errc::storage, "cannot keep the log of " + path + ": " + std::strerror(errno));
    return to;
  }
  return fail(errc::exhausted,
              "there are a thousand former ledgers beside " + path + "; remove some of them");
}

} // namespace

expected<check_report> check_ledger(const std::string& path) {
  check_report report;
  auto log = scan_log_in_use(path);
  if (!log)
    return tl::unexpected<error>{std::move(log.error())};
  // Before the moment that is checked: what is appended meanwhile is in the head first.
  const auto known = head_file::read(path + ".head");
  database db;
  const auto doing = std::string{"checking the ledger"};
  int code = open_to_look(db, path);
  if (code == SQLITE_OK)
    code = db.execute("PRAGMA temp_store = FILE; BEGIN");
  if (code != SQLITE_OK)
    return sentence_of(code, path, doing, db);
  if (integer_of(db, "PRAGMA application_id") != application_id)
    return fail(errc::invalid, path + " is not a ledger of Troupe");
  if (log->damaged())
    add_problem(report.problems, log->sentence(path));
  report.schema = static_cast<std::int64_t>(integer_of(db, "PRAGMA user_version"));
  report.events = integer_of(db, "SELECT count(*) FROM events");
  report.jobs = integer_of(db, "SELECT count(*) FROM jobs");
  report.unfinished = integer_of(db, "SELECT count(*) FROM jobs WHERE ended_ns IS NULL");
  report.last_seq = integer_of(db, "SELECT coalesce(max(seq), 0) FROM events");
  report.highest_job = integer_of(db, "SELECT value FROM facts WHERE name = 'highest_job'");
  if (report.schema != schema_version()) {
    add_problem(report.problems, "it has schema " + std::to_string(report.schema) +
                                     ", this Troupe " + std::to_string(schema_version()) +
                                     ": 'troupe up' brings it to that");
    return report;
  }
  code = check_pages(db, report);
  // What is damaged in its pages says nothing about its tables.
  if (code == SQLITE_OK && report.good())
    code = check_events(db, report);
  if (code != SQLITE_OK)
    add_problem(report.problems, sentence_of(code, path, doing, db).value().text);
  if (!known)
    add_problem(report.problems, known.error().text);
  else if (*known && (*known)->last_seq > report.last_seq)
    add_problem(report.problems, "it ends at event " + std::to_string(report.last_seq) +
                                     ", but had come to event " +
                                     std::to_string((*known)->last_seq));
  return report;
}

expected<copy_report> copy_ledger(const std::string& path, const std::string& to) {
  const auto doing = "copying the ledger to " + to;
  if (auto safe = check_directory(to); !safe)
    return tl::unexpected<error>{std::move(safe.error())};
  const auto partial = to + ".partial";
  if (::access(to.c_str(), F_OK) == 0)
    return fail(errc::storage, doing + ": it exists; name a new file");
  const unique_fd claim{
      ::open(partial.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!claim)
    return fail(errc::storage, doing + ": " + partial + ": " + std::strerror(errno) +
                                   "; name a new file in a directory that exists");
  database from;
  copy_report report;
  std::string message;
  int code = open_to_look(from, path);
  if (code != SQLITE_OK)
    message = sentence_of(code, path, "reading it", from).value().text;
  else
    code = copy_pages(from, partial, report, message);
  struct stat made {};
  if (code == SQLITE_OK && ::fsync(claim.get()) == 0 && ::fstat(claim.get(), &made) == 0 &&
      name_it(partial, to) && sync_directory(directory_of(to))) {
    report.bytes = static_cast<std::uint64_t>(made.st_size);
    return report;
  }
  if (code == SQLITE_OK)
    message = std::strerror(errno);
  ::unlink(partial.c_str());
  return fail(errc::storage, doing + ": " + message + "; nothing was left there");
}

expected<rebuild_report> rebuild_ledger(const std::string& path, std::uint64_t job_seen) {
  rebuild_report report;
  const auto fresh = path + ".new";
  auto known = head_file::read(path + ".head");
  head now = known && *known ? **known : head{};
  ::unlink(fresh.c_str()); // of a rebuild that was interrupted
  const unique_fd claim{
      ::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!claim)
    return fail(errc::storage, "cannot make " + fresh + ": " + std::strerror(errno));
  if (auto log = scan_log(path); log && log->damaged())
    add_problem(report.problems, log->sentence(path));
  if (auto filled = fill_new(path, fresh, job_seen, now, report); !filled) {
    ::unlink(fresh.c_str());
    return tl::unexpected<error>{std::move(filled.error())};
  }
  if (::fsync(claim.get()) != 0)
    return fail(errc::storage, "cannot sync " + fresh + ": " + std::strerror(errno));
  auto former = set_aside(path);
  if (!former)
    return tl::unexpected<error>{std::move(former.error())};
  report.former = std::move(*former);
  // The head first: it fits the ledger that was there, too, as far as that could be read.
  if (auto made = head_file::make(path + ".head", now); !made)
    return tl::unexpected<error>{std::move(made.error())};
  if (::rename(fresh.c_str(), path.c_str()) != 0 || !sync_directory(directory_of(path)))
    return fail(errc::storage, "cannot name the new ledger " + path + ": " + std::strerror(errno));
  return report;
}

} // namespace troupe::ledger
