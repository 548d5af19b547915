// SPDX-License-Identifier: Apache-2.0
// Its own program: it stands between the audit log and the kernel's write and sync calls, to let
// them fail.
#include "auth/audit.hpp"
#include "tests/unit/auth_world.hpp"

#include <cerrno>
#include <fstream>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

int syncs_to_fail = 0;
bool writes_fail = false;

} // namespace

// Symbols of the program come before those of the C library.
extern "C" int fdatasync(int fd) {
  if (syncs_to_fail > 0) {
    --syncs_to_fail;
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}
extern "C" ssize_t pwrite64(int fd, const void* from, size_t size, off64_t at) {
  if (writes_fail) {
    errno = ENOSPC;
    return -1;
  }
  return ::syscall(SYS_pwrite64, fd, from, size, at);
}
extern "C" ssize_t pwrite(int fd, const void* from, size_t size, off_t at) {
  return pwrite64(fd, from, size, at);
}

using namespace troupe;
using namespace troupe::auth;
using namespace troupe::auth::test;

namespace {

const audit_event login{"login", 1000, "pid 7", {{"role", "user"}}};

struct audited {
  audited() {
    auto opened = audit_log::open(path, w.signing(), w.clock);
    REQUIRE(opened);
    log = std::make_unique<audit_log>(std::move(*opened));
  }
  audit_report verify() const { return verify_audit(path, keys).value(); }
  std::string text() const {
    std::ifstream in{path};
    return {std::istreambuf_iterator<char>{in}, {}};
  }

  world w;
  scratch_directory dir;
  std::string path = dir.file("audit.log");
  std::vector<keyring_entry> keys{{1, key_state::retired, 0, w.signing_secret.public_part()}};
  std::unique_ptr<audit_log> log;
};

} // namespace

TEST_CASE("one failed sync of the audit log passes: it is written again, and grants go on") {
  audited a;
  REQUIRE(a.log->append(login));
  syncs_to_fail = 1;
  CHECK_FALSE(a.log->checkpoint());
  CHECK_FALSE(a.log->accepts());
  a.w.clock.advance(ns_per_s);
  CHECK(a.log->accepts());
  REQUIRE(a.log->append(login));
  REQUIRE(a.log->checkpoint());
  CHECK(a.verify().good());
  CHECK(a.text().find("\"resumed\"") != std::string::npos);
}

TEST_CASE("while a disk takes no records they wait in memory, and what did not fit is counted") {
  audited a;
  REQUIRE(a.log->append(login));
  writes_fail = true;
  CHECK_FALSE(a.log->append_or_defer(login));
  CHECK_FALSE(a.log->append(login));
  for (std::size_t i = 0; i < audit_deferred_max + 4; ++i)
    CHECK_FALSE(a.log->append_or_defer(login));
  a.w.clock.advance(60 * ns_per_s);
  CHECK_FALSE(a.log->accepts());
  writes_fail = false;
  // Asked again at once, it does not even try.
  CHECK_FALSE(a.log->accepts());
  a.w.clock.advance(60 * ns_per_s);
  CHECK(a.log->accepts());
  CHECK(a.verify().good());
  CHECK(a.verify().records >= 1 + 1 + audit_deferred_max);
  CHECK(a.text().find("\"lost\":\"5\"") != std::string::npos);
  CHECK(a.text().find("\"at_utc_ns\"") != std::string::npos);
}
