// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/auth_world.hpp"

using namespace troupe;
using namespace troupe::auth;
using namespace troupe::auth::test;

namespace {

/// An array of 1000 elements with its warrant, and an order within it.
struct warranted_job {
  explicit warranted_job(std::uint64_t job = 5) {
    allowed.cluster = w.cluster;
    allowed.job = job;
    allowed.uid = 1000;
    allowed.gid = 1000;
    allowed.groups = {1000, 2000};
    allowed.exec_digest = keyed_digest("test", as_bytes("exec"));
    allowed.most = {2, 8, 1 << 30, 3600};
    allowed.elements = {1000, 0, 999};
    allowed.incarnations_max = 3;
    allowed.not_before = w.clock.utc();
    allowed.not_after = w.clock.utc() + 86'400 * ns_per_s;
    warrant_body = encode(allowed);
    warrant_seal = *seal_one(domain::warrant, 1, w.signing_secret.secret().view(), warrant_body);
    cap = *w.checks->from_warrant(warrant_body, warrant_seal);

    order.cluster_id = w.cluster;
    order.node_id = 1;
    order.instance = random_bytes<16>();
    order.job = job;
    order.incarnation = 1;
    order.element_first = 0;
    order.element_count = 10;
    order.issued_ns = w.clock.boot();
    order.expires_ns = w.clock.boot() + 60 * ns_per_s;
    order.uid = 1000;
    order.gid = 1000;
    order.groups = allowed.groups;
    order.ranks_here = 2;
    order.ranks_total = 4;
    order.node_count = 2;
    order.cores_per_rank = 2;
    order.memory_bytes = 1 << 30;
    order.time_limit_s = 3600;
    order.spec_digest = allowed.exec_digest;
    order.user = "someone";
  }

  checked<std::vector<byte_vector>> sign(const std::vector<launch_order>& orders) {
    std::vector<byte_vector> bodies;
    std::vector<order_application> batch;
    for (const auto& each : orders) {
      auto encoded = encode_order(each);
      if (!encoded)
        FAIL(encoded.error().text);
      bodies.push_back(*encoded);
    }
    for (const auto& body : bodies)
      batch.push_back({body, warrant_body, warrant_seal});
    return who.sign_orders(cap, batch);
  }

  template <class F>
  checked<std::vector<byte_vector>> sign_with(F change) {
    auto changed = order;
    change(changed);
    return sign({changed});
  }

  launch_order chunk(std::uint32_t first, std::uint32_t count) const {
    auto made = order;
    made.element_first = first;
    made.element_count = count;
    return made;
  }

  world w;
  authority who = w.make_authority();
  warrant allowed;
  byte_vector warrant_body;
  byte_vector warrant_seal;
  verified_capability cap;
  launch_order order;
};

} // namespace

TEST_CASE("orders within their warrant are signed in one batch, and each seal verifies") {
  warranted_job j;
  std::vector<launch_order> orders;
  for (std::uint32_t i = 0; i < 20; ++i)
    orders.push_back(j.chunk(i * 10, 10));
  auto seals = j.sign(orders);
  if (!seals)
    FAIL(seals.error().text);
  REQUIRE(seals->size() == 20);
  seal_cache cache;
  for (std::size_t i = 0; i < orders.size(); ++i)
    CHECK(verify_seal_bytes(domain::order, (*seals)[i], *encode_order(orders[i]),
                            j.w.signing_secret.public_part(), cache));
}

