// SPDX-License-Identifier: Apache-2.0
#include "messages/cbor.hpp"
#include "runtime/ledger/store_state.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace troupe::ledger {

namespace {

constexpr boot_ns reserve_retry_ns = ns_per_s;
constexpr boot_ns settle_pause_min_ns = ns_per_s / 4;
constexpr boot_ns settle_pause_max_ns = 16 * ns_per_s;

/// New jobs are refused when the file system has less room than this.
constexpr std::uint64_t room_bytes_min = 1u << 20;

} // namespace

store::store(std::unique_ptr<state> s) : reads{*s}, state_{std::move(s)} {}
store::store(store&&) noexcept = default;
store& store::operator=(store&&) noexcept = default;
store::~store() = default;

std::uint64_t store::highest_job() const {
  return state_->highest_job;
}
utc_ns store::appended_at() const {
  return state_->appended_at;
}

std::uint64_t store::last_seq() const {
  return state_->next_seq - 1;
}
bool store::accepts_submissions() const {
  return state_->reserve.held() && !state_->undecided && !state_->disk_is_full();
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
  std::optional<byte_view> summary;
  if (e.change) {
    to_cbor(scratch, *e.change);
    summary = byte_view{scratch};
    insert_event.bind(9, *summary);
  } else {
    insert_event.bind_null(9);
  }
  insert_event.bind(10, sum_of(at, summary));
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

/// One transaction. `code`: what SQLite answered when that is why it failed.
expected<std::uint64_t> store::state::try_append(std::span<const event> events, int& code) {
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
  if (code = begin.run(); code != SQLITE_OK)
    return undo(failure(code, doing));
  const auto now = clock->utc();
  for (const auto& e : events)
    if (auto done = append_one(e, now); !done) {
      code = sqlite3_errcode(db.get());
      return undo(tl::unexpected<error>{std::move(done.error())});
    }
  if (highest_job != highest_before) {
    set_highest.bind(1, static_cast<std::int64_t>(highest_job));
    if (code = set_highest.run(); code != SQLITE_OK)
      return undo(failure(code, doing));
  }
  if (code = commit.run(); code != SQLITE_OK)
    return undo(failure(code, doing));
  appended_at = now;
  return first;
}

expected<std::uint64_t> store::state::append(std::span<const event> events) {
  // What fails to sync once, and could be cut off, may go through the second time.
  for (bool again = false;; again = true) {
    int code = SQLITE_OK;
    auto done = try_append(events, code);
    if (done) {
      salts = read_log_salts(log.get());
      head_beside.note({identity, next_seq - 1, highest_job});
      return done;
    }
    if ((code & 0xff) != SQLITE_IOERR && (code & 0xff) != SQLITE_FULL)
      return done;
    if (!settle_log()) {
      done.error().text += "; what it holds of this is not known until its disk takes something "
                           "again: it is tried again and again";
      return done;
    }
    if (again || !is_failed_sync(code))
      return done;
  }
}

/// Takes what a failed transaction may have left in the log out of it, and syncs that. All of the
/// log behind its last kept end is written anew: what a failed sync had reported as lost, too.
bool store::state::cut_log() const {
  static constexpr std::array<char, 256 << 10> zeros{};
  struct stat now {};
  if (!log || ::fstat(log.get(), &now) != 0)
    return false;
  // With other salts the log had been begun anew, by the failed transaction itself: what was kept
  // before is in the database file.
  const bool begun_anew = read_log_salts(log.get()) != salts;
  auto at = begun_anew ? 0 : log_header_bytes + log_frames * (log_frame_header_bytes + page_bytes);
  for (const auto end = static_cast<std::uint64_t>(now.st_size); at < end;) {
    const auto rest = std::min<std::uint64_t>(zeros.size(), end - at);
    const auto written = ::pwrite(log.get(), zeros.data(), rest, static_cast<off_t>(at));
    if (written > 0)
      at += static_cast<std::uint64_t>(written);
    else if (written == 0 || errno != EINTR)
      return false;
  }
  return ::fdatasync(log.get()) == 0;
}

bool store::state::settle_log() {
  undecided = !cut_log();
  if (!undecided) {
    settle_pause = 0;
    return true;
  }
  settle_pause = std::clamp(settle_pause * 2, settle_pause_min_ns, settle_pause_max_ns);
  settle_at = clock->boot() + settle_pause;
  return false;
}

/// Ends a transaction of the store's own: kept, or nothing of it.
expected<void> store::state::finish(int code, const std::string& doing) {
  if (code == SQLITE_OK)
    code = commit.run();
  if (sqlite3_get_autocommit(db.get()) == 0)
    rollback.run();
  if (code == SQLITE_OK) {
    salts = read_log_salts(log.get());
    return {};
  }
  auto why = failure(code, doing);
  if ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_FULL)
    settle_log();
  return why;
}

