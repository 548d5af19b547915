// SPDX-License-Identifier: Apache-2.0
#include "tests/catch.hpp"
#include "tests/unit/ledger_world.hpp"

#include <fstream>
#include <random>
#include <sys/stat.h>

using namespace ledger_world;

namespace {

expected<std::uint64_t> append(store& to, const std::vector<event>& events) {
  return to.append(events);
}

std::vector<std::uint64_t> jobs_in(store& from, const filter& which) {
  std::vector<std::uint64_t> jobs;
  REQUIRE(from.history(which, [&](const job_row& row) { jobs.push_back(row.job); }));
  return jobs;
}

} // namespace

TEST_CASE("What was appended is there after the ledger is opened again") {
  world w;
  {
    auto s = w.reopen();
    REQUIRE(s);
    CHECK(append(*s, {submit(1), submit(2, 3)}) == 1u);
    CHECK(append(*s, {start(1), finish(1, 7)}) == 3u);
  }
  auto s = w.reopen();
  REQUIRE(s);
  CHECK(s->last_seq() == 4);
  CHECK(s->highest_job() == 2);
  const auto row = s->row_of(1);
  REQUIRE(row);
  CHECK(row->name == "name1");
  CHECK(row->state == failed);
  CHECK(row->exit_code == 7);
  CHECK(row->submitted_ns < row->started_ns);
  CHECK(row->started_ns == row->ended_ns);
  CHECK(row->submit_seq == 1);
  CHECK(row->request == request_of(1));
  const auto payload = s->submitted_payload(2);
  REQUIRE(payload);
  CHECK(as_text(*payload) == "spec of 2");
  CHECK(s->submitted_payload(3).error().code == errc::not_found);
}

TEST_CASE("Unfinished jobs come with their submission and all that followed, in order") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(append(*s, {submit(1), submit(2), submit(3), start(2), finish(1), start(3), cancel(3)}));
  std::vector<std::pair<std::uint64_t, event_kind>> seen;
  REQUIRE(s->load_unfinished([&](const stored_event& e) { seen.emplace_back(e.job, e.kind); }));
  CHECK(seen == std::vector<std::pair<std::uint64_t, event_kind>>{{2, event_kind::submitted},
                                                                  {2, event_kind::starting}});
}

TEST_CASE("An array keeps one row and a row for each element that ended") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(append(*s, {submit(1, 100), start(1), finish_element(1, 4, 0), finish_element(1, 9, 2)}));
  const auto row = s->row_of(1);
  REQUIRE(row);
  CHECK(row->elements_total == 100);
  CHECK(row->elements_done == 2);
  CHECK(row->elements_failed == 1);
  CHECK(row->ended_ns == 0);
  std::vector<element_row> elements;
  REQUIRE(s->elements_of(1, {5, 99}, [&](const element_row& e) { elements.push_back(e); }));
  REQUIRE(elements.size() == 1);
  CHECK(elements[0].element == 9);
  CHECK(elements[0].exit_code == 2);
  CHECK(elements[0].node == "n1");
}

TEST_CASE("A request id is taken once, and the refusal names the job that has it") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(append(*s, {submit(1), submit(2)}));
  auto again = submit(3);
  again.change->submitted->request = request_of(2);
  const auto refused = append(*s, {submit(4), again});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::conflict);
  CHECK(contains(refused.error().text, "as job 2"));
  CHECK(s->highest_job() == 2);
  CHECK(s->row_of(4).error().code == errc::not_found);
  CHECK(s->job_of_request(request_of(2)).value().value() == 2);
  CHECK_FALSE(s->job_of_request(request_of(99)).value().has_value());
  CHECK(append(*s, {submit(3)}) == 3u);
}

TEST_CASE("A transaction with one bad event leaves nothing behind") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(append(*s, {submit(1)}));
  const auto before = image_of(*s);
  CHECK(append(*s, {start(1), finish(5)}).error().code == errc::not_found);
  CHECK(append(*s, {start(1), submit(1)}).error().code == errc::conflict);
  CHECK(append(*s, {submit(0)}).error().code == errc::invalid);
  auto large = submit(2);
  large.payload.resize(payload_bytes_max + 1);
  CHECK(append(*s, {large}).error().code == errc::exhausted);
  CHECK(image_of(*s) == before);
  CHECK(s->last_seq() == 1);
}

