// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/store_state.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

// Opening a ledger: what is there is held against itself before anything is written.

namespace troupe::ledger {

namespace {

/// Makes the file for its owner alone before SQLite sees it: the log beside it inherits its mode.
expected<void> make_file(const std::string& path) {
  const unique_fd made{::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!made && errno == EEXIST)
    return {};
  if (made && sync_directory(directory_of(path)))
    return {};
  return fail(errc::storage, "the ledger " + path + " cannot be made: " + std::strerror(errno) +
                                 "; its directory must exist and be writable");
}

std::uint64_t size_of(const std::string& path) {
  struct stat there {};
  return ::stat(path.c_str(), &there) == 0 ? static_cast<std::uint64_t>(there.st_size) : 0;
}

/// Writes zeros over all of the log's file that is not written yet. A sync of what is written again
/// and again in place needs no change of the file's size or blocks: it costs a quarter of one that
/// makes the file grow. SQLite reads zeros behind its frames as the end of the log.
void fill_log(const options& how) {
  const unique_fd log{::open((how.path + "-wal").c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW)};
  struct stat now {};
  if (!log || ::fstat(log.get(), &now) != 0)
    return;
  static constexpr std::array<char, 256 << 10> zeros{};
  for (auto at = static_cast<std::uint64_t>(now.st_size); at < how.wal_bytes_max;) {
    const auto rest = std::min<std::uint64_t>(zeros.size(), how.wal_bytes_max - at);
    const auto written = ::pwrite(log.get(), zeros.data(), rest, static_cast<off_t>(at));
    if (written > 0) {
      at += static_cast<std::uint64_t>(written);
    } else if (written == 0 || errno != EINTR) {
      // The last of a disk is not for zeros: the log grows as it is needed.
      [[maybe_unused]] const auto given_back = ::ftruncate(log.get(), now.st_size);
      return;
    }
  }
  ::fdatasync(log.get());
}

tl::unexpected<error> refuse(const options& how, const std::string& what) {
  return fail(errc::storage,
              what +
                  ". Nothing was changed. Put the right ledger back, with the log that belongs to "
                  "it (" +
                  how.path +
                  "-wal) or without any, or restore a backup; 'troupe ledger rebuild' "
                  "then goes on with what is there, with job numbers above those that "
                  "were used");
}

/// What is there may be the right one, or is to be: that is for who knows it to say.
tl::unexpected<error> refuse_until_rebuilt(const std::string& what) {
  return fail(errc::storage,
              what + ". Nothing was changed. Put the right ledger back, with all files whose names "
                     "begin with its name; or let this one count: 'troupe ledger rebuild' goes on "
                     "with what is in it, with job numbers above those that are known to be used");
}

/// Whether other state says that there was a ledger with something in it.
bool was_there(const options& how, const std::optional<head>& known) {
  return (known && known->last_seq > 0) || how.job_seen > 0 || how.job_ordered > 0 ||
         (!known && (how.cluster_exists || how.had_head));
}

tl::unexpected<error> refuse_gone(const options& how) {
  return refuse(how, "the ledger " + how.path +
                         " is gone or empty, but other state of its cluster "
                         "is there");
}

/// Before SQLite touches anything: it would make a file that is not there, remove the log of one
/// that is empty, and pass over what it cannot read of a log.
expected<void> look_before(const options& how, const std::optional<head>& known) {
  if (how.take_what_is_there)
    return {};
  auto log = scan_log(how.path);
  if (!log)
    return tl::unexpected<error>{std::move(log.error())};
  if (size_of(how.path) == 0)
    return was_there(how, known) || !log->empty ? refuse_gone(how) : expected<void>{};
  if (log->damaged())
    return refuse(how, log->sentence(how.path));
  if (!known && how.had_head)
    return refuse_until_rebuilt(how.path + ".head is gone, which told how far the ledger had come: "
                                           "whether the one that is there is as new is not known");
  return {};
}

/// The head that is beside the ledger, if there is one.
expected<std::optional<head>> read_head(const options& how) {
  auto known = head_file::read(how.path + ".head");
  if (!known && how.take_what_is_there)
    return std::optional<head>{};
  return known;
}

} // namespace

/// What is in the ledger, against what is known of it beside it: before it is written.
expected<void> store::state::compare(const std::optional<head>& known, std::int64_t version) {
  std::int64_t last_seq = 0, highest = 0, drawn = 0, copied = 0;
  int code = db.query_integer("SELECT coalesce(max(seq), 0) FROM events", last_seq);
  if (code == SQLITE_OK)
    code = db.query_integer("SELECT value FROM facts WHERE name = 'highest_job'", highest);
  if (code == SQLITE_OK && version >= identity_since)
    code = db.query_integer("SELECT value FROM facts WHERE name = 'identity'", drawn);
  if (code == SQLITE_OK)
    code = db.query_integer("SELECT count(*) FROM facts WHERE name = 'backup'", copied);
  if (code != SQLITE_OK)
    return failure(code, "opening the ledger");
  if (how.take_what_is_there)
    return {};
  const auto last = static_cast<std::uint64_t>(last_seq);
  const bool same = static_cast<std::uint64_t>(drawn) == (known ? known->ledger : 0);
  if (known && known->last_seq > 0 && version >= identity_since && !same)
    return refuse(how, "the ledger " + path + " is another one than the one that was here");
  if (known && last < known->last_seq)
    return refuse(how, "the ledger " + path + " ends at event " + std::to_string(last) +
                           ", but had come to event " + std::to_string(known->last_seq) + " (job " +
                           std::to_string(known->highest_job) +
                           "): it is an older copy, or its log is gone");
  if (copied != 0)
    return refuse_until_rebuilt("the ledger " + path +
                                " is a backup, with what there was up to event " +
                                std::to_string(last) + "; what came after that is not in it");
  const auto knows = "the ledger " + path + " knows jobs up to " + std::to_string(highest);
  if (static_cast<std::uint64_t>(highest) < how.job_seen)
    return refuse(how, knows + ", but there is output of job " + std::to_string(how.job_seen));
  if (static_cast<std::uint64_t>(highest) < how.job_ordered)
    return refuse(how, knows + ", but the audit log has orders of job " +
                           std::to_string(how.job_ordered));
  return {};
}

/// Sees that the file is a ledger this program knows and the one that was here, and brings it to
/// the newest version.
expected<void> store::state::settle_version(const std::optional<head>& known) {
  std::int64_t id = 0, version = 0, count = 0;
  int code = db.query_integer("PRAGMA application_id", id);
  if (code == SQLITE_OK)
    code = db.query_integer("PRAGMA user_version", version);
  if (code == SQLITE_OK)
    code = db.query_integer("SELECT count(*) FROM sqlite_master", count);
  if (code != SQLITE_OK)
    return failure(code, "opening the ledger");
  const bool is_new = id == 0 && version == 0 && count == 0;
  if (!is_new && id != application_id)
    return fail(errc::invalid, path + " is a SQLite file, but not a ledger of Troupe; "
                                      "name another file or move this one away");
  if (version > schema_version())
    return fail(errc::invalid, "the ledger " + path + " has schema " + std::to_string(version) +
                                   ", written by a newer Troupe; this one knows schemas up to " +
                                   std::to_string(schema_version()) + ": start the newer one");
  if (is_new && was_there(how, known) && !how.take_what_is_there)
    return refuse_gone(how);
  if (!is_new)
    if (auto same = compare(known, version); !same)
      return same;
  if (version == schema_version())
    return {};
  code = db.execute("BEGIN IMMEDIATE");
  if (code == SQLITE_OK)
    code = migrate(db, version);
  if (code == SQLITE_OK)
    code = db.execute("COMMIT");
  if (code == SQLITE_OK)
    return {};
  return fail(errc::storage, "the ledger " + path + " could not be brought from schema " +
                                 std::to_string(version) + " to " +
                                 std::to_string(schema_version()) + ": " + db.message());
}

int store::state::prepare() {
  const std::pair<statement*, std::string> all[] = {
      {&insert_event, "INSERT INTO events(seq, utc_ns, job, element, incarnation, kind, version, "
                      "payload, summary, sum) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"},
      {&set_highest, "UPDATE facts SET value = ?1 WHERE name = 'highest_job'"},
      {&begin, "BEGIN IMMEDIATE"},
      {&commit, "COMMIT"},
      {&rollback, "ROLLBACK"},
  };
  for (const auto& [target, sql] : all)
    if (const int code = target->prepare(db.get(), sql); code != SQLITE_OK)
      return code;
  std::int64_t last = 0, highest = 0, page = 0, drawn = 0;
  int code = db.query_integer("SELECT coalesce(max(seq), 0) FROM events", last);
  if (code == SQLITE_OK)
    code = db.query_integer("SELECT value FROM facts WHERE name = 'highest_job'", highest);
  if (code == SQLITE_OK)
    code = db.query_integer("SELECT value FROM facts WHERE name = 'identity'", drawn);
  if (code == SQLITE_OK)
    code = db.query_integer("PRAGMA page_size", page);
  next_seq = static_cast<std::uint64_t>(last) + 1;
  highest_job = highest_job_opened = static_cast<std::uint64_t>(highest);
  identity = static_cast<std::uint64_t>(drawn);
  page_bytes = static_cast<std::uint64_t>(page);
  sqlite3_wal_hook(
      db.get(),
      [](void* self, sqlite3*, const char*, int pages) {
        auto& of = *static_cast<state*>(self);
        of.wal_pages = of.log_frames = static_cast<std::uint64_t>(pages);
        return SQLITE_OK;
      },
      this);
  if (code == SQLITE_OK)
    code = prepare_reads();
  return code == SQLITE_OK ? tables.prepare(db) : code;
}

/// From now on the head beside the ledger is the ledger's own.
expected<void> store::state::settle_head(const std::optional<head>& known) {
  const auto above = std::max({how.job_seen, how.job_ordered, known ? known->highest_job : 0});
  if (highest_job < above) {
    set_highest.bind(1, static_cast<std::int64_t>(above));
    if (const int code = set_highest.run(); code != SQLITE_OK)
      return failure(code, "opening the ledger");
    highest_job = highest_job_opened = above;
  }
  const auto name = path + ".head";
  const head now{identity, next_seq - 1, highest_job};
  const bool same = known && known->ledger == identity && known->last_seq <= now.last_seq;
  auto file = same ? head_file::open(name) : head_file::make(name, now);
  if (!file)
    return tl::unexpected<error>{std::move(file.error())};
  head_beside = std::move(*file);
  if (same && (!head_beside.note(now) || !head_beside.sync()))
    return fail(errc::storage, "cannot write " + name + ": " + std::strerror(errno));
  return {};
}

/// Where the log ends now: what comes behind it is cut off when it could not be kept.
int store::state::find_log_end() {
  log = unique_fd{::open((path + "-wal").c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  const auto found = scan_log(path);
  if (!log || !found)
    return SQLITE_CANTOPEN;
  log_frames = found->kept;
  salts = read_log_salts(log.get());
  return SQLITE_OK;
}

expected<store> store::open(options how, const clock_source& clock) {
  auto known = read_head(how);
  if (!known)
    return tl::unexpected<error>{std::move(known.error())};
  if (auto good = look_before(how, *known); !good)
    return tl::unexpected<error>{std::move(good.error())};
  if (auto made = make_file(how.path); !made)
    return tl::unexpected<error>{std::move(made.error())};
  auto s = std::make_unique<state>();
  s->how = std::move(how);
  s->path = s->how.path;
  s->clock = &clock;
  const auto doing = std::string{"opening the ledger"};
  int code = open_connection(s->db, s->path, SQLITE_OPEN_READWRITE);
  if (code == SQLITE_OK)
    code = s->db.execute("PRAGMA journal_mode = WAL");
  if (code != SQLITE_OK)
    return s->failure(code, doing);
  if (auto settled = s->settle_version(*known); !settled)
    return tl::unexpected<error>{std::move(settled.error())};
  if (code = s->prepare(); code != SQLITE_OK)
    return s->failure(code, doing);
  if (auto settled = s->settle_head(*known); !settled)
    return tl::unexpected<error>{std::move(settled.error())};
  s->reserve = ballast{s->how.path + ".ballast", s->how.ballast_bytes};
  if (s->reserve.held())
    fill_log(s->how);
  if (code = s->find_log_end(); code != SQLITE_OK)
    return s->failure(code, doing);
  return store{std::move(s)};
}

} // namespace troupe::ledger
