// SPDX-License-Identifier: Apache-2.0
#include "tests/catch.hpp"
#include "tools/troupe/console_format.hpp"
#include "tools/troupe/output.hpp"
#include "tools/troupe/output_path.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/table.hpp"

#include <csignal>
#include <fcntl.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::cli;

namespace {

calls::follow::piece piece_of(std::uint64_t offset, std::string_view text, std::uint32_t rank = 0) {
  calls::follow::piece piece;
  piece.rank = rank;
  piece.offset = offset;
  piece.data.assign(text.begin(), text.end());
  return piece;
}

/// What `act` writes to standard output.
template <class F>
std::string written_by(F act) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  int before = ::dup(STDOUT_FILENO);
  ::dup2(ends[1], STDOUT_FILENO);
  ::close(ends[1]);
  act();
  ::dup2(before, STDOUT_FILENO);
  ::close(before);
  std::string text(4096, '\0');
  auto got = ::read(ends[0], text.data(), text.size());
  ::close(ends[0]);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

} // namespace

TEST_CASE("columns are as wide as their data") {
  table rows{{{"ID", table::align::right}, {"NAME"}}};
  rows.add({"1", "short"});
  rows.add({"1000", "größer"});
  CHECK(rows.text(0) == "  ID  NAME\n   1  short\n1000  größer\n");
}

TEST_CASE("only the last column is cut to the terminal") {
  table rows{{{"ID"}, {"WHY"}}};
  rows.add({"1", "a long reason that does not fit"});
  CHECK(rows.text(12) == "ID  WHY\n1   a long …\n");
  CHECK(rows.text(0).find("does not fit") != std::string::npos);
}

TEST_CASE("names cannot steer the terminal") {
  CHECK(printable("a\x1b[31mb\n") == "a?[31mb?");
  table rows{{{"NAME"}}};
  rows.add({"evil\x1b]0;title\x07"});
  CHECK(rows.text(0).find('\x1b') == std::string::npos);
}

TEST_CASE("output is written once and in order, and a gap is told") {
  output_writer writer;
  auto text = written_by([&] {
    CHECK(writer.write(piece_of(0, "abc")) == output_writer::outcome::written);
    CHECK(writer.write(piece_of(1, "bcde")) == output_writer::outcome::written);
    CHECK(writer.write(piece_of(0, "ab")) == output_writer::outcome::written);
    CHECK(writer.write(piece_of(7, "h")) == output_writer::outcome::gap);
  });
  CHECK(text == "abcdeh");
  auto at = writer.positions();
  REQUIRE(at.size() == 1);
  CHECK(at[0].offset == 8);
}

TEST_CASE("labelled output has whole lines with their task") {
  output_writer writer;
  writer.label_lines();
  auto text = written_by([&] {
    writer.write(piece_of(0, "one\ntw", 0));
    writer.write(piece_of(0, "first\n", 1));
    writer.write(piece_of(6, "o\nend", 0));
    writer.finish();
  });
  CHECK(text == "0: one\n1: first\n0: two\n0: end\n");
}

TEST_CASE("output that nobody reads is noticed") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  int before = ::dup(STDOUT_FILENO);
  ::dup2(ends[1], STDOUT_FILENO);
  output_writer writer;
  auto outcome = writer.write(piece_of(0, "x"));
  ::dup2(before, STDOUT_FILENO);
  ::close(before);
  ::close(ends[1]);
  ::signal(SIGPIPE, pipe_before);
  CHECK(outcome == output_writer::outcome::nobody_reads);
}

TEST_CASE("an output pattern becomes the file that the launcher opens") {
  job_view job;
  job.row.job = 12;
  job.row.nodelist = "node[3-4]";
  job.spec.cwd = "/data";
  CHECK(expand_output_path(place_of(job, no_element), 2, "out-%j-%t.%N") == "/data/out-12-2.node3");
  CHECK(expand_output_path(place_of(job, 7), 0, "/tmp/%j_%a%%") == "/tmp/12_7%");
  step_view step;
  step.step = 3;
  step.element = 7;
  step.nodelist = "node4";
  step.cwd = "/scratch";
  step.stdout_path = "step-%a.%N";
  job.steps.push_back(step);
  const auto place = place_of_step(job, 3);
  REQUIRE(place);
  CHECK(expand_output_path(*place, 0, place->stdout_path) == "/scratch/step-7.node4");
  CHECK(!place_of_step(job, 4));
}

TEST_CASE("an array is one row with its numbers") {
  job_row row;
  row.job = 5;
  row.elements_total = 100;
  row.elements_running = 2;
  row.elements_pending = 98;
  auto rows = queue_table();
  add_queue_row(rows, row, 0);
  const auto text = rows.text(0);
  CHECK(text.find("5_[100]") != std::string::npos);
  CHECK(text.find("2 running, 98 pending") != std::string::npos);
}

TEST_CASE("pieces of a list join into one") {
  std::string json = "{\"rows\":[";
  append_rows_json(json, R"({"rows":[]})");
  append_rows_json(json, R"({"rows":[{"a":[1]},{"b":2}]})");
  append_rows_json(json, R"({"rows":[{"c":3}]})");
  CHECK(json + "]}" == R"({"rows":[{"a":[1]},{"b":2},{"c":3}]})");
}

TEST_CASE("the tree shows who supervises whom, and survives a circle") {
  actor_row cluster;
  cluster.id = 1;
  cluster.name = "cluster";
  actor_row ledger;
  ledger.id = 2;
  ledger.name = "ledger";
  ledger.parent = 1;
  actor_row job = ledger;
  job.id = 3;
  job.name = "job/7";
  actor_row left;
  left.id = 8;
  left.name = "left";
  left.parent = 9;
  actor_row right;
  right.id = 9;
  right.name = "right";
  right.parent = 8;
  auto text = actor_tree({cluster, ledger, job, left, right});
  CHECK(text.find("cluster  (1") == 0);
  CHECK(text.find("├─ ledger") != std::string::npos);
  CHECK(text.find("└─ job/7") != std::string::npos);
  CHECK(text.find("left") != std::string::npos);
  CHECK(text.find("right") != std::string::npos);
}
