// SPDX-License-Identifier: Apache-2.0
// What is asked of a ledger beside writing it: copies, checks, rebuilding, and that a ledger which
// contradicts what is beside it is refused.
#include "tests/catch.hpp"
#include "tests/unit/ledger_world.hpp"

#include <atomic>
#include <fstream>
#include <random>
#include <set>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

using namespace ledger_world;
namespace files = std::filesystem;

namespace {

void execute(const std::string& path, const std::string& sql) {
  database db;
  REQUIRE(db.open(path, SQLITE_OPEN_READWRITE) == SQLITE_OK);
  INFO(sql);
  REQUIRE(db.execute(sql) == SQLITE_OK);
}

void damage(const std::string& path, std::streamoff at, std::size_t size) {
  std::fstream file{path, std::ios::in | std::ios::out | std::ios::binary};
  file.seekp(at);
  file << std::string(size, '\xa5');
}

std::string bytes_of(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// All that is stored of each event, as SQLite reads it.
std::string events_in(const std::string& path) {
  database db;
  REQUIRE(db.open(path, SQLITE_OPEN_READWRITE) == SQLITE_OK);
  statement query;
  REQUIRE(query.prepare(db.get(),
                        "SELECT seq || ' ' || utc_ns || ' ' || job || ' ' || quote(element) || ' ' "
                        "|| incarnation || ' ' || kind || ' ' || version || ' ' || quote(payload) "
                        "|| ' ' || quote(summary) FROM events ORDER BY seq",
                        false) == SQLITE_OK);
  std::string all;
  while (query.step() == SQLITE_ROW)
    all += std::string{query.text(0)} + '\n';
  return all;
}

/// The files as a kill -9 leaves them: the log still beside the ledger.
void keep_with_log(const directory& from, const std::string& to) {
  files::create_directory(to);
  for (const auto* name : {"ledger.db", "ledger.db-wal", "ledger.db.head"})
    files::copy_file(from.file(name), to + "/" + name);
}

} // namespace

TEST_CASE("A copy is a ledger of its own, whole, private, and never overwrites a file") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1), submit(2), finish(1)}));
  const auto target = w.where.file("copy.db");
  const auto report = copy_ledger(w.where.file(), target);
  INFO((report ? "" : report.error().text));
  REQUIRE(report);
  CHECK(report->highest_job == 2);
  CHECK(report->last_seq == 3);
  CHECK(report->bytes == files::file_size(target));
  struct stat made {};
  REQUIRE(::stat(target.c_str(), &made) == 0);
  CHECK((made.st_mode & 0777) == 0600);
  CHECK_FALSE(files::exists(target + ".partial"));
  REQUIRE(s->append(std::vector<event>{submit(3)}));
  {
    CHECK(contains(w.refusal({target, 0}), "is a backup"));
    REQUIRE(rebuild_ledger(target, 0));
    auto copy = store::open({target, 0}, w.clock);
    REQUIRE(copy);
    CHECK(copy->highest_job() == 2);
    CHECK(copy->row_of(1)->state == completed);
    CHECK(copy->append(std::vector<event>{finish(2), submit(3)}));
  }
  CHECK(contains(copy_ledger(w.where.file(), target).error().text, "it exists"));
  CHECK(
      contains(copy_ledger(w.where.file(), w.where.file("no/such")).error().text, "No such file"));
  const auto open = w.where.file("open");
  REQUIRE(::mkdir(open.c_str(), 0777) == 0);
  REQUIRE(::chmod(open.c_str(), 0777) == 0);
  CHECK(copy_ledger(w.where.file(), open + "/copy.db").error().code == errc::refused);
  CHECK(files::is_empty(open));
}