TEST_CASE("Job numbers come in any order while the ledger is open, and are never used again") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(append(*s, {submit(7)}));
  REQUIRE(append(*s, {submit(5)}));
  CHECK(s->highest_job() == 7);
  auto refused = append(*s, {submit(5)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::conflict);
  CHECK(contains(refused.error().text, "job 5 cannot be submitted: its number is used"));
  s = fail(errc::internal, "closed");
  s = w.reopen();
  REQUIRE(s);
  CHECK(s->highest_job() == 7);
  refused = append(*s, {submit(6)});
  REQUIRE_FALSE(refused);
  CHECK(contains(refused.error().text, "job 6 cannot be submitted: its number is used"));
  REQUIRE(append(*s, {submit(8)}));
}

TEST_CASE("A requeued job has no start until it starts again") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  event again;
  again.job = 1;
  again.kind = event_kind::requeued;
  again.incarnation = 1;
  again.change.emplace();
  again.change->state = pending;
  again.change->requeues = true;
  auto failed_start = start(1);
  failed_start.change->exit_code = 3;
  REQUIRE(append(*s, {submit(1), failed_start, again}));
  CHECK(s->row_of(1)->started_ns == 0);
  CHECK_FALSE(s->row_of(1)->exit_code.has_value());
  REQUIRE(append(*s, {start(1)}));
  CHECK(s->row_of(1)->started_ns != 0);
}

TEST_CASE("History filters by user, state, time, number and name, newest first") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  for (std::uint64_t job = 1; job <= 6; ++job)
    REQUIRE(append(*s, {submit(job, 1, job % 2 == 0 ? 2000u : 1000u)}));
  REQUIRE(append(*s, {finish(2), cancel(3)}));
  filter by_user;
  by_user.uid = 2000;
  CHECK(jobs_in(*s, by_user) == std::vector<std::uint64_t>{6, 4, 2});
  filter by_state;
  by_state.states = {completed, cancelled};
  CHECK(jobs_in(*s, by_state) == std::vector<std::uint64_t>{3, 2});
  filter by_number;
  by_number.jobs = {{1, 2}, {6, ~std::uint64_t{0}}};
  by_number.limit = 2;
  CHECK(jobs_in(*s, by_number) == std::vector<std::uint64_t>{6, 2});
  filter by_name;
  by_name.name = "name5";
  CHECK(jobs_in(*s, by_name) == std::vector<std::uint64_t>{5});
  by_name.name = "' OR 1 --";
  CHECK(jobs_in(*s, by_name).empty());
  filter by_time;
  by_time.until = s->row_of(3)->submitted_ns;
  CHECK(jobs_in(*s, by_time) == std::vector<std::uint64_t>{2, 1});
  by_time.since = s->row_of(2)->ended_ns + 1;
  CHECK(jobs_in(*s, by_time) == std::vector<std::uint64_t>{1});
  filter too_wide;
  too_wide.jobs.resize(1000);
  CHECK(s->history(too_wide, [](const job_row&) {}).error().code == errc::exhausted);
}

TEST_CASE("Rebuilding the tables from random events gives the same tables") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  std::mt19937_64 random{42};
  std::uint64_t jobs = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<event> batch{submit(++jobs, 1 + static_cast<std::uint32_t>(random() % 9))};
    for (auto n = random() % 12; n > 0; --n) {
      const auto job = 1 + random() % jobs;
      const auto element = static_cast<std::uint32_t>(random() % 9);
      const event choices[] = {
          start(job), finish(job, static_cast<std::int32_t>(random() % 2)),
          finish_element(job, element, static_cast<std::int32_t>(random() % 3)), cancel(job)};
      batch.push_back(choices[random() % 4]);
    }
    REQUIRE(append(*s, batch));
  }
  const auto before = image_of(*s);
  REQUIRE(before.jobs.size() == 200);
  REQUIRE_FALSE(before.elements.empty());
  REQUIRE(s->rebuild());
  CHECK(image_of(*s) == before);
  CHECK(check_ledger(w.where.file())->problems.empty());
}

