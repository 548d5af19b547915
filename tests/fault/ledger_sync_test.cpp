// SPDX-License-Identifier: Apache-2.0
// Its own program: it stands between SQLite and the kernel's sync calls, to count them and to let
// them fail.
#include "tests/catch.hpp"
#include "tests/unit/ledger_world.hpp"

#include <cerrno>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

int syncs = 0;
int syncs_to_fail = 0;
/// The n-th write from now on fails, and all behind it until it is set anew; 0: none.
int write_to_fail = 0;

int count_sync(long number, int fd) {
  ++syncs;
  if (syncs_to_fail > 0) {
    --syncs_to_fail;
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(number, fd));
}

} // namespace

// Symbols of the program come before those of the C library, for SQLite's shared library too.
extern "C" int fdatasync(int fd) {
  return count_sync(SYS_fdatasync, fd);
}
extern "C" int fsync(int fd) {
  return count_sync(SYS_fsync, fd);
}

extern "C" ssize_t pwrite64(int fd, const void* from, size_t size, off64_t at) {
  if (write_to_fail > 0 && --write_to_fail == 0) {
    write_to_fail = 1;
    errno = EIO;
    return -1;
  }
  return ::syscall(SYS_pwrite64, fd, from, size, at);
}
extern "C" ssize_t pwrite(int fd, const void* from, size_t size, off_t at) {
  return pwrite64(fd, from, size, at);
}

using namespace ledger_world;

namespace {

/// A clock that stands still until told.
class set_clock final : public clock_source {
public:
  utc_ns utc() const override { return 1'000 * ns_per_s + boot_; }
  boot_ns boot() const override { return boot_; }
  void advance(std::int64_t ns) { boot_ += ns; }

private:
  boot_ns boot_ = ns_per_s;
};

/// What a process that starts now finds: the files as they are.
void expect_after_kill(const directory& where, std::uint64_t last_seq, std::uint64_t highest_job) {
  const auto killed = where.file("killed");
  std::filesystem::remove_all(killed);
  std::filesystem::create_directory(killed);
  for (const auto* name : {"ledger.db", "ledger.db-wal", "ledger.db.head"})
    std::filesystem::copy_file(where.file(name), killed + "/" + name);
  const set_clock clock;
  auto s = store::open({killed + "/ledger.db", 0}, clock);
  INFO((s ? "" : s.error().text));
  REQUIRE(s);
  CHECK(s->last_seq() == last_seq);
  CHECK(s->highest_job() == highest_job);
  CHECK(check_ledger(killed + "/ledger.db")->problems.empty());
}

} // namespace

TEST_CASE("Every append is synced before it returns, once however many events it has") {
  const directory where;
  const counting_clock clock;
  auto s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1)})); // the first also syncs the new log's header
  for (std::uint64_t job = 2; job < 10; ++job) {
    syncs = 0;
    REQUIRE(s->append(std::vector<event>(20, start(1))));
    CHECK(syncs == 1);
  }
}

TEST_CASE("One failed sync passes: the append is made again, and kept once") {
  const directory where;
  const set_clock clock;
  auto s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1)}));
  syncs_to_fail = 1;
  REQUIRE(s->append(std::vector<event>{submit(2)}));
  CHECK(s->last_seq() == 2);
  expect_after_kill(where, 2, 2);
  REQUIRE(s->append(std::vector<event>{submit(3)}));
  expect_after_kill(where, 3, 3);
}

TEST_CASE(
    "What was refused for a failed sync is not there after a restart, and the ledger goes on") {
  const directory where;
  const set_clock clock;
  auto s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1)}));
  // The log is begun anew by the very transaction that fails, too.
  const auto begun_anew = GENERATE(false, true);
  if (begun_anew)
    REQUIRE(s->checkpoint());
  // The commit's, not that of cutting it off; again for the second try.
  for (int tries = 0; tries < 2; ++tries) {
    syncs_to_fail = 0;
    const auto syncs_before = syncs;
    auto good = submit(2 + static_cast<std::uint64_t>(tries) * 10);
    REQUIRE(s->append(std::vector<event>{good}));
    CHECK(syncs > syncs_before);
  }
  write_to_fail = 2;
  const auto refused = s->append(std::vector<event>{submit(50)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::storage);
  write_to_fail = 0;
  expect_after_kill(where, 3, 12);
  CHECK_FALSE(s->row_of(50));
}

TEST_CASE("While the disk fails every sync nothing is kept, nor begun; when it works all goes on") {
  const directory where;
  set_clock clock;
  auto s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1)}));
  if (GENERATE(false, true))
    REQUIRE(s->checkpoint());
  syncs_to_fail = 1'000'000;
  const auto unknown = s->append(std::vector<event>{submit(2)});
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code == errc::storage);
  CHECK(unknown.error().text.find("is not known") != std::string::npos);
  CHECK_FALSE(s->accepts_submissions());
  // Looked up, as ever.
  CHECK(s->row_of(1));
  CHECK_FALSE(s->row_of(2));
  for (int i = 0; i < 20; ++i) {
    clock.advance(ns_per_s);
    CHECK_FALSE(s->append(std::vector<event>{submit(3)}));
    CHECK_FALSE(s->append_essential(std::vector<event>{finish(1)}));
    CHECK_FALSE(s->checkpoint());
  }
  // This process may be killed now: what was not kept is not there.
  syncs_to_fail = 0;
  expect_after_kill(where, 1, 1);
  clock.advance(60 * ns_per_s);
  REQUIRE(s->append_essential(std::vector<event>{finish(1)}));
  CHECK(s->accepts_submissions());
  REQUIRE(s->append(std::vector<event>{submit(2)}));
  expect_after_kill(where, 3, 2);
  CHECK(s->row_of(1)->state == completed);
}

TEST_CASE("Whichever write fails, what was answered is there, what was refused is not") {
  for (int at = 1; at < 40; ++at) {
    INFO("write " << at);
    const directory where;
    set_clock clock;
    auto s = store::open({where.file(), 0, 1u << 16}, clock);
    REQUIRE(s);
    std::uint64_t kept = 0;
    for (std::uint64_t job = 1; job <= 12; ++job) {
      write_to_fail = job == 5 ? at : 0;
      auto large = submit(job);
      large.payload.resize(job == 5 ? 60'000 : 100);
      if (s->append(std::vector<event>{large}))
        kept = job;
      else
        CHECK(job == 5);
      write_to_fail = 0;
      clock.advance(20 * ns_per_s);
      s->shorten_log();
      if (job == 4 || job == 8)
        CHECK(s->checkpoint());
    }
    CHECK(kept == 12);
    expect_after_kill(where, s->last_seq(), 12);
    CHECK((s->last_seq() == 12 || !s->row_of(5)));
  }
}

TEST_CASE("A sync that fails while the log is moved loses nothing, and it is moved later") {
  const directory where;
  const set_clock clock;
  auto s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1), submit(2)}));
  syncs_to_fail = 1;
  CHECK_FALSE(s->checkpoint());
  CHECK(s->append(std::vector<event>{submit(3)}));
  REQUIRE(s->checkpoint());
  CHECK(s->wal_bytes() == 0);
  expect_after_kill(where, 3, 3);
}
