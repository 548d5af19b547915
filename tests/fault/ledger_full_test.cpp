// SPDX-License-Identifier: Apache-2.0
// Its own program: it moves into a mount namespace and lowers limits.
#include "base/unique_fd.hpp"
#include "tests/catch.hpp"
#include "tests/unit/ledger_world.hpp"

#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace ledger_world;

namespace {

constexpr std::uint64_t jobs = 300;

bool write_text(const char* path, const std::string& text) {
  const unique_fd file{::open(path, O_WRONLY | O_CLOEXEC)};
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// A file system of 12 MiB that only this process sees; false where the kernel does not allow it.
bool mount_small(const std::string& path) {
  const auto uid = ::geteuid();
  const auto gid = ::getegid();
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
        !write_text("/proc/self/setgroups", "deny") ||
        !write_text("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1") ||
        !write_text("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1"))
      return false;
  }
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("troupe-test", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=12m") == 0;
}

void fill(const std::string& path) {
  const unique_fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
  REQUIRE(file);
  const std::string block(4096, 'f');
  while (::write(file.get(), block.data(), block.size()) > 0) {
  }
}

void start_jobs(store& s) {
  std::vector<event> batch;
  for (std::uint64_t job = 1; job <= jobs; ++job) {
    batch.push_back(submit(job));
    batch.push_back(start(job));
  }
  REQUIRE(s.append(batch));
}

expected<std::uint64_t> append_one(store& s, const event& e) {
  return s.append({&e, 1});
}

} // namespace

TEST_CASE("On a full disk submissions are refused, running jobs end, and space lets work go on") {
  const directory where;
  const auto mounted = where.file("small");
  REQUIRE(std::filesystem::create_directory(mounted));
  if (!mount_small(mounted)) {
    WARN("no small file system can be mounted here: only the file size limit is tested");
    return;
  }
  counting_clock clock;
  const options how{mounted + "/ledger.db", 4u << 20};
  tables_image before;
  {
    auto s = store::open(how, clock);
    REQUIRE(s);
    REQUIRE(s->accepts_submissions());
    start_jobs(*s);
    fill(mounted + "/filler");

    auto large = submit(jobs + 1);
    large.payload.resize(1u << 20);
    const auto refused = append_one(*s, large);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::storage);
    CHECK(contains(refused.error().text, how.path));
    CHECK(contains(refused.error().text, "is full"));
    CHECK(s->row_of(jobs + 1).error().code == errc::not_found);

    for (std::uint64_t job = 1; job <= jobs; ++job) {
      const event end = finish(job);
      const auto done = s->append_essential({&end, 1});
      INFO("job " << job << (done ? "" : done.error().text));
      REQUIRE(done);
    }
    CHECK_FALSE(s->accepts_submissions());
    const auto still = append_one(*s, submit(jobs + 1));
    REQUIRE_FALSE(still);
    CHECK(contains(still.error().text, "only ends and cancels are recorded"));

    REQUIRE(std::filesystem::remove(mounted + "/filler"));
    REQUIRE(append_one(*s, submit(jobs + 1)));
    CHECK(s->accepts_submissions());
    CHECK(std::filesystem::file_size(how.path + ".ballast") == how.ballast_bytes);
    REQUIRE(check_ledger(how.path)->problems.empty());
    before = image_of(*s);
  }
  auto s = store::open(how, clock);
  REQUIRE(s);
  CHECK(s->highest_job() == jobs + 1);
  CHECK(image_of(*s) == before);
  REQUIRE(s->rebuild());
  CHECK(image_of(*s) == before);
  CHECK(s->row_of(jobs)->state == completed);
  s = fail(errc::internal, "closed");
  CHECK(::umount(mounted.c_str()) == 0);
}

TEST_CASE("A file that may not grow refuses appends, keeps what it has and goes on when it may") {
  const directory where;
  counting_clock clock;
  auto s = store::open({where.file(), 0}, clock);
  REQUIRE(s);
  start_jobs(*s);
  const auto before = image_of(*s);

  ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const rlimit low{1u << 20, limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &low) == 0);
  auto large = submit(jobs + 1);
  large.payload.resize(2u << 20);
  const auto refused = append_one(*s, large);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);

  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::storage);
  CHECK(image_of(*s) == before);
  REQUIRE(append_one(*s, large));
  REQUIRE(check_ledger(where.file())->problems.empty());
}
