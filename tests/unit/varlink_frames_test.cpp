// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "messages/json.hpp"
#include "messages/json_scan.hpp"
#include "runtime/varlink/envelope.hpp"
#include "runtime/varlink/frame_reader.hpp"
#include "tests/catch.hpp"

using namespace troupe;
using namespace troupe::varlink;
using namespace std::string_literals;

namespace {

std::vector<std::string> frames_of(frame_reader& reader, const std::vector<std::string>& chunks) {
  std::vector<std::string> frames;
  for (const auto& chunk : chunks)
    REQUIRE(reader.feed(chunk, [&](std::string_view frame) {
      frames.emplace_back(frame);
      return true;
    }));
  return frames;
}

bool scans(std::string_view text) {
  json_scanner scanner{text};
  return scanner.value().has_value() && scanner.at_end();
}

} // namespace

TEST_CASE("frames come out whole however the stream is cut") {
  auto stream = "one\0two\0\0four and a longer one\0"s;
  std::vector<std::string> expected{"one", "two", "", "four and a longer one"};
  for (std::size_t first = 0; first <= stream.size(); ++first)
    for (std::size_t second = first; second <= stream.size(); ++second) {
      frame_reader reader;
      CHECK(frames_of(reader, {stream.substr(0, first), stream.substr(first, second - first),
                               stream.substr(second)}) == expected);
      CHECK(reader.kept_bytes() == 0);
    }
}

TEST_CASE("a frame of exactly the limit passes and one byte more is refused naming both") {
  auto ignore = [](std::string_view) { return true; };
  frame_reader fits{8};
  CHECK(fits.feed("12345678\0"s, ignore));
  frame_reader whole{8};
  auto refused = whole.feed("123456789\0"s, ignore);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().text.find("9 bytes") != std::string::npos);
  CHECK(refused.error().text.find("8 bytes") != std::string::npos);
  frame_reader pieces{8};
  CHECK(pieces.feed("12345678", ignore));
  CHECK_FALSE(pieces.feed("9", ignore));
}

TEST_CASE("an owner that wants no more gets the rest on resume and loses nothing") {
  frame_reader reader;
  std::vector<std::string> frames;
  auto one = [&](std::string_view frame) {
    frames.emplace_back(frame);
    return false;
  };
  auto fed = reader.feed("a\0b\0c\0par"s, one);
  REQUIRE(fed);
  CHECK_FALSE(*fed);
  CHECK(frames.size() == 1);
  CHECK_FALSE(*reader.resume(one));
  CHECK_FALSE(*reader.resume(one));
  CHECK(*reader.resume(one));
  CHECK(reader.kept_bytes() == 3);
  CHECK(*reader.feed("t\0"s, one));
  CHECK(frames == std::vector<std::string>{"a", "b", "c", "part"});
}

TEST_CASE("resuming from within a frame hands out no frame twice") {
  frame_reader reader;
  std::vector<std::string> frames;
  frame_reader::on_frame eager = [&](std::string_view frame) {
    frames.emplace_back(frame);
    CHECK_FALSE(*reader.resume(eager));
    return frames.size() != 2;
  };
  CHECK_FALSE(*reader.feed("a\0b\0c\0d\0"s, eager));
  CHECK(*reader.resume(eager));
  CHECK(frames == std::vector<std::string>{"a", "b", "c", "d"});
}

TEST_CASE("an owner that reads on while frames wait is stopped at the limit") {
  frame_reader reader{16};
  auto never = [](std::string_view) { return false; };
  auto fed = reader.feed("x\0"s + "0123456789\0"s, never);
  for (int i = 0; i < 8 && fed; ++i)
    fed = reader.feed("0123456789\0"s, [](std::string_view) { return false; });
  // Each feed hands out one frame and keeps one more: this goes on within the bound.
  REQUIRE(fed);
  for (int i = 0; i < 8 && fed; ++i)
    fed = reader.feed("0123456789\0"s
                      "0123456789\0"s,
                      never);
  REQUIRE_FALSE(fed);
  CHECK(fed.error().code == errc::exhausted);
}