/// Whether what the log holds is known; while it is not, tries to make it so every now and then.
expected<void> store::state::decided() {
  if (!undecided || (clock->boot() >= settle_at && settle_log()))
    return {};
  return fail(errc::storage,
              "the ledger " + path +
                  " takes nothing: its disk failed to write or sync, and still does; "
                  "it is tried again and again, and nothing is recorded meanwhile");
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
  if (auto known = s.decided(); !known)
    return tl::unexpected<error>{std::move(known.error())};
  if (events.size() > events_per_append_max)
    return fail(errc::exhausted, std::to_string(events.size()) +
                                     " events in one transaction; at most " +
                                     std::to_string(events_per_append_max) + " are taken");
  // Space that was given up for the ends of running jobs must not go to new ones; nor must what the
  // log has written ahead, when what comes behind it could not be moved into the file any more.
  if (!s.try_reserve() || s.disk_is_full())
    return fail(errc::storage, "the file system of the ledger " + s.how.path +
                                   " is full; only ends and cancels are recorded: free " +
                                   std::to_string((s.how.ballast_bytes + room_bytes_min) >> 10) +
                                   " KiB there at least");
  return s.append(events);
}

expected<std::uint64_t> store::append_essential(std::span<const event> events) {
  auto& s = *state_;
  if (events.size() > events_per_append_max)
    return append(events); // refuses, and says why
  if (auto known = s.decided(); !known)
    return tl::unexpected<error>{std::move(known.error())};
  auto done = s.append(events);
  if (!done && done.error().code == errc::storage && !s.undecided) {
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
  if (auto known = s.decided(); !known)
    return known;
  // While somebody reads, the log stays as it is: that is no fault.
  const int code = s.move_wal(SQLITE_CHECKPOINT_RESTART);
  if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY)
    return s.failure(code, "moving the log into the ledger");
  sqlite3_db_release_memory(s.db.get()); // pages that a burst of work filled
  s.reserve.take();
  s.head_beside.sync();
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
  if (!applied) {
    s.rollback.run();
    return applied;
  }
  return s.finish(code, doing);
}

expected<void> store::keep(std::string_view name, std::uint64_t seq, byte_view value) {
  auto& s = *state_;
  if (auto known = s.decided(); !known)
    return known;
  statement query;
  int code = s.begin.run();
  if (code == SQLITE_OK)
    code = query.prepare(s.db.get(),
                         "INSERT OR REPLACE INTO kept(name, seq, value) VALUES(?1, ?2, ?3)", false);
  if (code == SQLITE_OK) {
    query.bind(1, name);
    query.bind(2, static_cast<std::int64_t>(seq));
    query.bind(3, value);
    code = query.run();
  }
  return s.finish(code, "keeping what was gathered of " + std::string{name});
}

expected<std::uint64_t> store::forget_requests(utc_ns before, std::uint64_t jobs_max) {
  auto& s = *state_;
  const auto doing = std::string{"forgetting requests"};
  if (auto known = s.decided(); !known)
    return tl::unexpected<error>{std::move(known.error())};
  // Up to the first job that is young enough; jobs get their numbers in the order of their times.
  std::int64_t from = 0, to = 0;
  int code = s.db.query_integer("SELECT value FROM facts WHERE name = 'requests_forgotten'", from);
  const auto some = "(SELECT job, submitted_ns FROM jobs WHERE job > " + std::to_string(from) +
                    " ORDER BY job LIMIT " + std::to_string(jobs_max) + ")";
  if (code == SQLITE_OK)
    code = s.db.query_integer("SELECT coalesce((SELECT min(job) - 1 FROM " + some +
                                  " WHERE submitted_ns >= " + std::to_string(before) +
                                  "), (SELECT max(job) FROM " + some + "), 0)",
                              to);
  if (code != SQLITE_OK)
    return s.failure(code, doing);
  if (to <= from)
    return std::uint64_t{0};
  code = s.begin.run();
  const auto these = "job > " + std::to_string(from) + " AND job <= " + std::to_string(to);
  if (code == SQLITE_OK)
    code = s.db.execute("DELETE FROM requests WHERE request_id IN (SELECT request_id FROM jobs "
                        "WHERE " +
                        these + " AND request_id IS NOT NULL)");
  const auto count = static_cast<std::uint64_t>(sqlite3_changes(s.db.get()));
  if (code == SQLITE_OK)
    code = s.db.execute("UPDATE facts SET value = " + std::to_string(to) +
                        " WHERE name = 'requests_forgotten'");
  if (auto done = s.finish(code, doing); !done)
    return tl::unexpected<error>{std::move(done.error())};
  return std::max<std::uint64_t>(count, 1);
}

} // namespace troupe::ledger
