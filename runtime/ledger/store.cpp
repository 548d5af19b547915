// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "messages/cbor.hpp"
#include "runtime/ledger/store_state.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace troupe::ledger {

namespace {

constexpr boot_ns reserve_retry_ns = ns_per_s;

bool is_full(int code) {
  // A quota or a file size limit shows as a failed write, not as SQLITE_FULL.
  return (code & 0xff) == SQLITE_FULL || code == SQLITE_IOERR_WRITE ||
         code == SQLITE_IOERR_TRUNCATE || code == SQLITE_IOERR_SHMSIZE;
}

bool is_failed_sync(int code) {
  return code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
}

/// Makes the file for its owner alone before SQLite sees it: the log beside it inherits its mode.
expected<void> make_file(const std::string& path) {
  const unique_fd made{::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!made && errno == EEXIST)
    return {};
  const auto parent = std::filesystem::path{path}.parent_path();
  const auto folder = parent.empty() ? std::string{"."} : parent.string();
  const unique_fd directory{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (made && directory && ::fsync(directory.get()) == 0)
    return {};
  return fail(errc::storage, "the ledger " + path + " cannot be made: " + std::strerror(errno) +
                                 "; its directory must exist and be writable");
}

/// New jobs are refused when the file system has less room than this.
constexpr std::uint64_t room_bytes_min = 1u << 20;

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

int configure(database& db) {
  // Exclusive: one owner, and no shared memory file that a crash could leave behind.
  return db.execute("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; "
                    "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; "
                    "PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY; "
                    "PRAGMA trusted_schema = OFF");
}

/// Sees that the file is a ledger this program knows, and brings it to the newest version.
expected<void> settle_version(database& db, const std::string& path) {
  std::int64_t id = 0, version = 0, tables = 0;
  int code = db.query_integer("PRAGMA application_id", id);
  if (code == SQLITE_OK)
    code = db.query_integer("PRAGMA user_version", version);
  if (code == SQLITE_OK)
    code = db.query_integer("SELECT count(*) FROM sqlite_master", tables);
  if (code != SQLITE_OK)
    return fail(errc::storage, "the ledger " + path + " cannot be read: " + db.message());
  const bool is_new = id == 0 && version == 0 && tables == 0;
  if (!is_new && id != application_id)
    return fail(errc::invalid, path + " is a SQLite file, but not a ledger of Troupe; "
                                      "name another file or move this one away");
  if (version > schema_version())
    return fail(errc::invalid, "the ledger " + path + " has schema " + std::to_string(version) +
                                   ", written by a newer Troupe; this one knows schemas up to " +
                                   std::to_string(schema_version()) + ": start the newer one");
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

} // namespace

tl::unexpected<error> store::state::failure(int code, const std::string& doing) {
  auto text = doing + ": ";
  if (is_failed_sync(code)) {
    broken = true;
    return fail(errc::storage, text + "the disk failed to sync " + how.path +
                                   "; restart the controller to see what is on it");
  }
  if (is_full(code))
    return fail(errc::storage, text + "the ledger " + how.path +
                                   " cannot grow, its file system is full; free space there");
  switch (code & 0xff) {
  case SQLITE_NOTADB:
    return fail(errc::invalid, text + how.path +
                                   " is not a ledger of Troupe; "
                                   "name another file or move this one away");
  case SQLITE_CORRUPT:
    return fail(errc::storage,
                text + "the ledger " + how.path + " is damaged; restore it from a backup");
  case SQLITE_BUSY:
    return fail(errc::conflict,
                text + "another process has the ledger " + how.path + " open; stop it first");
  default:
    return fail(errc::storage, text + "the ledger " + how.path + " does not work: " + db.message());
  }
}

int store::state::prepare() {
  const std::string columns{event_columns};
  const std::pair<statement*, std::string> all[] = {
      {&insert_event, "INSERT INTO events(seq, utc_ns, job, element, incarnation, kind, version, "
                      "payload, summary) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"},
      {&set_highest, "UPDATE facts SET value = ?1 WHERE name = 'highest_job'"},
      {&begin, "BEGIN IMMEDIATE"},
      {&commit, "COMMIT"},
      {&rollback, "ROLLBACK"},
      {&job_by_request, "SELECT job FROM jobs WHERE request_id = ?1"},
      {&events_by_job, "SELECT " + columns + " FROM events e WHERE e.job = ?1 ORDER BY e.seq"},
      {&unfinished,
       "SELECT " + columns +
           " FROM jobs j INDEXED BY jobs_unfinished CROSS JOIN events e ON e.job = j.job "
           "WHERE j.ended_ns IS NULL ORDER BY j.job, e.seq"},
  };
  for (const auto& [target, sql] : all)
    if (const int code = target->prepare(db.get(), sql); code != SQLITE_OK)
      return code;
  std::int64_t last = 0, highest = 0, page = 0;
  int code = db.query_integer("SELECT coalesce(max(seq), 0) FROM events", last);
  if (code == SQLITE_OK)
    code = db.query_integer("SELECT value FROM facts WHERE name = 'highest_job'", highest);
  if (code == SQLITE_OK)
    code = db.query_integer("PRAGMA page_size", page);
  next_seq = static_cast<std::uint64_t>(last) + 1;
  highest_job = highest_job_opened = static_cast<std::uint64_t>(highest);
  page_bytes = static_cast<std::uint64_t>(page);
  sqlite3_wal_hook(
      db.get(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<state*>(self)->wal_pages = static_cast<std::uint64_t>(pages);
        return SQLITE_OK;
      },
      this);
  return code == SQLITE_OK ? tables.prepare(db) : code;
}

expected<store> store::open(options how, const clock_source& clock) {
  if (auto made = make_file(how.path); !made)
    return tl::unexpected<error>{std::move(made.error())};
  auto s = std::make_unique<state>();
  s->how = std::move(how);
  s->clock = &clock;
  const auto doing = std::string{"opening the ledger"};
  // One thread owns the connection: no mutexes.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (const int code = s->db.open(s->how.path, flags); code != SQLITE_OK)
    return s->failure(code, doing);
  if (const int code = configure(s->db); code != SQLITE_OK)
    return s->failure(code, doing);
  if (auto settled = settle_version(s->db, s->how.path); !settled)
    return tl::unexpected<error>{std::move(settled.error())};
  if (const int code = s->prepare(); code != SQLITE_OK)
    return s->failure(code, doing);
  s->reserve = ballast{s->how.path + ".ballast", s->how.ballast_bytes};
  if (s->reserve.held())
    fill_log(s->how);
  return store{std::move(s)};
}

store::store(std::unique_ptr<state> s) : state_{std::move(s)} {}
store::store(store&&) noexcept = default;
store& store::operator=(store&&) noexcept = default;
store::~store() = default;

std::uint64_t store::highest_job() const {
  return state_->highest_job;
}
std::uint64_t store::last_seq() const {
  return state_->next_seq - 1;
}
bool store::accepts_submissions() const {
  return state_->reserve.held() && !state_->broken && !state_->disk_is_full();
}
std::uint64_t store::wal_bytes() const {
  return state_->wal_pages * state_->page_bytes;
}

int store::state::insert(const stored_event& at, const event& e) {
  insert_event.bind(1, static_cast<std::int64_t>(at.seq));
  insert_event.bind(2, at.time);
  insert_event.bind(3, static_cast<std::int64_t>(at.job));
  if (at.element == whole_job)
    insert_event.bind_null(4);
  else
    insert_event.bind(4, std::int64_t{at.element});
  insert_event.bind(5, std::int64_t{at.incarnation});
  insert_event.bind(6, static_cast<std::int64_t>(at.kind));
  insert_event.bind(7, std::int64_t{at.version});
  insert_event.bind(8, at.payload);
  scratch.clear();
  if (e.change) {
    to_cbor(scratch, *e.change);
    insert_event.bind(9, byte_view{scratch});
  } else {
    insert_event.bind_null(9);
  }
  return insert_event.run();
}

tl::unexpected<error> store::state::refusal(projection_fault why, const event& e) {
  const auto job = "job " + std::to_string(e.job);
  switch (why) {
  case projection_fault::no_such_job:
    return fail(errc::not_found, job + " is not in the ledger; a " +
                                     std::string{to_string(e.kind)} + " event needs it");
  case projection_fault::job_exists:
    return fail(errc::conflict,
                job + " cannot be submitted: its number is used, and none comes again");
  case projection_fault::request_exists: {
    job_by_request.bind(1, byte_view{*e.change->submitted->request});
    const bool found = job_by_request.step() == SQLITE_ROW;
    const auto earlier = found ? std::to_string(job_by_request.integer(0)) : "(unknown)";
    job_by_request.reset();
    return fail(errc::conflict, "this request was submitted already, as job " + earlier +
                                    "; a new request needs a new id");
  }
  default: return failure(tables.code(), "recording " + job);
  }
}

expected<void> store::state::append_one(const event& e, utc_ns now) {
  if (e.payload.size() > payload_bytes_max)
    return fail(errc::exhausted, "an event of job " + std::to_string(e.job) + " has " +
                                     std::to_string(e.payload.size()) + " bytes; at most " +
                                     std::to_string(payload_bytes_max) + " are kept");
  const bool submits = e.change && e.change->submitted;
  if (submits && e.job == 0)
    return fail(errc::invalid, "job 0 cannot be submitted; numbers start at 1");
  const stored_event at{next_seq,      now,    e.job,     e.element,
                        e.incarnation, e.kind, e.version, e.payload};
  if (const int code = insert(at, e); code != SQLITE_OK)
    return failure(code, "recording an event of job " + std::to_string(e.job));
  if (e.change)
    if (const auto why = tables.apply(at, *e.change); why != projection_fault::ok)
      return refusal(why, e);
  // The row may be gone, the number stays used. Those that were given out since the ledger was
  // opened may come in any order: two clients need not submit in the order of their warrants.
  if (submits && e.job <= highest_job_opened)
    return refusal(projection_fault::job_exists, e);
  if (submits)
    highest_job = std::max(highest_job, e.job);
  ++next_seq;
  return {};
}

expected<std::uint64_t> store::state::append(std::span<const event> events) {
  const auto first = next_seq;
  const auto highest_before = highest_job;
  const auto doing = "recording " + std::to_string(events.size()) + " events";
  const auto undo = [&](tl::unexpected<error> why) {
    // A full disk may have ended the transaction already: then there is nothing to roll back.
    if (sqlite3_get_autocommit(db.get()) == 0)
      rollback.run();
    next_seq = first;
    highest_job = highest_before;
    return why;
  };
  if (const int code = begin.run(); code != SQLITE_OK)
    return undo(failure(code, doing));
  const auto now = clock->utc();
  for (const auto& e : events)
    if (auto done = append_one(e, now); !done)
      return undo(tl::unexpected<error>{std::move(done.error())});
  if (highest_job != highest_before) {
    set_highest.bind(1, static_cast<std::int64_t>(highest_job));
    if (const int code = set_highest.run(); code != SQLITE_OK)
      return undo(failure(code, doing));
  }
  if (const int code = commit.run(); code != SQLITE_OK)
    return undo(failure(code, doing));
  return first;
}

bool store::state::try_reserve() {
  if (reserve.held())
    return true;
  const auto now = clock->boot();
  if (reserve_tried != 0 && now - reserve_tried < reserve_retry_ns)
    return false;
  reserve_tried = now;
  return reserve.take();
}

bool store::state::disk_is_full() const {
  struct statvfs there {};
  return ::statvfs(how.path.c_str(), &there) == 0 &&
         std::uint64_t{there.f_bavail} * there.f_frsize < room_bytes_min;
}

expected<std::uint64_t> store::append(std::span<const event> events) {
  auto& s = *state_;
  if (s.broken)
    return fail(errc::storage,
                "the ledger " + s.how.path + " failed to sync earlier; restart the controller");
  if (events.size() > events_per_append_max)
    return fail(errc::exhausted, std::to_string(events.size()) +
                                     " events in one transaction; at most " +
                                     std::to_string(events_per_append_max) + " are taken");
  // Space that was given up for the ends of running jobs must not go to new ones; nor must what the
  // log has written ahead, when what comes behind it could not be moved into the file any more.
  if (!s.try_reserve() || s.disk_is_full())
    return fail(errc::storage, "the file system of the ledger " + s.how.path +
                                   " is full; only the ends of running jobs are recorded: free " +
                                   std::to_string((s.how.ballast_bytes + room_bytes_min) >> 10) +
                                   " KiB there at least");
  return s.append(events);
}

expected<std::uint64_t> store::append_essential(std::span<const event> events) {
  auto& s = *state_;
  if (s.broken || events.size() > events_per_append_max)
    return append(events); // refuses, and says why
  auto done = s.append(events);
  if (!done && done.error().code == errc::storage && !s.broken) {
    s.give_up_reserve();
    done = s.append(events);
  }
  // While space is short the log must not grow: once its pages are in the file, it is written from
  // its start again.
  if (done && !s.reserve.held())
    s.move_wal(SQLITE_CHECKPOINT_RESTART);
  return done;
}

void store::state::give_up_reserve() {
  if (how.ballast_bytes != 0) {
    reserve.release();
    reserve_tried = clock->boot();
  }
  move_wal(SQLITE_CHECKPOINT_RESTART);
}

int store::state::move_wal(int mode) {
  int in_log = 0, moved = 0;
  const int code = sqlite3_wal_checkpoint_v2(db.get(), nullptr, mode, &in_log, &moved);
  if (code == SQLITE_OK && in_log == moved)
    wal_pages = 0;
  return code;
}

void store::shorten_log() {
  if (wal_bytes() > state_->how.wal_bytes_max)
    state_->move_wal(SQLITE_CHECKPOINT_PASSIVE); // what cannot be moved now stays safe in the log
}

expected<void> store::checkpoint() {
  auto& s = *state_;
  if (const int code = s.move_wal(SQLITE_CHECKPOINT_RESTART); code != SQLITE_OK)
    return s.failure(code, "moving the log into the ledger");
  sqlite3_db_release_memory(s.db.get()); // pages that a burst of work filled
  s.reserve.take();
  return {};
}

} // namespace troupe::ledger