TEST_CASE("the scanner accepts exactly what JSON is") {
  for (auto good :
       {"0", "-0", "1.5e+10", "\"\"", "\"\\u00e4\\n\"", "\"\\ud83d\\ude00\"", "\"ä€😀\"", "[]", "{}",
        " [1, {\"a\":[true,null]}] ", "{\"a\":{},\"b\":[[]],\"c\":false}"}) {
    INFO(good);
    CHECK(scans(good));
    CHECK(nlohmann::json::accept(good));
  }
  for (auto bad : {"",
                   "01",
                   "1.",
                   ".5",
                   "1e",
                   "-",
                   "+1",
                   "tru",
                   "nul",
                   "[1,]",
                   "{\"a\"}",
                   "{\"a\":}",
                   "{a:1}",
                   "{,}",
                   "[",
                   "{\"a\":1,}",
                   "\"\\x\"",
                   "\"\\u12g4\"",
                   "\"\\ud800\"",
                   "\"\\udc00\"",
                   "\"\\ud800\\u0041\"",
                   "\"\\u-123\"",
                   "\"\n\"",
                   "\"\xc0\x80\"",
                   "\"\xed\xa0\x80\"",
                   "\"\xf4\x90\x80\x80\"",
                   "\"abc",
                   "[]]",
                   "1 2",
                   "\"\xff\""}) {
    INFO(bad);
    CHECK_FALSE(scans(bad));
    CHECK_FALSE(nlohmann::json::accept(bad));
  }
}

TEST_CASE("nesting is bounded") {
  auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(scans(nested(scan_depth_max)));
  CHECK_FALSE(scans(nested(scan_depth_max + 1)));
  CHECK_FALSE(scans(std::string(1'000'000, '[')));
}

TEST_CASE("a written string reads back, and broken UTF-8 becomes a replacement character") {
  std::string out;
  auto text = "quote \" back \\ line \n tab \t bell \x07 ä 😀"s;
  append_json_string(out, text);
  CHECK(nlohmann::json::parse(out).get<std::string>() == text);
  out.clear();
  append_json_string(out, "a\xff z");
  CHECK(nlohmann::json::parse(out).get<std::string>() == "a\xef\xbf\xbd z");
}

TEST_CASE("a call's parameters stay the text that was sent") {
  auto text =
      R"({ "parameters" : {"a":[1,2], "b":"}"} , "method":"org.troupe.jobs.Submit","more":true})"s;
  auto parsed = parse_call(text);
  REQUIRE(parsed);
  CHECK(parsed->method == "org.troupe.jobs.Submit");
  CHECK(parsed->interface_name() == "org.troupe.jobs");
  CHECK(parsed->member() == "Submit");
  CHECK(parsed->parameters == R"({"a":[1,2], "b":"}"})");
  CHECK(parsed->more);
  CHECK_FALSE(parsed->oneway);
}

TEST_CASE("a call without parameters, or with null, has an empty object") {
  CHECK(parse_call(R"({"method":"a.B"})")->parameters == "{}");
  CHECK(parse_call(R"({"method":"a.B","parameters":null})")->parameters == "{}");
}

TEST_CASE("an envelope that is not exactly a call is refused with a sentence") {
  for (auto bad : {R"({"parameters":{}})", R"({"method":"a.B","method":"a.C"})",
                   R"({"method":"a.B","extra":1})", R"({"method":1})", R"({"method":"noDot"})",
                   R"({"method":"a.B","more":1})", R"({"method":"a.B","parameters":[]})",
                   R"({"method":"a.B"} x)", R"([])", R"({"method":"a.\u0042"})",
                   R"({"method":"a.B)", "{\"method\":\"a.B\" \"more\":true}", ""}) {
    INFO(bad);
    auto parsed = parse_call(bad);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == errc::invalid);
    CHECK_FALSE(parsed.error().text.empty());
  }
}

TEST_CASE("replies read back as they were built") {
  std::string out;
  append_continued_reply(out, R"({"n":1})");
  append_reply(out, R"({"n":2})");
  append_error(out, application_error{errc::refused, "capability_expired",
                                      "the capability has expired; log in again"});
  append_invalid_parameter(out, "jobs");
  frame_reader reader;
  auto frames = frames_of(reader, {out});
  REQUIRE(frames.size() == 4);
  CHECK(parse_reply(frames[0])->continues);
  CHECK(parse_reply(frames[0])->parameters == R"({"n":1})");
  CHECK_FALSE(parse_reply(frames[1])->continues);
  auto refused = to_application_error(*parse_reply(frames[2]));
  CHECK(refused.code == errc::refused);
  CHECK(refused.reason == "capability_expired");
  CHECK(refused.message == "the capability has expired; log in again");
  CHECK(to_application_error(*parse_reply(frames[3])).message ==
        "the cluster does not accept the parameter 'jobs'");
}
