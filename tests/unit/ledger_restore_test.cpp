// SPDX-License-Identifier: Apache-2.0
// A ledger that is not the newest one, by whatever is left to tell: it does not go on as if it
// were.
#include "tests/unit/ledger_world.hpp"

#include <fstream>

using namespace ledger_world;
namespace files = std::filesystem;

namespace {

/// A backup after five jobs, then two more, then the backup alone in the ledger's place.
void restore_backup(world& w) {
  w.make_jobs(5);
  const auto copy = w.where.file("copy.db");
  REQUIRE(copy_ledger(w.where.file(), copy));
  {
    auto s = w.reopen();
    REQUIRE(s->append(std::vector<event>{submit(6), submit(7)}));
  }
  for (const auto* name : {"ledger.db", "ledger.db-wal", "ledger.db.head"})
    files::remove(w.where.file(name));
  files::copy_file(copy, w.where.file());
}

} // namespace

TEST_CASE("A ledger without a head is refused where other state tells of jobs it does not know") {
  world w;
  auto with = w.how();
  with.cluster_exists = true;
  CHECK(contains(w.refusal(with), "is gone or empty"));
  w.make_jobs(3);
  files::remove(w.where.file("ledger.db.head"));
  with.job_seen = 4;
  CHECK(contains(w.refusal(with), "there is output of job 4"));
  with.job_seen = 3;
  CHECK(w.refusal(with) == "opened");
  CHECK(files::exists(w.where.file("ledger.db.head")));
}

TEST_CASE("An older copy of a ledger is refused, and after a rebuild no number comes again") {
  world w;
  w.make_jobs(5);
  const auto copy = w.where.file("copy.db");
  REQUIRE(copy_ledger(w.where.file(), copy));
  {
    auto s = w.reopen();
    REQUIRE(s->append(std::vector<event>{submit(6), submit(7)}));
  }
  files::copy_file(copy, w.where.file(), files::copy_options::overwrite_existing);
  files::remove(w.where.file("ledger.db-wal"));
  CHECK(contains(w.refusal(), "it is an older copy"));
  REQUIRE(rebuild_ledger(w.where.file(), 0));
  auto s = w.reopen();
  REQUIRE(s);
  CHECK(s->highest_job() == 7);
  CHECK(s->row_of(6).error().code == errc::not_found);
  CHECK(s->row_of(5));
}

TEST_CASE(
    "A backup in the ledger's place counts after a rebuild, and not before, whatever is gone") {
  world w;
  restore_backup(w);
  CHECK(contains(w.refusal(), "is a backup, with what there was up to event 13"));
  CHECK(contains(w.refusal(), "'troupe ledger rebuild'"));
  CHECK_FALSE(files::exists(w.where.file("ledger.db.head")));
  CHECK(check_ledger(w.where.file())->good());
  const auto rebuilt = rebuild_ledger(w.where.file(), 7);
  REQUIRE(rebuilt);
  CHECK(rebuilt->problems.empty());
  auto s = w.reopen();
  INFO((s ? "" : s.error().text));
  REQUIRE(s);
  CHECK(s->highest_job() == 7);
  CHECK(s->append(std::vector<event>{submit(8)}));
}

TEST_CASE("A ledger whose head is gone counts after a rebuild, unless none ever made one") {
  world w;
  w.make_jobs(5);
  files::remove(w.where.file("ledger.db.head"));
  auto how = w.how();
  how.cluster_exists = true;
  SECTION("it is gone") {
    how.had_head = true;
    CHECK(contains(w.refusal(how), "ledger.db.head is gone"));
    CHECK(contains(w.refusal(how), "'troupe ledger rebuild'"));
    CHECK_FALSE(files::exists(w.where.file("ledger.db.head")));
    REQUIRE(rebuild_ledger(w.where.file(), 0));
  }
  SECTION("there was none") {}
  CHECK(w.refusal(how) == "opened");
  how.had_head = true;
  CHECK(w.refusal(how) == "opened");
}

TEST_CASE("A ledger that does not know a job that was ordered is refused") {
  world w;
  w.make_jobs(5);
  files::remove(w.where.file("ledger.db.head"));
  auto how = w.how();
  how.job_ordered = 6;
  CHECK(contains(w.refusal(how), "knows jobs up to 5, but the audit log has orders of job 6"));
  REQUIRE(rebuild_ledger(w.where.file(), 6));
  CHECK(w.refusal(how) == "opened");
}
