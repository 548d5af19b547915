// SPDX-License-Identifier: Apache-2.0
// Logs: what is read, what is refused, what is left out, and the averages.
#include "runtime/sim/figures.hpp"
#include "runtime/sim/input.hpp"
#include "runtime/sim/replay.hpp"
#include "runtime/sim/starts_file.hpp"
#include "tests/catch.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>
#include <zlib.h>

namespace {

using namespace troupe;
using sim::swf_log;

swf_log read(std::string_view text) {
  sim::swf_reader reader;
  reader.feed(text);
  return reader.finish();
}

/// A line of the format with those fields and -1 elsewhere.
std::string line(const std::string& id, const std::string& submit, const std::string& run,
                 const std::string& allocated, const std::string& requested,
                 const std::string& time) {
  return id + " " + submit + " -1 " + run + " " + allocated + " -1 -1 " + requested + " " + time +
         " -1 1 7 -1 -1 -1 -1 -1 -1\n";
}

std::string problem(const std::string& text) {
  auto log = read(text);
  REQUIRE(log.malformed == 1);
  REQUIRE(log.jobs.empty());
  REQUIRE(log.problems.size() == 1);
  return "line " + std::to_string(log.problems[0].line) + " " + log.problems[0].what;
}

class scratch_file {
public:
  scratch_file() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-sim-XXXXXX").string();
    auto fd = ::mkstemp(name.data());
    REQUIRE(fd >= 0);
    ::close(fd);
    path_ = name;
  }
  ~scratch_file() { std::filesystem::remove(path_); }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  const std::string& path() const { return path_; }
  void write(const std::string& bytes) const {
    std::ofstream{path_, std::ios::binary | std::ios::trunc} << bytes;
  }

private:
  std::string path_;
};

std::string zipped(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  std::string in = text;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string many_lines() {
  std::string text;
  for (int i = 1; i <= 3000; ++i)
    text += line(std::to_string(i), std::to_string(7 * i), std::to_string(1 + i % 977), "4", "4",
                 "1000");
  return text;
}

} // namespace

TEST_CASE("a line's fields are read, comments and empty lines are none") {
  auto log = read("; Version: 2.2\n\n  ; more\r\n" + line("3", "5", "60", "4", "8", "90") + "\t\n");
  CHECK(log.lines == 5);
  CHECK(log.malformed == 0);
  REQUIRE(log.jobs.size() == 1);
  CHECK(log.jobs[0] == sim::swf_job{3, 5, 60, 4, 8, 90, 7});
}

TEST_CASE("a log reads the same however its bytes are cut, with or without a last line end") {
  auto text = "; a\n" + line("1", "0", "60", "4", "4", "90") + "bad\r\n" +
              line("2", "1", "61.0", "4", "-1", "90");
  text.pop_back();
  auto whole = read(text);
  CHECK(whole.jobs.size() == 2);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    sim::swf_reader reader;
    reader.feed(std::string_view{text}.substr(0, cut));
    reader.feed(std::string_view{text}.substr(cut));
    auto parts = reader.finish();
    REQUIRE(parts.jobs == whole.jobs);
    REQUIRE(parts.malformed == 1);
    REQUIRE(parts.problems[0].line == 3);
  }
}

TEST_CASE("a malformed line is named with what is wrong with it") {
  CHECK(problem("; c\n1 2 3\n") == "line 2 has 3 fields instead of 18");
  CHECK(problem(line("1", "0", "sixty", "4", "4", "90")) ==
        "line 1 field 4 (run time) is 'sixty', not a whole number");
  CHECK(problem(line("1", "0", "60.5", "4", "4", "90")) ==
        "line 1 field 4 (run time) is '60.5', not a whole number");
  CHECK(problem(line("-1", "0", "60", "4", "4", "90")) ==
        "line 1 field 1 (job number) is '-1'; 0 to 9223372036854775807 is possible");
  CHECK(problem(line("1", "99999999999999999999", "60", "4", "4", "90")) ==
        "line 1 field 2 (submit time) is '99999999999999999999'; -100000000000 to 100000000000 is "
        "possible");
  CHECK(problem("1 0 - 60 4 -1 -1 4 90 -1 1 7 -1 -1 -1 -1 -1 -1\n") ==
        "line 1 field 3 is '-', not a number");
  CHECK(problem(std::string(sim::line_bytes_max + 1, '7') + "\n") ==
        "line 1 is longer than 65536 bytes");
  CHECK(problem(std::string{"\x01\0\xff"} + "\n").find("has 1 field instead") != std::string::npos);
}

TEST_CASE("all malformed lines are counted, the first few described, the others used") {
  std::string text;
  for (int i = 1; i <= 20; ++i)
    text += i % 2 == 0 ? line(std::to_string(i), "0", "1", "1", "1", "1") : "x\n";
  auto log = read(text);
  CHECK(log.jobs.size() == 10);
  CHECK(log.malformed == 10);
  CHECK(log.problems.size() == sim::problems_max);
}

