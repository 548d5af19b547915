// SPDX-License-Identifier: Apache-2.0
#include "messages/describe.hpp"
#include "messages/json.hpp"
#include "tests/catch.hpp"
#include "tests/unit/codec_sample.hpp"

#include <nlohmann/json.hpp>

using namespace troupe;
using namespace sample;

namespace {

struct request {
  std::uint64_t job = 0;
  std::string note;
  static constexpr auto fields() {
    return field_list(field<1>("job", &request::job, mandatory), field<2>("note", &request::note));
  }
};

std::string refusal(std::string_view text) {
  const auto result = from_json_text<everything>(text);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == errc::invalid);
  return result.error().text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("Reading JSON that was written gives the same value, in any order") {
  maker make{20261121};
  for (int round = 0; round < 1000; ++round) {
    auto value = make.make();
    value.preset = 1; // an absent optional is left out, which reads as its default
    const auto text = to_json_text(value, visibility::operator_);
    const auto back = from_json_text<everything>(text);
    INFO("round " << round << ": " << (back ? text : back.error().text + "\n" + text));
    REQUIRE(back);
    REQUIRE(*back == value);
    // The members of an object may come in any order.
    const auto sorted = from_json_text<everything>(nlohmann::json::parse(text).dump());
    REQUIRE(sorted);
    REQUIRE(*sorted == value);
  }
}

TEST_CASE("Fields left out at their default read as the default again") {
  const json_style brief{visibility::operator_, json_defaults::left_out};
  maker make{20261122};
  for (int round = 0; round < 1000; ++round) {
    auto value = make.make();
    value.preset = 1;
    const auto text = to_json_text(value, brief);
    const auto back = from_json_text<everything>(text);
    INFO("round " << round << ": " << (back ? text : back.error().text + "\n" + text));
    REQUIRE(back);
    REQUIRE(*back == value);
    REQUIRE(text.size() <= to_json_text(value, visibility::operator_).size());
  }
  CHECK(to_json_text(everything{}, brief) == "{}");
  CHECK(to_json_text(request{}, brief) == R"({"job":0})");
}

TEST_CASE("A viewer sees the fields of its own level and below") {
  everything e;
  e.argv = {"secret"};
  e.one = part{"x", 1, {}};
  const auto shown = [&](visibility viewer) {
    return nlohmann::json::parse(to_json_text(e, viewer));
  };
  CHECK(shown(visibility::public_).count("argv") == 0);
  CHECK(shown(visibility::public_).count("one") == 0);
  CHECK(shown(visibility::owner).count("argv") == 1);
  CHECK(shown(visibility::owner).count("one") == 0);
  CHECK(shown(visibility::operator_).count("one") == 1);
}

TEST_CASE("Control characters are escaped and broken UTF-8 becomes U+FFFD") {
  const auto written = [](std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
  };
  CHECK(written("a\"\\\n\x01\x1b\x7f") == R"("a\"\\\n\u0001\u001b\u007f")");
  CHECK(written("ü漢🎭") == "\"ü漢🎭\"");
  CHECK(written("\xc3") == "\"\xef\xbf\xbd\"");
  CHECK(written("\xff\x41") == "\"\xef\xbf\xbd"
                               "A\"");
  CHECK(written("\xc0\x80") == "\"\xef\xbf\xbd\xef\xbf\xbd\"");
  CHECK(written("\xed\xa0\x80") == "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  std::string noise;
  maker make{3};
  for (int i = 0; i < 4096; ++i)
    noise += static_cast<char>(make.below(256));
  CHECK(nlohmann::json::accept(written(noise)));
}

TEST_CASE("Unknown, repeated and missing keys are refused by name") {
  CHECK(contains(refusal(R"({"colour": 1})"), R"(field "colour" is not known)"));
  CHECK(contains(refusal(R"({"many": [{"nmae": ""}]})"), R"("nmae" is not known in many[0])"));
  CHECK(contains(refusal(R"({"small": 1, "small": 2})"), "field small is given twice"));
  CHECK(contains(refusal(R"({"labels": {"a": "1", "a": "2"}})"), R"(labels["a"] is given twice)"));
  const auto missing = from_json_text<request>(R"({"note": "x"})");
  REQUIRE_FALSE(missing);
  CHECK(contains(missing.error().text, "field job is missing"));
  CHECK(contains(from_json_text<request>(R"({"job": null})").error().text, "must be an integer"));
}

TEST_CASE("A wrong type names the field, what it must be and what came") {
  CHECK(contains(refusal(R"({"small": "x"})"),
                 R"(field small must be an integer, but is the string "x")"));
  CHECK(contains(refusal(R"({"small": 1.5})"), R"(must be an integer, but is the number "1.5")"));
  CHECK(
      contains(refusal(R"({"flag": 1})"), "field flag must be true or false, but is the number 1"));
  CHECK(contains(refusal(R"({"argv": {}})"), "field argv must be a list, but is an object"));
  CHECK(contains(refusal(R"({"argv": ["a", 2]})"), "field argv[1] must be a string"));
  CHECK(contains(refusal(R"({"labels": {"k": 1}})"), R"(labels["k"] must be a string)"));
  CHECK(contains(refusal(R"({"one": []})"), "field one must be an object, but is a list"));
  CHECK(contains(refusal(R"({"paint": "pink"})"),
                 R"(is "pink", but must be one of red, green, blue)"));
  CHECK(contains(refusal(R"({"fixed": "AQID"})"), "has 3 bytes instead of 4"));
  CHECK(contains(refusal(R"({"blob": "A="})"), "base64url without padding"));
  CHECK(contains(refusal("[]"), "must be an object, but is a list"));
  CHECK(contains(refusal("1"), "must be an object, but is the number 1"));
}

TEST_CASE("What is escaped in a text is read as what it means") {
  const auto text_of = [](std::string_view written) {
    const auto value = from_json_text<everything>(written);
    REQUIRE(value);
    return value->text;
  };
  CHECK(text_of(R"({"text": "a\\\"\/\b\f\n\r\tz"})") == "a\\\"/\b\f\n\r\tz");
  CHECK(text_of(R"({"text": "\u0041\u00e4\u20AC\ud83d\ude00."})") == "Aä€😀.");
  CHECK(text_of(R"({"\u0074ext": "x"})") == "x");
  CHECK(contains(refusal(R"({"text": "\ud83d"})"), "broken at byte"));
  CHECK(contains(refusal(R"({"text": "\x"})"), "broken at byte"));
}

TEST_CASE("Only one whole value is a text") {
  for (const auto* broken : {"{",
                             "}",
                             "{}{}",
                             "{},",
                             R"({"argv":[)",
                             R"({"argv":[]]})",
                             R"({"argv":["a",]})",
                             R"({"argv":["a" "b"]})",
                             R"({"argv":[,"a"]})",
                             R"({"argv":["a"})",
                             R"({"small":1,})",
                             R"({,"small":1})",
                             R"({"small" 1})",
                             R"({"small":})",
                             R"({"small":01})",
                             R"({"small":-})",
                             R"({"small":1 "flag":true})",
                             R"({small:1})",
                             R"({"flag":tru})",
                             R"({"flag":True})"}) {
    INFO(broken);
    CHECK(contains(refusal(broken), "broken at byte"));
  }
  CHECK(from_json_text<everything>(" { \t\"argv\" : [ \"a\" , \"b\" ]\r\n, \"small\":-0 } "));
}

TEST_CASE("Integers out of range and broken bounds are refused with the limit") {
  CHECK(contains(refusal(R"({"small": 256})"), "field small is 256, which is outside its range"));
  CHECK(contains(refusal(R"({"small": -1})"), "field small is -1"));
  CHECK(contains(refusal(R"({"small": 201})"), "field small is 201; at most 200 is allowed"));
  CHECK(contains(refusal(R"({"huge": 18446744073709551616})"), "outside its range"));
  CHECK(contains(refusal(R"({"argv": ["","","","","","","","",""]})"), "more than the 8 entries"));
  CHECK(contains(refusal(R"({"argv": ["12345678901234567"]})"),
                 "argv[0] holds 17 bytes; at most 16"));
  CHECK(contains(refusal(R"({"labels": {"k": "12345678901234567"}})"), "at most 16"));
  CHECK(contains(refusal(R"({"labels": {"a":"","b":"","c":"","d":"","e":""}})"), "the 4 that"));
  CHECK(contains(refusal(R"({"text": ")" + std::string(101, 'a') + "\"}"), "at most 100"));
}