TEST_CASE("A reader sees what was appended, while the store goes on writing and checkpoints") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(s->append(std::vector<event>{submit(1), submit(2)}));
  auto beside = reader::open(w.where.file());
  INFO((beside ? "" : beside.error().text));
  REQUIRE(beside);
  std::vector<std::uint64_t> seen;
  REQUIRE(beside->history({}, [&](const job_row& row) {
    seen.push_back(row.job);
    // In the middle of a reading, whose moment stays.
    REQUIRE(s->append(std::vector<event>{submit(2 + seen.size())}));
    REQUIRE(s->checkpoint());
  }));
  CHECK(seen == std::vector<std::uint64_t>{2, 1});
  CHECK(beside->row_of(4));
  CHECK(s->row_of(4));
  REQUIRE(s->checkpoint());
  CHECK(s->wal_bytes() == 0);
}

TEST_CASE("Pages of a history together are the history, whatever is asked") {
  world w;
  w.make_jobs(300);
  auto s = w.reopen();
  REQUIRE(s);
  std::vector<filter> all(6);
  all[1].states = {completed};
  all[2].uid = 1001;
  all[3].jobs = {{10, 20}, {250, 260}};
  all[4].name = "name77";
  all[5].states = {completed};
  all[5].since = s->row_of(151)->ended_ns;
  for (auto& which : all) {
    std::vector<std::uint64_t> whole, paged;
    which.limit = 1000;
    REQUIRE(s->history(which, [&](const job_row& row) { whole.push_back(row.job); }));
    which.limit = 7;
    std::uint64_t before = ~std::uint64_t{0};
    for (int pages = 0; before != 0 && pages < 1000; ++pages) {
      const auto next =
          s->history_page(which, before, [&](const job_row& row) { paged.push_back(row.job); });
      REQUIRE(next);
      REQUIRE(*next < before);
      before = *next;
    }
    CHECK(before == 0);
    CHECK(paged == whole);
  }
}

TEST_CASE("Promised starts have a table of their own, in pages, newest first") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  for (std::uint64_t job = 1; job <= 40; ++job) {
    auto starting = start(job);
    if (job % 2 == 0)
      starting.change->promised = start_promise{5, static_cast<utc_ns>(job)};
    REQUIRE(s->append(std::vector<event>{submit(job, 1, job % 4 == 0 ? 1001 : 1000), starting}));
  }
  const auto pages_of = [&](filter which) {
    std::vector<std::uint64_t> jobs;
    which.limit = 3;
    for (std::uint64_t before = ~std::uint64_t{0}; before != 0;) {
      const auto next = s->promises_page(which, before, [&](const promise_row& row) {
        CHECK(row.promised.last_ns == static_cast<utc_ns>(row.job));
        CHECK(row.started_ns >= row.submitted_ns);
        CHECK(row.name == "name" + std::to_string(row.job));
        jobs.push_back(row.job);
      });
      REQUIRE(next);
      before = *next;
    }
    return jobs;
  };
  CHECK(pages_of({}).size() == 20);
  CHECK(pages_of({}).front() == 40);
  filter which;
  which.uid = 1001;
  CHECK(pages_of(which).size() == 10);
  which.jobs = {{1, 16}};
  CHECK(pages_of(which) == std::vector<std::uint64_t>{16, 12, 8, 4});
  REQUIRE(s->rebuild());
  CHECK(pages_of({}).size() == 20);
}

TEST_CASE("Request ids are forgotten with their time, those of young jobs are not") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  for (std::uint64_t job = 1; job <= 20; ++job)
    REQUIRE(s->append(std::vector<event>{submit(job)}));
  const auto half = s->row_of(11)->submitted_ns;
  std::uint64_t forgotten = 0;
  for (std::uint64_t count = 1; count != 0; forgotten += count) {
    const auto some = s->forget_requests(half, 3);
    REQUIRE(some);
    count = *some;
  }
  CHECK(forgotten == 10);
  CHECK_FALSE(s->job_of_request(request_of(10)).value());
  CHECK(s->job_of_request(request_of(11)).value() == 11u);
  auto again = submit(21);
  again.change->submitted->request = request_of(11);
  CHECK(s->append(std::vector<event>{again}).error().code == errc::conflict);
}