TEST_CASE("A checkpoint empties the log and keeps every event") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(append(*s, {submit(1)}));
  CHECK(s->wal_bytes() > 0);
  REQUIRE(s->checkpoint());
  CHECK(s->wal_bytes() == 0);
  REQUIRE(append(*s, {submit(2)}));
  CHECK(s->last_seq() == 2);
}

TEST_CASE("A log that became too long is shortened, and keeps every event") {
  world w;
  auto s = store::open({w.where.file(), 0, 1u << 20}, w.clock);
  REQUIRE(s);
  s->shorten_log();
  for (std::uint64_t job = 1; s->wal_bytes() <= 1u << 20; ++job)
    REQUIRE(append(*s, {submit(job)}));
  const auto last = s->last_seq();
  s->shorten_log();
  CHECK(s->wal_bytes() == 0);
  const auto size = std::filesystem::file_size(w.where.file() + "-wal");
  REQUIRE(append(*s, {submit(last + 1)}));
  CHECK(std::filesystem::file_size(w.where.file() + "-wal") == size);
  s = fail(errc::internal, "closed");
  s = store::open({w.where.file(), 0}, w.clock);
  REQUIRE(s);
  CHECK(s->last_seq() == last + 1);
}

TEST_CASE("The log's file is written ahead, and does not grow or shrink with what is appended") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  const auto size = [&] { return std::filesystem::file_size(w.where.file() + "-wal"); };
  const auto before = size();
  CHECK(before == options{}.wal_bytes_max);
  for (std::uint64_t job = 1; job <= 100; ++job)
    REQUIRE(append(*s, {submit(job)}));
  CHECK(size() == before);
  REQUIRE(s->checkpoint());
  CHECK(size() == before);
  // Killed here: what is behind the last frame is zeros or older frames, never events.
  REQUIRE(append(*s, {submit(101)}));
  const auto copy = w.where.file("copy");
  std::filesystem::copy_file(w.where.file(), copy);
  std::filesystem::copy_file(w.where.file() + "-wal", copy + "-wal");
  auto killed = store::open({copy, 0}, w.clock);
  REQUIRE(killed);
  CHECK(killed->last_seq() == 101);
  CHECK(killed->append(std::vector<event>{submit(killed->highest_job() + 1)}));
}

TEST_CASE(
    "Files that are no ledger, and ledgers that cannot be used, are refused with a sentence") {
  world w;
  const auto refusal = [&](const std::string& path) {
    const auto s = store::open({path, 0}, w.clock);
    REQUIRE_FALSE(s);
    return s.error();
  };
  const auto execute = [](const std::string& path, const char* sql) {
    database db;
    REQUIRE(db.open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) == SQLITE_OK);
    REQUIRE(db.execute(sql) == SQLITE_OK);
  };
  std::ofstream{w.where.file("text")} << std::string(5000, 'x');
  CHECK(contains(refusal(w.where.file("text")).text, "is not a ledger of Troupe"));
  execute(w.where.file("other"), "CREATE TABLE t(x)");
  CHECK(contains(refusal(w.where.file("other")).text, "not a ledger of Troupe"));
  CHECK(contains(refusal(w.where.file("no/such")).text, "cannot be made"));
  {
    auto s = w.reopen();
    REQUIRE(s);
    const auto second = w.reopen();
    REQUIRE_FALSE(second);
    CHECK(second.error().code == errc::conflict);
    CHECK(contains(second.error().text, "another process has the ledger"));
  }
  execute(w.where.file(), "PRAGMA user_version = 99");
  CHECK(contains(refusal(w.where.file()).text, "schema 99, written by a newer Troupe"));
}

TEST_CASE("The ledger's files belong to their owner alone") {
  world w;
  auto s = w.reopen();
  REQUIRE(s);
  REQUIRE(append(*s, {submit(1)}));
  for (const auto* suffix : {"", "-wal", ".ballast", ".head"}) {
    struct stat info {};
    REQUIRE(::stat((w.where.file() + suffix).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
}