TEST_CASE("an order outside its warrant is refused, in each respect") {
  warranted_job j;
  using order = launch_order;
  CHECK(why(j.sign_with([](order& o) { o.uid = 1001; })) == reason::uid_mismatch);
  CHECK(why(j.sign_with([](order& o) { o.gid = 0; })) == reason::uid_mismatch);
  CHECK(why(j.sign_with([](order& o) { o.groups = {1000}; })) == reason::uid_mismatch);
  CHECK(why(j.sign_with([](order& o) { o.groups = {0, 1000}; })) == reason::uid_mismatch);
  CHECK(why(j.sign_with([](order& o) { o.spec_digest[0] ^= 1; })) == reason::digest_mismatch);
  CHECK(why(j.sign_with([](order& o) { o.cluster_id[0] ^= 1; })) == reason::wrong_cluster);
  auto above = reason::above_ceiling;
  CHECK(why(j.sign_with([](order& o) { o.element_first = 991; })) == above);
  CHECK(why(j.sign_with([](order& o) {
          o.element_first = no_element;
          o.element_count = 1;
        })) == above);
  CHECK(why(j.sign_with([](order& o) { o.incarnation = 4; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.incarnation = 0; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.node_count = 3; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.cores_per_rank = 3; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.ranks_total = 5; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.memory_bytes += 1; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.memory_bytes = 0; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.time_limit_s += 1; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.time_limit_s = 0; })) == above);
  CHECK(why(j.sign_with([](order& o) { o.job = 6; })) == reason::outside_resource);
  CHECK(why(j.sign_with([](order& o) {
          o.issued_ns -= 120 * ns_per_s;
          o.expires_ns -= 120 * ns_per_s;
        })) == reason::expired);
  CHECK(why(j.sign_with([](order& o) {
          o.issued_ns += 20 * ns_per_s;
          o.expires_ns += 20 * ns_per_s;
        })) == reason::not_yet_valid);
  CHECK(j.sign_with([](order&) {}));
}

TEST_CASE("a capability of another job, or without the verb, signs no orders") {
  warranted_job j;
  warranted_job other{6};
  j.cap = other.cap;
  CHECK(why(j.sign({j.order})) == reason::outside_resource);
  j.cap = j.w.admit(j.w.user_capability());
  CHECK(why(j.sign({j.order})) == reason::missing_verb);
  j.cap = {};
  CHECK(why(j.sign({j.order})) == reason::holder_unproven);
}