TEST_CASE("A kept value stays until another takes its place") {
  world w;
  {
    auto s = w.reopen();
    REQUIRE(s);
    CHECK_FALSE(s->kept("sums").value());
    const std::vector<std::uint8_t> one{1, 2}, two{3};
    REQUIRE(s->keep("sums", 7, one));
    REQUIRE(s->keep("sums", 9, two));
  }
  auto s = w.reopen();
  REQUIRE(s);
  const auto value = s->kept("sums").value();
  REQUIRE(value);
  CHECK(value->seq == 9);
  CHECK(value->value == std::vector<std::uint8_t>{3});
}

// -- checking and rebuilding
// -----------------------------------------------------------------------

TEST_CASE("A check finds a whole ledger whole, open or closed, and names what is not") {
  world w;
  w.make_jobs(200);
  auto report = check_ledger(w.where.file());
  REQUIRE(report);
  CHECK(report->problems.empty());
  CHECK(report->jobs == 200);
  CHECK(report->unfinished == 100);
  CHECK(report->events == 500);
  {
    auto s = w.reopen();
    REQUIRE(s);
    REQUIRE(s->append(std::vector<event>{submit(201)}));
    report = check_ledger(w.where.file());
    REQUIRE(report);
    CHECK(report->problems.empty());
    CHECK(report->jobs == 201);
  }
  execute(w.where.file(),
          "UPDATE jobs SET state = 6 WHERE job = 3; DELETE FROM jobs WHERE job = 4");
  report = check_ledger(w.where.file());
  REQUIRE(report);
  REQUIRE(report->problems.size() == 1);
  CHECK(contains(report->problems[0], "3 rows differ"));
  execute(w.where.file(), "UPDATE events SET summary = x'ff' WHERE seq = 5");
  CHECK(check_ledger(w.where.file())->problems.size() == 4); // with the two that follow from it
  damage(w.where.file(), 3 * 4096, 4 * 4096);
  report = check_ledger(w.where.file());
  CHECK_FALSE((report && report->good()));
}

TEST_CASE(
    "A check of a ledger that is being written finds it whole, whatever is appended meanwhile") {
  world w;
  w.make_jobs(20);
  auto how = w.how();
  how.wal_bytes_max = 64 << 10; // so that the log is begun anew again and again
  auto s = store::open(how, w.clock);
  REQUIRE(s);
  std::atomic<bool> over = false, refused = false;
  std::thread writer{[&] {
    for (std::uint64_t job = 21; !over; ++job) {
      refused = refused || !s->append(std::vector<event>{submit(job), start(job)});
      s->shorten_log();
    }
  }};
  std::vector<std::string> problems;
  for (int i = 0; i < 50 && problems.empty(); ++i) {
    const auto report = check_ledger(w.where.file());
    problems = report ? report->problems : std::vector{report.error().text};
  }
  over = true;
  writer.join();
  CHECK(problems == std::vector<std::string>{});
  CHECK_FALSE(refused);
}

TEST_CASE("A check finds whatever a disk has changed of an event") {
  world w;
  w.make_jobs(6);
  const auto path = w.where.file();
  const auto whole = bytes_of(path);
  const auto before = events_in(path);
  std::mt19937_64 random{1};
  const auto find = [&](std::size_t at) {
    auto changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ static_cast<char>(1 + random() % 255));
    std::ofstream{path, std::ios::binary} << changed;
    const auto report = check_ledger(path);
    if (report && report->good()) {
      INFO("byte " << at);
      REQUIRE(events_in(path) == before); // it was of something else, or of nothing
    }
    return !(report && report->good());
  };
  // Wherever an event lies in the file: one of its payloads, and any byte.
  const auto payload = submit(4).payload;
  const auto at = whole.rfind(std::string{payload.begin(), payload.end()});
  REQUIRE(at != std::string::npos);
  for (std::size_t i = 0; i < payload.size(); ++i)
    CHECK(find(at + i));
  for (int i = 0; i < 500; ++i)
    find(random() % whole.size());
  std::ofstream{path, std::ios::binary} << whole;
  CHECK(check_ledger(path)->good());
}

