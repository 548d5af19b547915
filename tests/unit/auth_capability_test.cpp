// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/auth_world.hpp"

using namespace troupe;
using namespace troupe::auth;
using namespace troupe::auth::test;

namespace {

namespace at = capability_layout;

/// Capabilities with every field at random, within what the format allows.
class capability_maker {
public:
  explicit capability_maker(std::uint64_t seed) : random_{seed} {}

  std::uint64_t below(std::uint64_t n) { return random_() % n; }

  capability make() {
    capability x;
    x.cluster = clusters_[below(4) == 0];
    x.serial[0] = static_cast<std::uint8_t>(below(256));
    x.who = {subject_kind::user, static_cast<std::uint8_t>(1 + below(3)),
             static_cast<std::uint32_t>(1000 + (below(6) == 0)), 1000};
    x.holder = holders_[below(2)].public_part();
    x.meant_for = *audience::parse(below(6) == 0 ? "node:1" : "controller");
    x.verbs = verb_set{random_() & all_verbs.bits()};
    x.on = make_resource();
    x.bound.job = below(3);
    x.bound.incarnation = x.bound.job == 0 ? 0 : static_cast<std::uint32_t>(below(3));
    x.not_before = static_cast<utc_ns>(below(20));
    x.expires = x.not_before + 1 + static_cast<utc_ns>(below(20));
    x.depth_left = static_cast<std::uint8_t>(below(2));
    return x;
  }

private:
  resource make_resource() {
    auto kind = static_cast<resource_kind>(below(3));
    if (kind == resource_kind::any)
      return {};
    auto lo = below(10);
    return {kind, lo, lo + below(10)};
  }

  std::mt19937_64 random_;
  cluster_id clusters_[2] = {{1}, {2}};
  key_pair holders_[2] = {key_pair::generate(), key_pair::generate()};
};

/// Whether what `x` allows is within what `y` allows, dimension by dimension, told independently of
/// the code under test.
bool within(const capability& x, const capability& y) {
  for (const auto& each : list_verbs())
    if (x.verbs.has(each.which) && !y.verbs.has(each.which))
      return false;
  for (auto kind : {resource_kind::jobs, resource_kind::nodes})
    for (std::uint64_t id = 0; id < 24; ++id)
      if (x.on.contains(kind, id) && !y.on.contains(kind, id))
        return false;
  for (std::uint64_t job = 1; job < 5; ++job)
    if ((x.bound.job == 0 || x.bound.job == job) && y.bound.job != 0 && y.bound.job != job)
      return false;
  for (std::uint32_t n = 1; n < 5; ++n)
    if ((x.bound.incarnation == 0 || x.bound.incarnation == n) && y.bound.incarnation != 0 &&
        y.bound.incarnation != n)
      return false;
  for (utc_ns t = 0; t < 45; ++t)
    if (x.not_before <= t && t < x.expires && !(y.not_before <= t && t < y.expires))
      return false;
  return x.cluster == y.cluster && x.who == y.who && x.meant_for == y.meant_for;
}

} // namespace

TEST_CASE("decoding gives back what was encoded, and encoding what was decoded") {
  capability_maker maker{random_seed()};
  INFO("seed " << random_seed());
  for (int i = 0; i < 300; ++i) {
    auto x = maker.make();
    auto bytes = encode_body(x);
    auto back = decode_body(bytes);
    REQUIRE(back);
    REQUIRE(*back == x);
    REQUIRE(encode_body(*back) == bytes);
  }
}

TEST_CASE("whatever bytes a capability decodes from, it encodes to the same") {
  capability_maker maker{random_seed()};
  INFO("seed " << random_seed());
  int taken = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto bytes = encode_body(maker.make());
    // The holder's key is left alone: a random one is hardly ever a point.
    auto where = maker.below(2) == 0 ? maker.below(at::holder)
                                     : at::audience + maker.below(at::body_size - at::audience);
    bytes[where] = static_cast<std::uint8_t>(maker.below(256));
    auto back = decode_body(bytes);
    if (!back)
      continue;
    ++taken;
    REQUIRE(encode_body(*back) == bytes);
  }
  CHECK(taken > 100);
}

