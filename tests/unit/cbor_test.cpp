// SPDX-License-Identifier: Apache-2.0
#include "messages/cbor.hpp"
#include "tests/catch.hpp"
#include "tests/unit/codec_sample.hpp"

#include <fstream>

using namespace troupe;
using namespace sample;

namespace {

using byte_vector = std::vector<std::uint8_t>;

/// A later version of `part`: one more field that may be skipped, one that may not.
struct newer_part {
  std::string name;
  std::vector<std::vector<std::string>> extra;
  std::uint32_t crucial = 0;
  static constexpr auto fields() {
    return field_list(field<1>("name", &newer_part::name), field<9>("extra", &newer_part::extra),
                      field<10>("crucial", &newer_part::crucial, required));
  }
};

struct deep {
  std::vector<deep> next;
  static constexpr auto fields() { return field_list(field<1>("next", &deep::next)); }
};

everything golden_value() {
  everything e;
  e.flag = false;
  e.small = 200;
  e.large = -1'000'000'007;
  e.huge = 18'446'744'073'709'551'615u;
  e.real = 0.5;
  e.paint = colour::blue;
  e.text = "troupe ü";
  e.blob = {0, 1, 255};
  e.fixed = {1, 2, 3, 4};
  e.argv = {"/bin/true", ""};
  e.labels = {{"a", "1"}, {"b", ""}};
  e.maybe = 0;
  e.one = part{"inner", 3, {part{"leaf", -1, {}}}};
  e.many = {part{}, part{"x", 0, {}}};
  e.paints = {colour::red, colour::blue};
  e.must = 300;
  e.preset = std::nullopt;
  return e;
}

std::string hex(const byte_vector& bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (auto byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

std::string refusal(const byte_vector& bytes) {
  const auto result = from_cbor<everything>(bytes);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == errc::invalid);
  return result.error().text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("A value with every kind of member keeps the encoding of the golden file") {
  std::ifstream file{TROUPE_GOLDEN_DIR "/everything.cbor.hex"};
  std::string golden;
  REQUIRE(std::getline(file, golden));
  CHECK(hex(to_cbor(golden_value())) == golden);
  const auto back = from_cbor<everything>(to_cbor(golden_value()));
  REQUIRE(back);
  CHECK(*back == golden_value());
}

TEST_CASE("A default value is encoded as an empty map") {
  CHECK(to_cbor(everything{}) == byte_vector{0xa0});
  CHECK(*from_cbor<everything>(byte_vector{0xa0}) == everything{});
}

TEST_CASE("Decoding what was encoded gives the same value, and encoding is deterministic") {
  maker make{20261121};
  for (int round = 0; round < 2000; ++round) {
    const auto value = make.make();
    const auto bytes = to_cbor(value);
    const auto back = from_cbor<everything>(bytes);
    INFO("round " << round << ": " << (back ? "" : back.error().text));
    REQUIRE(back);
    REQUIRE(*back == value);
    REQUIRE(to_cbor(*back) == bytes);
  }
}

TEST_CASE("Every truncation of a message is refused") {
  const auto bytes = to_cbor(golden_value());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    REQUIRE_FALSE(from_cbor<everything>(byte_view{bytes.data(), size}));
}

TEST_CASE("Changed bytes are refused or decode to a value that encodes again") {
  maker make{7};
  const auto bytes = to_cbor(golden_value());
  for (int round = 0; round < 20000; ++round) {
    auto changed = bytes;
    for (auto n = 1 + make.below(3); n > 0; --n)
      changed[make.below(changed.size())] = static_cast<std::uint8_t>(make.below(256));
    if (const auto value = from_cbor<everything>(changed)) {
      const auto again = from_cbor<everything>(to_cbor(*value));
      REQUIRE(again);
      REQUIRE(to_cbor(*again) == to_cbor(*value));
    }
  }
}

TEST_CASE("A reader skips unknown fields and refuses unknown critical ones") {
  newer_part newer{"n", {{"a", "b"}, {}}, 0};
  const auto skipped = from_cbor<part>(to_cbor(newer));
  REQUIRE(skipped);
  CHECK(skipped->name == "n");
  newer.crucial = 1;
  const auto refused = from_cbor<part>(to_cbor(newer));
  REQUIRE_FALSE(refused);
  CHECK(contains(refused.error().text, "field number 10, which must be understood"));
}

TEST_CASE("Repeated fields, trailing bytes and indefinite lengths are refused") {
  CHECK(contains(refusal({0xa2, 0x02, 0x01, 0x02, 0x01}), "twice"));
  CHECK(contains(refusal({0xa2, 0x18, 0x64, 0x01, 0x38, 0x63, 0x01}), "number 100 twice"));
  CHECK(contains(refusal({0xa2, 0x18, 0x70, 0x01, 0x18, 0x70, 0x01}), "number 112 twice"));
  CHECK(contains(refusal({0xa0, 0x00}), "bytes after its end"));
  CHECK(contains(refusal({0xbf, 0xff}), "indefinite"));
  CHECK(contains(refusal({0xa1, 0x07, 0x7f, 0x61, 0x61, 0xff}), "indefinite"));
  CHECK(contains(refusal({0xa1, 0x07, 0xc1, 0x61, 0x61}), "a tag"));
  CHECK(contains(refusal({0xa1, 0x18, 0x70, 0xc1, 0x61, 0x61}), "a tag"));
  CHECK(contains(refusal({0xa1, 0x0b, 0xa2, 0x61, 0x61, 0x60, 0x61, 0x61, 0x60}), "twice"));
}

TEST_CASE("Field numbers outside 1 to 127 are refused") {
  CHECK(contains(refusal({0xa1, 0x00, 0x01}), "outside 1 to 127"));
  CHECK(contains(refusal({0xa1, 0x18, 0x80, 0x01}), "outside 1 to 127"));
  CHECK(contains(refusal({0xa1, 0x38, 0x7f, 0x01}), "outside 1 to 127"));
  CHECK(contains(refusal({0xa1, 0x61, 0x61, 0x01}), "must be a field number, but is a text"));
}

TEST_CASE("Wrong types, ranges and bounds name the field") {
  CHECK(
      contains(refusal({0xa1, 0x02, 0x61, 0x61}), "field small must be an integer, but is a text"));
  CHECK(contains(refusal({0xa1, 0x02, 0x19, 0x01, 0x00}), "field small is 256"));
  CHECK(contains(refusal({0xa1, 0x02, 0x18, 0xc9}), "field small is 201; at most 200"));
  CHECK(contains(refusal({0xa1, 0x02, 0x20}), "field small is -1"));
  CHECK(contains(refusal({0xa1, 0x03, 0x3b, 255, 255, 255, 255, 255, 255, 255, 255}),
                 "field large is -18446744073709551616"));
  CHECK(contains(refusal({0xa1, 0x06, 0x02}), "field paint is 2, which names no known value"));
  CHECK(contains(refusal({0xa1, 0x09, 0x43, 1, 2, 3}), "field fixed has 3 bytes instead of 4"));
  CHECK(contains(refusal({0xa1, 0x0e, 0x81, 0xa1, 0x03, 0x81, 0xa1, 0x01, 0x01}),
                 "field many[0].parts[0].name must be a text"));
  CHECK(contains(refusal({0xa1, 0x0a, 0x89, 0x60, 0x60, 0x60, 0x60, 0x60, 0x60, 0x60, 0x60, 0x60}),
                 "field argv holds 9 entries; at most 8"));
  byte_vector long_text{0xa1, 0x07, 0x78, 0x65};
  long_text.resize(long_text.size() + 0x65, 'a');
  CHECK(contains(refusal(long_text), "field text holds 101 bytes; at most 100"));
  byte_vector long_entry{0xa1, 0x0a, 0x81, 0x71};
  long_entry.resize(long_entry.size() + 0x11, 'a');
  CHECK(contains(refusal(long_entry), "field argv[0] holds 17 bytes; at most 16"));
}

TEST_CASE("A length beyond the input is refused before anything is allocated") {
  CHECK(contains(refusal({0xa1, 0x0f, 0x9b, 0, 0, 0, 255, 255, 255, 255, 255}), "bytes are left"));
  CHECK(contains(refusal({0xa1, 0x07, 0x7b, 0, 0, 0, 255, 255, 255, 255, 255}), "ends too early"));
  CHECK(contains(refusal({0xbb, 255, 255, 255, 255, 255, 255, 255, 255}), "bytes are left"));
}

TEST_CASE("Lists within lists cannot make a small message large in memory") {
  byte_vector bytes{0xa1, 0x01, 0x9a, 0, 4, 0, 0};
  bytes.resize(bytes.size() + 0x40000, 0xa0);
  CHECK(from_cbor<deep>(bytes));
  const auto refused = from_cbor<deep>(bytes, cbor_limits{1 << 20, 1 << 20});
  REQUIRE_FALSE(refused);
  CHECK(contains(refused.error().text, "larger than 1048576 bytes of memory"));
  CHECK_FALSE(from_cbor<deep>(bytes, cbor_limits{1000, 1 << 20}));
}

TEST_CASE("Nesting is bounded, in known and in skipped fields") {
  byte_vector known;
  for (int i = 0; i < 40; ++i)
    known.insert(known.end(), {0xa1, 0x01, 0x81});
  known.push_back(0xa0);
  const auto refused = from_cbor<deep>(known);
  REQUIRE_FALSE(refused);
  CHECK(contains(refused.error().text, "deeper than 16 levels"));
  byte_vector skipped{0xa1, 0x18, 0x70};
  skipped.resize(100'000, 0x81);
  CHECK(contains(refusal(skipped), "deeper than 16 levels"));
}