TEST_CASE("An event that is not as it was written is named by a check, and by a rebuild, once") {
  world w;
  w.make_jobs(6);
  const auto path = w.where.file();
  execute(path, "UPDATE events SET payload = x'a0' WHERE seq = 5");
  auto report = check_ledger(path);
  REQUIRE(report);
  REQUIRE(report->problems.size() >= 1);
  CHECK(contains(report->problems[0], "event 5 of job 3 is not as it was written"));
  const auto rebuilt = rebuild_ledger(path, 0);
  REQUIRE(rebuilt);
  REQUIRE(rebuilt->problems.size() == 1);
  CHECK(contains(rebuilt->problems[0], "event 5 of job 3"));
  CHECK(check_ledger(path)->good());
  // A sum that is gone is no event of an earlier schema.
  execute(path, "UPDATE events SET sum = NULL WHERE seq = 5");
  CHECK_FALSE(check_ledger(path)->good());
}

TEST_CASE("Rebuilding makes the tables from the events and keeps what was there") {
  world w;
  w.make_jobs(200);
  tables_image before;
  {
    auto s = w.reopen();
    before = image_of(*s);
  }
  execute(w.where.file(), "DELETE FROM jobs WHERE job > 7; UPDATE facts SET value = 3 WHERE name = "
                          "'highest_job'");
  const auto report = rebuild_ledger(w.where.file(), 0);
  INFO((report ? "" : report.error().text));
  REQUIRE(report);
  CHECK(report->problems.empty());
  CHECK(report->events == 500);
  CHECK(report->jobs == 200);
  CHECK(report->highest_job == 200);
  CHECK(files::exists(report->former));
  auto s = w.reopen();
  INFO((s ? "" : s.error().text));
  REQUIRE(s);
  CHECK(image_of(*s) == before);
  CHECK(s->highest_job() == 200);
  CHECK(s->append(std::vector<event>{submit(201)}));
}

TEST_CASE("Rebuilding takes over what can be read around a damaged page, and says what it lost") {
  world w;
  w.make_jobs(2000);
  damage(w.where.file(), 40 * 4096, 4096);
  const auto report = rebuild_ledger(w.where.file(), 0);
  INFO((report ? "" : report.error().text));
  REQUIRE(report);
  CHECK_FALSE(report->problems.empty());
  CHECK(report->events > 3000);
  CHECK(report->highest_job == 2000);
  CHECK(w.reopen());
  CHECK(check_ledger(w.where.file())->problems.size() <= report->problems.size());
}

// -- contradictions
// --------------------------------------------------------------------------------

TEST_CASE(
    "A ledger that is gone or emptied beside its head is refused, and rebuilt above its numbers") {
  world w;
  w.make_jobs(20);
  SECTION("gone") {
    REQUIRE(files::remove(w.where.file()));
  }
  SECTION("emptied") {
    files::resize_file(w.where.file(), 0);
  }
  files::remove(w.where.file("ledger.db-wal"));
  CHECK(contains(w.refusal(), "is gone or empty"));
  CHECK(contains(w.refusal(), "troupe ledger rebuild"));
  CHECK((!files::exists(w.where.file()) || files::file_size(w.where.file()) == 0));
  const auto report = rebuild_ledger(w.where.file(), 0);
  REQUIRE(report);
  CHECK(report->highest_job == 20);
  auto s = w.reopen();
  INFO((s ? "" : s.error().text));
  REQUIRE(s);
  CHECK(s->highest_job() == 20);
  CHECK(s->append(std::vector<event>{submit(1)}).error().code == errc::conflict);
  CHECK(s->append(std::vector<event>{submit(21)}));
}

TEST_CASE("Another cluster's ledger, and a head that cannot be read, are refused") {
  world w, other;
  w.make_jobs(5);
  other.make_jobs(50);
  files::copy_file(other.where.file(), w.where.file(), files::copy_options::overwrite_existing);
  CHECK(contains(w.refusal(), "is another one"));
  damage(w.where.file("ledger.db.head"), 0, 8192);
  CHECK(contains(w.refusal(), "ledger.db.head cannot be read"));
}