TEST_CASE("orders against a forged, altered or expired warrant are refused") {
  warranted_job j;
  SECTION("raised ceiling") {
    j.allowed.most.cores = 100;
    j.warrant_body = encode(j.allowed);
    CHECK(why(j.sign({j.order})) == reason::bad_signature);
  }
  SECTION("signed by somebody else") {
    j.warrant_seal = *seal_one(domain::warrant, 1, j.w.holder.secret().view(), j.warrant_body);
    CHECK(why(j.sign({j.order})) == reason::bad_signature);
  }
  SECTION("of another purpose") {
    j.warrant_seal =
        *seal_one(domain::order, 1, j.w.signing_secret.secret().view(), j.warrant_body);
    CHECK(why(j.sign({j.order})) == reason::bad_signature);
  }
  SECTION("under an unknown key") {
    j.warrant_seal =
        *seal_one(domain::warrant, 2, j.w.signing_secret.secret().view(), j.warrant_body);
    CHECK(why(j.sign({j.order})) == reason::unknown_key);
  }
  SECTION("expired") {
    j.w.clock.advance(2 * 86'400 * ns_per_s);
    j.order.issued_ns = j.w.clock.boot();
    j.order.expires_ns = j.w.clock.boot() + ns_per_s;
    CHECK(why(j.sign({j.order})) == reason::expired);
  }
}

TEST_CASE("an order is signed whatever became of the wall clock") {
  warranted_job j;
  SECTION("set back behind the job's beginning") {
    j.w.clock.set_wall_by(-3600 * ns_per_s);
  }
  SECTION("years ahead, for a moment") {
    j.w.clock.set_wall_by(1000 * 86'400 * ns_per_s);
  }
  CHECK(j.sign({j.order}));
}

TEST_CASE("a revoked uid or job gets no order signed") {
  warranted_job j;
  SECTION("uid") {
    REQUIRE(j.w.revocations->revoke_uid(1000));
  }
  SECTION("job") {
    REQUIRE(j.w.revocations->revoke_job(5));
  }
  CHECK(why(j.sign({j.order})) == reason::revoked);
}

TEST_CASE("the same order may be signed again, a different one for the same elements may not") {
  warranted_job j;
  REQUIRE(j.sign({j.order}));
  j.w.clock.advance(10 * ns_per_s);
  CHECK(j.sign_with([&](launch_order& o) {
    o.issued_ns = j.w.clock.boot();
    o.expires_ns = j.w.clock.boot() + 30 * ns_per_s;
  }));
  using order = launch_order;
  auto duplicate = reason::duplicate_order;
  CHECK(why(j.sign_with([](order& o) { o.instance[0] ^= 1; })) == duplicate);
  CHECK(why(j.sign_with([](order& o) { o.rank_first = 1; })) == duplicate);
  CHECK(why(j.sign_with([](order& o) { o.element_first = 9; })) == duplicate);
  CHECK(why(j.sign_with([](order& o) { o.element_count = 9; })) == duplicate);
  CHECK(why(j.sign_with([](order& o) { o.element_count = 11; })) == duplicate);
  CHECK(j.sign_with([](order& o) { o.element_first = 10; }));
  CHECK(j.sign_with([](order& o) { o.incarnation = 2; }));
  CHECK(why(j.sign_with([](order& o) { o.step = 1; })) == reason::outside_resource);
  CHECK(j.sign_with([](order& o) { o.node_id = 2; }));
}

TEST_CASE("a batch with one bad order signs none, and leaves nothing behind") {
  warranted_job j;
  auto bad = j.chunk(20, 10);
  bad.uid = 0;
  CHECK_FALSE(j.sign({j.chunk(0, 10), j.chunk(10, 10), bad}));
  CHECK(j.who.order_intervals() == 0);
  CHECK(why(j.sign({j.chunk(0, 10), j.chunk(5, 10)})) == reason::duplicate_order);
  CHECK(j.who.order_intervals() == 0);
  CHECK(j.sign({j.chunk(0, 20)}));
  CHECK(j.who.order_intervals() == 1);
}

TEST_CASE("withdrawn elements may be ordered again, those that ran may not") {
  warranted_job j;
  REQUIRE(j.sign({j.chunk(0, 10)}));
  j.who.release_elements(5, 1, 0, 1, 4, 9);
  CHECK(why(j.sign({j.chunk(3, 2)})) == reason::duplicate_order);
  CHECK(j.sign({j.chunk(4, 6)}));
  CHECK(why(j.sign({j.chunk(0, 4)})) == reason::duplicate_order);
}

TEST_CASE("a thousand orders of one element stay few intervals, and all stay refused") {
  warranted_job j;
  for (std::uint32_t i = 0; i < 1000; ++i)
    REQUIRE(j.sign({j.chunk(i, 1)}));
  CHECK(j.who.order_intervals() <= order_book::intervals_apart_max);
  for (std::uint32_t i = 0; i < 1000; i += 37) {
    auto other = j.chunk(i, 1);
    other.window = 2;
    REQUIRE(why(j.sign({other})) == reason::duplicate_order);
  }
}

TEST_CASE("an ended job is forgotten, and nothing more is signed for it") {
  warranted_job j;
  REQUIRE(j.sign({j.order}));
  const auto remembered = j.who.checks().warrants_remembered();
  CHECK(remembered > 0);
  j.who.forget_job(5);
  CHECK(j.who.order_intervals() == 0);
  CHECK(j.who.checks().warrants_remembered() == remembered - 1);
  CHECK(why(j.sign({j.order})) == reason::duplicate_order);
  for (std::uint64_t job : {9, 7, 8, 10, 3, 4})
    j.who.seed_ended(job);
  CHECK(why(j.sign({j.order})) == reason::duplicate_order);
}
