// SPDX-License-Identifier: Apache-2.0
#include "config/latest_time.hpp"
#include "tests/catch.hpp"
#include "tools/troupe/values.hpp"

#include <csignal>
#include <string>
#include <vector>

using namespace troupe;
using namespace troupe::cli;

namespace {

std::string ranges_of(const array_spec& array) {
  std::string out;
  for (const auto& range : array.ranges)
    out += std::to_string(range.first) + "-" + std::to_string(range.last) + " ";
  return out + "%" + std::to_string(array.running_max);
}

std::string targets_of(std::string_view text) {
  auto targets = parse_job_ids(text);
  if (!targets)
    return "refused";
  std::string out;
  for (const auto& one : *targets) {
    out += std::to_string(one.first) + ".." + std::to_string(one.last);
    if (one.elements)
      out += "[" + std::to_string(one.elements->first) + "-" + std::to_string(one.elements->last) +
             "]";
    out += " ";
  }
  return out;
}

} // namespace

TEST_CASE("memory sizes are bytes or powers of 1024") {
  CHECK(*parse_memory("4096") == 4096);
  CHECK(*parse_memory("512K") == 512 * 1024);
  CHECK(*parse_memory("512M") == 512ull << 20);
  CHECK(*parse_memory("512m") == 512ull << 20);
  CHECK(*parse_memory("4G") == 4ull << 30);
  CHECK(*parse_memory("4GiB") == 4ull << 30);
  CHECK(*parse_memory("4GB") == 4ull << 30);
  CHECK(*parse_memory("1.5G") == 3ull << 29);
  CHECK(*parse_memory("2T") == 2ull << 40);
  CHECK(*parse_memory("100B") == 100);
}

TEST_CASE("what is no memory size is refused with how to write one") {
  for (auto bad : {"", "M", "12Q", "-1", "1.5", "1..5G", "1.G", ".5G", "0", "4 G", "0x10",
                   "99999999999T", "1.2345G", "18446744073709551615G", "4Gi", "GiB"}) {
    INFO(bad);
    auto parsed = parse_memory(bad);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == errc::invalid);
  }
  CHECK(parse_memory("12Q").error().text ==
        "'12Q' is no memory size; write it like 512M, 4G or a number of bytes");
}

