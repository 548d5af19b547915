// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/fields.hpp"

#include <array>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

// One struct with a member of every kind, shared by the codec's tests and its fuzz targets.

namespace sample {

using namespace troupe;

enum class colour : std::uint8_t { red = 0, green = 1, blue = 7 };

inline const char* to_string(colour c) {
  switch (c) {
  case colour::red: return "red";
  case colour::green: return "green";
  case colour::blue: return "blue";
  }
  return "unknown";
}

inline bool from_string(std::string_view text, colour& c) {
  for (auto one : {colour::red, colour::green, colour::blue})
    if (text == to_string(one)) {
      c = one;
      return true;
    }
  return false;
}

struct part {
  static constexpr std::string_view type_name = "Part";
  std::string name;
  std::int32_t weight = -1;
  std::vector<part> parts;
  bool operator==(const part&) const = default;
  static constexpr auto fields() {
    return field_list(field<1>("name", &part::name, at_most(64)), field<2>("weight", &part::weight),
                      field<3>("parts", &part::parts));
  }
};

struct everything {
  bool flag = true;
  std::uint8_t small = 0;
  std::int64_t large = 0;
  std::uint64_t huge = 0;
  double real = 0;
  colour paint = colour::green;
  std::string text;
  std::vector<std::uint8_t> blob;
  std::array<std::uint8_t, 4> fixed{};
  std::vector<std::string> argv;
  std::map<std::string, std::string> labels;
  std::optional<std::uint32_t> maybe;
  std::optional<part> one;
  std::vector<part> many;
  std::vector<colour> paints;
  std::uint16_t must = 0;
  std::optional<std::int16_t> preset = std::int16_t{5};
  bool operator==(const everything&) const = default;
  static constexpr auto fields() {
    using e = everything;
    return field_list(
        field<1>("flag", &e::flag), field<2>("small", &e::small, at_most(200)),
        field<3>("large", &e::large), field<4>("huge", &e::huge), field<5>("real", &e::real),
        field<6>("paint", &e::paint), field<7>("text", &e::text, at_most(100)),
        field<8>("blob", &e::blob, at_most(32)), field<9>("fixed", &e::fixed),
        field<10>("argv", &e::argv, visibility::owner, at_most(8), each_at_most(16)),
        field<11>("labels", &e::labels, at_most(4), each_at_most(16)),
        field<12>("maybe", &e::maybe), field<13>("one", &e::one, visibility::operator_),
        field<14>("many", &e::many, at_most(6)), field<15>("paints", &e::paints),
        field<100>("must", &e::must, required), field<127>("preset", &e::preset));
  }
};

/// A random value within all bounds; texts are UTF-8, so that JSON keeps them.
class maker {
public:
  explicit maker(std::uint64_t seed) : random_{seed} {}

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  std::string text(std::size_t limit) {
    static const std::string pieces[] = {"a", "\"", "\\", "\n", "ü", "漢", "🎭", "\x7f", "/", " "};
    std::string out;
    for (auto n = below(8); n > 0; --n)
      if (const auto& piece = pieces[below(10)]; out.size() + piece.size() <= limit)
        out += piece;
    return out;
  }

  part make_part(unsigned depth) {
    part p{text(64), static_cast<std::int32_t>(random_()), {}};
    for (auto n = depth == 0 ? 0 : below(3); n > 0; --n)
      p.parts.push_back(make_part(depth - 1));
    return p;
  }

  everything make() {
    everything e;
    e.flag = below(2) == 0;
    e.small = static_cast<std::uint8_t>(below(201));
    e.large = static_cast<std::int64_t>(random_() >> below(64));
    e.huge = random_() >> below(64);
    e.real = static_cast<double>(static_cast<std::int64_t>(random_())) / 1024;
    e.paint = paint();
    e.text = text(100);
    for (auto n = below(33); n > 0; --n)
      e.blob.push_back(static_cast<std::uint8_t>(random_()));
    for (auto& byte : e.fixed)
      byte = static_cast<std::uint8_t>(random_());
    for (auto n = below(9); n > 0; --n)
      e.argv.push_back(text(16));
    for (auto n = below(5); n > 0; --n)
      e.labels["k" + std::to_string(n)] = text(16);
    if (below(2) == 0)
      e.maybe = static_cast<std::uint32_t>(random_());
    if (below(2) == 0)
      e.one = make_part(2);
    for (auto n = below(7); n > 0; --n)
      e.many.push_back(make_part(2));
    for (auto n = below(9); n > 0; --n)
      e.paints.push_back(paint());
    e.must = static_cast<std::uint16_t>(random_());
    if (below(2) == 0)
      e.preset = std::nullopt;
    return e;
  }

private:
  colour paint() {
    static constexpr colour all[] = {colour::red, colour::green, colour::blue};
    return all[below(3)];
  }

  std::mt19937_64 random_;
};

} // namespace sample