TEST_CASE("the filter drops what the machine cannot run or nobody knows, each counted once") {
  auto log = read(line("1", "0", "60", "200", "4", "90") + line("2", "0", "60", "4", "101", "90") +
                  line("3", "0", "60", "-1", "0", "90") + line("4", "0", "0", "4", "4", "90") +
                  line("5", "0", "60", "4", "4", "-1") + line("6", "-5", "60", "4", "4", "90") +
                  line("7", "9", "60", "-1", "4", "90") + line("8", "8", "60", "3", "-1", "50") +
                  line("9", "9", "60", "8", "7", "90") + line("10", "0", "-1", "-1", "-1", "-1"));
  auto work = sim::make_workload(log, 100);
  CHECK(work.without.too_large == 2);
  CHECK(work.largest_left_out == 200);
  CHECK(work.without.no_processors == 2);
  CHECK(work.without.no_run_time == 1);
  CHECK(work.without.no_requested_time == 1);
  CHECK(work.without.negative_submit == 1);
  CHECK(work.cut_to_request == 1);
  REQUIRE(work.jobs.size() == 3);
  CHECK(work.jobs[0].id == 8); // by submission
  CHECK(work.jobs[0].run == 50);
  CHECK(work.jobs[0].processors == 3);
  CHECK(work.jobs[1].id == 7); // of one second: as in the log
  CHECK(work.jobs[2].processors == 7);
}

TEST_CASE("a log without requested times keeps its jobs and says so") {
  auto work = sim::make_workload(read(line("1", "0", "60", "4", "-1", "-1")), 100);
  CHECK(work.no_requested_times);
  REQUIRE(work.jobs.size() == 1);
  CHECK(work.jobs[0].request == 60);
}

TEST_CASE("a gzip log and a plain one read the same, whatever their names are") {
  scratch_file plain, gz;
  auto text = many_lines();
  plain.write(text);
  gz.write(zipped(text));
  auto a = sim::read_swf_file(plain.path());
  auto b = sim::read_swf_file(gz.path());
  REQUIRE(a);
  REQUIRE(b);
  CHECK(a->jobs.size() == 3000);
  CHECK(a->jobs == b->jobs);
}

TEST_CASE("gzip data that are cut off or damaged are refused whole, at whatever byte") {
  scratch_file file;
  auto bytes = zipped(many_lines());
  for (auto length = bytes.size() - 1; length > 20;
       length -= length > bytes.size() - 12 ? 1 : 997) {
    file.write(bytes.substr(0, length));
    auto log = sim::read_swf_file(file.path());
    INFO(length << " of " << bytes.size());
    REQUIRE_FALSE(log);
    REQUIRE(log.error().text.find("is cut off") != std::string::npos);
    if (length < 1000)
      break;
  }
  auto damaged = bytes;
  damaged[bytes.size() / 2] = static_cast<char>(damaged[bytes.size() / 2] ^ 0x55);
  file.write(damaged);
  CHECK_FALSE(sim::read_swf_file(file.path()));
}

TEST_CASE("a file that is not there and a directory are errors of one sentence") {
  auto missing = sim::read_swf_file("/no/such/log.swf");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().text == "cannot open /no/such/log.swf: No such file or directory");
  auto directory = sim::read_swf_file("/");
  REQUIRE_FALSE(directory);
  CHECK(directory.error().text.find("is a directory") != std::string::npos);
}

TEST_CASE("figures are those of the definitions") {
  std::vector<sim::workload_job> jobs{{1, 10, 5, 5, 2, 1}, {2, 10, 100, 100, 4, 1}};
  std::vector<plan::instant> starts{30, 10};
  auto figures = sim::figures_of(jobs, starts, 4);
  CHECK(figures.avebsld == Approx((2.5 + 1) / 2)); // 25 s over 10 s, and no slowdown
  CHECK(figures.mean_wait_s == Approx(10));
  CHECK(figures.longest_wait_s == 20);
  CHECK(figures.makespan_s == 100);
  CHECK(figures.utilisation == Approx(410.0 / 400));
  CHECK(sim::figures_of({}, {}, 4).jobs == 0);
}

TEST_CASE("starts are written as the contract says") {
  std::vector<sim::workload_job> jobs{{7, 10, 5, 6, 2, 1}};
  std::vector<plan::instant> starts{12};
  CHECK(sim::starts_csv(jobs, starts) == "job,submit,start,run,procs\n7,10,12,5,2\n");
  CHECK_FALSE(sim::write_starts_file("/no/such/folder/x.csv", jobs, starts));
  CHECK_FALSE(sim::write_starts_file("/dev/full", jobs, starts));
}

TEST_CASE("the largest times that a log may hold overflow nothing") {
  auto most = std::to_string(sim::time_s_max);
  std::string text;
  for (int i = 1; i <= 50; ++i)
    text += line(std::to_string(i), most, most, "2000000000", "-1", most);
  auto work = sim::make_workload(read(text), 2'000'000'000);
  REQUIRE(work.jobs.size() == 50);
  for (auto policy :
       {plan::pool_policy::fcfs, plan::pool_policy::easy, plan::pool_policy::conservative}) {
    sim::replay_options how;
    how.machine = {2'000'000'000, policy, plan::queue_order::wfp3, plan::queue_order::f3};
    auto starts = sim::replay(work.jobs, how);
    REQUIRE(starts);
    CHECK(starts->back() == 50 * sim::time_s_max);
    CHECK(sim::figures_of(work.jobs, *starts, 2'000'000'000).utilisation == Approx(1));
  }
}