TEST_CASE("A damaged log is refused, never passed over; the tail of a power cut is not damage") {
  world w;
  const auto killed = w.where.file("killed");
  {
    auto s = w.reopen();
    REQUIRE(s);
    for (std::uint64_t job = 1; job <= 9; ++job)
      REQUIRE(s->append(std::vector<event>{submit(job)}));
    keep_with_log(w.where, killed);
  }
  const options with{killed + "/ledger.db", 0};
  const auto log = killed + "/ledger.db-wal";
  const auto undamaged = [&] {
    std::ifstream file{log, std::ios::binary};
    return std::string{std::istreambuf_iterator<char>{file}, {}};
  }();
  SECTION("a frame in the middle") {
    damage(log, 32 + 4120 + 2000, 16);
    CHECK(contains(w.refusal(with), "transactions behind it are lost"));
  }
  SECTION("its header") {
    damage(log, 4, 8);
    CHECK(contains(w.refusal(with), "its header cannot be read"));
  }
  SECTION("gone") {
    files::remove(log);
    CHECK(contains(w.refusal(with), "is gone or empty"));
  }
  SECTION("cleared") {
    files::resize_file(log, 0);
    CHECK(contains(w.refusal(with), "is gone or empty"));
  }
  SECTION("its last transaction was being written") {
    auto scan = scan_log(with.path);
    REQUIRE(scan);
    REQUIRE(scan->kept > 3);
    // Its first frame did not reach the disk, its last one did. It had not been answered: the head
    // does not know of it.
    auto before = head_file::read(with.path + ".head").value().value();
    --before.last_seq;
    --before.highest_job;
    REQUIRE(head_file::make(with.path + ".head", before));
    damage(log, static_cast<std::streamoff>(32 + (scan->kept - 2) * 4120 + 100), 16);
    CHECK(w.refusal(with) == "opened");
    return;
  }
  if (files::exists(log) && files::file_size(log) > 0) {
    std::ifstream file{log, std::ios::binary};
    const std::string now{std::istreambuf_iterator<char>{file}, {}};
    CHECK(now.size() == undamaged.size());
  }
  const auto report = rebuild_ledger(with.path, 0);
  REQUIRE(report);
  CHECK(report->highest_job == 9);
  CHECK(w.refusal(with) == "opened");
}

// -- the first release's ledger
// ----------------------------------------------------------------------

TEST_CASE("A ledger of schema 1 opens with all that it knew, and goes on") {
  world w;
  std::ifstream golden{TROUPE_GOLDEN_DIR "/ledger-1.sql"};
  const std::string sql{std::istreambuf_iterator<char>{golden}, {}};
  {
    database db;
    REQUIRE(db.open(w.where.file(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) == SQLITE_OK);
    REQUIRE(db.execute(sql) == SQLITE_OK);
  }
  auto with = w.how();
  with.cluster_exists = true; // an audit log is there, a head is not
  with.job_seen = 8;
  tables_image before;
  {
    auto s = store::open(with, w.clock);
    INFO((s ? "" : s.error().text));
    REQUIRE(s);
    CHECK(s->last_seq() == 25);
    CHECK(s->highest_job() == 8);
    CHECK(s->promises_from().value() == 26);
    before = image_of(*s);
    CHECK(before.jobs.size() == 8);
    CHECK(before.elements.size() == 4);
    std::set<std::uint64_t> unfinished;
    REQUIRE(s->load_unfinished([&](const stored_event& e) { unfinished.insert(e.job); }));
    CHECK(unfinished == std::set<std::uint64_t>{5, 8});
    // Nobody submits the same twice over the change of programs.
    auto again = submit(9);
    again.change->submitted->request = s->row_of(8)->request;
    CHECK(s->append(std::vector<event>{again}).error().code == errc::conflict);
    REQUIRE(s->rebuild());
    CHECK(image_of(*s) == before);
    REQUIRE(s->append(std::vector<event>{submit(9)}));
  }
  CHECK(check_ledger(w.where.file())->problems.empty());
  const auto report = rebuild_ledger(w.where.file(), 0);
  REQUIRE(report);
  CHECK(report->problems.empty());
  CHECK(report->jobs == 9);
  CHECK(w.refusal(with) == "opened");
}