TEST_CASE("any other length and every reserved bit is refused") {
  capability_maker maker{1};
  auto good = encode_body(maker.make());
  CHECK(decode_body(good));
  byte_vector longer(good.begin(), good.end());
  longer.push_back(0);
  CHECK(why(decode_body(longer)) == reason::malformed);
  for (std::size_t n = 0; n < good.size(); ++n)
    REQUIRE(why(decode_body(byte_view{good}.first(n))) == reason::malformed);
  for (std::size_t i = 0; i < 3; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[at::reserved + i] = static_cast<std::uint8_t>(1 << bit);
      REQUIRE(why(decode_body(bad)) == reason::malformed);
    }
  for (int bit = 0; bit < 64; ++bit) {
    if ((all_verbs.bits() >> bit & 1) != 0)
      continue;
    auto bad = good;
    bad[at::verbs + static_cast<std::size_t>(bit / 8)] |= static_cast<std::uint8_t>(1 << bit % 8);
    REQUIRE(why(decode_body(bad)) == reason::malformed);
  }
  auto version = good;
  version[at::version] = 2;
  CHECK(why(decode_body(version)) == reason::malformed);
  auto holder = good;
  std::fill_n(holder.begin() + at::holder, 32, std::uint8_t{0});
  CHECK(why(decode_body(holder)) == reason::bad_key);
}

TEST_CASE("an intersection is never wider than either side, in any dimension") {
  capability_maker maker{random_seed()};
  INFO("seed " << random_seed());
  int met = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto parent = maker.make();
    auto child = maker.make();
    auto both = intersect(parent, child);
    if (!both)
      continue;
    ++met;
    REQUIRE(within(*both, parent));
    REQUIRE(within(*both, child));
    REQUIRE(both->depth_left < parent.depth_left);
  }
  CHECK(met > 50);
}

TEST_CASE("a child is told to be wider exactly when it is") {
  capability_maker maker{random_seed()};
  INFO("seed " << random_seed());
  int narrower = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto parent = maker.make();
    auto child = maker.make();
    if (maker.below(2) == 0) { // most random pairs differ everywhere: make some that might fit
      auto both = intersect(parent, child);
      if (both)
        child = *both;
    }
    if (!wider_dimension(parent, child).empty())
      continue;
    ++narrower;
    REQUIRE(within(child, parent));
    REQUIRE(child.depth_left < parent.depth_left);
  }
  CHECK(narrower > 20);
}

TEST_CASE("an audience is a short lower-case name in one encoding") {
  CHECK(audience::parse("controller")->name() == "controller");
  CHECK(audience::parse("node:7")->name() == "node:7");
  CHECK_FALSE(audience::parse(""));
  CHECK_FALSE(audience::parse("Controller"));
  CHECK_FALSE(audience::parse("seventeen-letters"));
  std::uint8_t gap[16] = {'a', 0, 'b'};
  CHECK_FALSE(audience::decode(gap));
}

TEST_CASE("every verb has a name of its own, and each role's table stays within its kind") {
  for (const auto& each : list_verbs())
    CHECK(parse_verb(each.name) == each.which);
  auto people = verbs_of(account_role::admin);
  CHECK(people.covers(verbs_of(account_role::operator_)));
  CHECK(verbs_of(account_role::operator_).covers(verbs_of(account_role::user)));
  verb_set internal{verb::session_open, verb::ledger_write, verb::ledger_read, verb::plan_decide,
                    verb::job_start,    verb::order_sign,   verb::node_launch, verb::node_report,
                    verb::observe,      verb::supervise};
  CHECK((people & internal).empty());
  CHECK_FALSE(verbs_of(account_role::user).has(verb::job_cancel_any));
  for (std::uint8_t role = 1; role <= actor_role_last; ++role) {
    CHECK_FALSE(verbs_of(static_cast<actor_role>(role)).empty());
    CHECK_FALSE(verbs_of(static_cast<actor_role>(role)).has(verb::job_submit));
  }
}