TEST_CASE("times are minutes, clock-like, or with a unit") {
  CHECK(*parse_duration_s("30") == 30 * 60);
  CHECK(*parse_duration_s("90s") == 90);
  CHECK(*parse_duration_s("15m") == 15 * 60);
  CHECK(*parse_duration_s("2h") == 2 * 3600);
  CHECK(*parse_duration_s("1d") == 86'400);
  CHECK(*parse_duration_s("10:30") == 630);
  CHECK(*parse_duration_s("90:00") == 5400);
  CHECK(*parse_duration_s("01:02:03") == 3723);
  CHECK(*parse_duration_s("2-03:04:05") == 2 * 86'400 + 3 * 3600 + 4 * 60 + 5);
}

TEST_CASE("what is no time is refused") {
  for (auto bad :
       {"", "0", "0s", "-5", "1:2:3:4", "10:60", "1:60:00", "1-24:00:00", "1-00", "1-00:00", "5x",
        "s", ":30", "10:", "1.5h", "999999999", "400d", "18446744073709551615", "1--1:00:00"}) {
    INFO(bad);
    CHECK_FALSE(parse_duration_s(bad));
  }
}

TEST_CASE("arrays are ranges, lists and strides, with a limit of what runs at once") {
  CHECK(ranges_of(*parse_array("1-1000%50")) == "1-1000 %50");
  CHECK(ranges_of(*parse_array("7")) == "7-7 %0");
  CHECK(ranges_of(*parse_array("1,3,5-9:2")) == "1-1 3-3 5-5 7-7 9-9 %0");
  CHECK(ranges_of(*parse_array("5,1-3,4")) == "1-5 %0");
  CHECK(ranges_of(*parse_array("0-9:3")) == "0-0 3-3 6-6 9-9 %0");
}

TEST_CASE("arrays that name an element twice, none, or too many are refused") {
  for (auto bad : {"", "1-", "-1", "5-1", "1,,2", "1-3,2", "1%0", "1%", "a", "1-1000000", "1-9:0",
                   "1-9:", "0-999999:2", "1-2-3", "1-3%50%2"}) {
    INFO(bad);
    CHECK_FALSE(parse_array(bad));
  }
}

TEST_CASE("node lists are written out, sorted and once each") {
  using names = std::vector<std::string>;
  CHECK(*parse_node_list("node[1-4],node7") == names{"node1", "node2", "node3", "node4", "node7"});
  CHECK(*parse_node_list("n[08-10]") == names{"n08", "n09", "n10"});
  CHECK(*parse_node_list("b,a,b") == names{"a", "b"});
  CHECK(*parse_node_list("n[1,3-4]") == names{"n1", "n3", "n4"});
  for (auto bad :
       {"", ",", "a,", "n[1-", "n[]", "n[1-2]x", "n[4-1]", "n[a]", "n/1", "n[1-99999]", "a b"}) {
    INFO(bad);
    CHECK_FALSE(parse_node_list(bad));
  }
}

TEST_CASE("job ids name jobs, ranges, elements and step 0") {
  CHECK(targets_of("812") == "812..812 ");
  CHECK(targets_of("812-900") == "812..900 ");
  CHECK(targets_of("812_7") == "812..812[7-7] ");
  CHECK(targets_of("812_[1-9]") == "812..812[1-9] ");
  CHECK(targets_of("812_[1-3,5]") == "812..812[1-3] 812..812[5-5] ");
  CHECK(targets_of("812.0") == "812..812 ");
  CHECK(targets_of("812_7.0") == "812..812[7-7] ");
  for (auto bad : {"", "0", "x", "812_", "812_[", "812_[]", "812_x", "812.", "812.x", "812.1",
                   "900-812", "1-2_3", "-5", "812_1-3", "812_9999999", "99999999999999999999"}) {
    INFO(bad);
    CHECK(targets_of(bad) == "refused");
  }
}

TEST_CASE("a step is a number behind its job or element") {
  const auto step = parse_step("812_7.3");
  REQUIRE(step);
  REQUIRE(*step);
  CHECK((*step)->of.job == 812);
  CHECK((*step)->of.element == 7);
  CHECK((*step)->step == 3);
  CHECK(format_step(**step) == "812_7.3");
  CHECK(*parse_step("812") == std::nullopt);
  CHECK(*parse_step("812.0") == std::nullopt);
  for (auto bad : {"812.", "812.x", "812-813.1", ".1", "812.99999999"})
    CHECK_FALSE(parse_step(bad));
}

TEST_CASE("one job is one job or one element") {
  CHECK(parse_one_job("812")->element == no_element);
  CHECK(parse_one_job("812_7")->element == 7);
  CHECK_FALSE(parse_one_job("812-813"));
  CHECK_FALSE(parse_one_job("812_[1-2]"));
}

TEST_CASE("signals have names and numbers") {
  CHECK(*parse_signal("TERM") == SIGTERM);
  CHECK(*parse_signal("SIGUSR1") == SIGUSR1);
  CHECK(*parse_signal("9") == SIGKILL);
  CHECK(signal_name(SIGTERM) == "SIGTERM");
  for (auto bad : {"", "0", "-9", "SIG", "term", "1000", "TERM "})
    CHECK_FALSE(parse_signal(bad));
}

TEST_CASE("a time to begin lies in the future") {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  constexpr utc_ns now = 1'700'000'000 * ns_per_s; // 2023-11-14 22:13:20
  CHECK(*parse_point_in_time("now+2h", now) == now + 7200 * ns_per_s);
  CHECK(*parse_point_in_time("2023-11-14T22:14", now) == now + 40 * ns_per_s);
  CHECK(*parse_point_in_time("22:14:00", now) == now + 40 * ns_per_s);
  CHECK(*parse_point_in_time("22:13", now) == now + (86'400 - 20) * ns_per_s);
  CHECK(*parse_point_in_time("2023-11-15", now) ==
        (1'700'000'000 / 86'400 + 1) * 86'400 * ns_per_s);
  for (auto bad :
       {"", "now", "now+", "now-1h", "yesterday", "25:00", "2020-01-01", "2023-11-14T22:13", "12",
        "2027-02-30", "2027-02-29T10:00", "2027-04-31", "2027-13-01", "99999-01-01"}) {
    INFO(bad);
    CHECK_FALSE(parse_point_in_time(bad, now));
  }
  CHECK(parse_point_in_time("2028-02-29", now));
  CHECK(parse_point_in_time("2100-01-01", now) == 4'102'444'800 * ns_per_s);
  for (auto late : {"2100-01-01T00:00:01", "2262-04-12", "9999-12-31"}) {
    const auto refused = parse_point_in_time(late, now);
    REQUIRE_FALSE(refused);
    INFO(refused.error().text);
    CHECK(refused.error().text.find("2100-01-01") != std::string::npos);
    CHECK(refused.error().text.find("--hold") != std::string::npos);
  }
  CHECK_FALSE(parse_point_in_time("now+2d", latest_time_ns));
  CHECK(parse_point_in_time("now+367d", now).error().text.find("366 days") != std::string::npos);
}

TEST_CASE("what people read is short") {
  CHECK(format_memory(0) == "-");
  CHECK(format_memory(512ull << 20) == "512 MiB");
  CHECK(format_memory(3ull << 29) == "1.5 GiB");
  CHECK(format_duration(5) == "0:05");
  CHECK(format_duration(3723) == "1:02:03");
  CHECK(format_duration(2 * 86'400 + 5) == "2-00:00:05");
  CHECK(format_time(0) == "-");
}
