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
bool syncs_fail = false;

int count_sync(long number, int fd) {
  ++syncs;
  if (syncs_fail) {
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

using namespace ledger_world;

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

TEST_CASE("After a failed sync nothing is acknowledged until the ledger is opened again") {
  const directory where;
  const counting_clock clock;
  auto s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1)}));
  syncs_fail = true;
  const auto refused = s->append(std::vector<event>{submit(2)});
  syncs_fail = false;
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::storage);
  CHECK(refused.error().text.find("failed to sync") != std::string::npos);
  CHECK_FALSE(s->append(std::vector<event>{submit(3)}));
  CHECK_FALSE(s->append_essential(std::vector<event>{finish(1)}));
  CHECK_FALSE(s->accepts_submissions());

  s = fail(errc::internal, "closed");
  s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  CHECK(s->row_of(1));
  CHECK(s->append(std::vector<event>{submit(s->highest_job() + 1)}));
}