TEST_CASE("Broken, deep and oversize texts are refused") {
  CHECK(contains(refusal(""), "broken at byte"));
  CHECK(contains(refusal("{"), "broken at byte"));
  CHECK(contains(refusal("{} x"), "broken at byte"));
  CHECK(contains(refusal("{\"text\": \"\xff\"}"), "broken at byte"));
  std::string deep;
  for (int i = 0; i < 1000; ++i)
    deep += R"({"parts": [)";
  const auto refused = from_json_text<part>(deep);
  REQUIRE_FALSE(refused);
  CHECK(contains(refused.error().text, "deeper than 16 levels"));
  CHECK(contains(from_json_text<part>("{}", json_limits{1, 1}).error().text, "at most 1 are read"));
}

TEST_CASE("null leaves a field at its default and empties an optional") {
  const auto value = from_json_text<everything>(R"({"text": null, "preset": null})");
  REQUIRE(value);
  CHECK(value->text.empty());
  CHECK_FALSE(value->preset.has_value());
  CHECK(from_json_text<everything>("{}")->preset == std::int16_t{5});
}

TEST_CASE("base64url round trips and refuses what is not canonical") {
  std::vector<std::uint8_t> bytes;
  for (int size = 0; size < 70; ++size) {
    std::string text;
    append_base64url(text, bytes);
    std::vector<std::uint8_t> back;
    REQUIRE(read_base64url(text, back));
    REQUIRE(back == bytes);
    bytes.push_back(static_cast<std::uint8_t>(size * 37));
  }
  CHECK_FALSE(read_base64url("A", bytes));
  CHECK_FALSE(read_base64url("AB", bytes));
  CHECK_FALSE(read_base64url("AA==", bytes));
  CHECK_FALSE(read_base64url("A+", bytes));
}

TEST_CASE("Varlink texts follow from field lists") {
  CHECK(describe<request>() == "(job: int, note: ?string)");
  CHECK(describe<request>(direction::reply) == "(job: int, note: string)");
  CHECK(describe<colour>() == "(red, green, blue)");
  CHECK(describe<part>(direction::reply) == "(name: string, weight: int, parts: []Part)");
  CHECK(contains(describe<everything>(direction::reply), "argv: ?[]string"));
  CHECK(contains(describe<everything>(direction::reply),
                 "labels: [string]string, maybe: ?int, one: ?Part"));
}
