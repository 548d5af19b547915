// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/auth_world.hpp"

#include <unistd.h>

using namespace troupe;
using namespace troupe::auth;
using namespace troupe::auth::test;

namespace {

/// A user who has logged in, with what they submit.
struct submitter {
  explicit submitter(world& the_world, std::uint32_t uid = 1000)
      : w{the_world}, cap{w.admit(w.user_capability(uid))} {
    request.cluster = w.cluster;
    request.uid = uid;
    request.spec_digest = keyed_digest("test", as_bytes("a job"));
    request.not_before = w.clock.utc();
    request.not_after = w.clock.utc() + 60 * ns_per_s;
    as = {uid, uid, {uid, 5000}, "someone", "/home/someone", "/bin/sh"};
  }

  checked<issued_warrant> submit(authority& who) {
    request.id = random_bytes<16>();
    return submit_again(who);
  }

  checked<issued_warrant> submit_again(authority& who) {
    auto body = encode(request);
    return submit_bytes(who, {body.begin(), body.end()});
  }

  checked<issued_warrant> submit_bytes(authority& who, const byte_vector& body,
                                       std::string_view purpose = domain::request) {
    auto seal = seal_one(purpose, 0, w.holder.secret().view(), body);
    return apply(who, body, *seal);
  }

  checked<issued_warrant> apply(authority& who, byte_view body, byte_view seal) {
    warrant_application application{body, seal, submitted_digest, {}, submitted_elements, {}};
    application.exec_digest = keyed_digest("test", as_bytes("exec"));
    return who.issue_warrants(cap, as, {&application, 1}).front();
  }

  world& w;
  verified_capability cap;
  account as;
  job_request request;
  digest submitted_digest = keyed_digest("test", as_bytes("a job"));
  element_summary submitted_elements;
};

} // namespace

TEST_CASE("a login grants the role that the uid may have, and no higher one") {
  world w;
  auto authority = w.make_authority();
  auto login = [&](std::uint32_t uid, std::optional<account_role> wanted) {
    return authority.login(uid, uid, w.holder.public_part(), wanted);
  };
  CHECK(login(1, {})->role == account_role::admin);
  CHECK(login(1, account_role::user)->role == account_role::user);
  CHECK(login(2, {})->role == account_role::operator_);
  CHECK(login(1000, {})->role == account_role::user);
  CHECK(why(login(1000, account_role::admin)) == reason::role_not_granted);
  CHECK(why(login(2, account_role::admin)) == reason::role_not_granted);

  auto grant = login(1000, {});
  auto cap = w.checks->admit_held(grant->capability, w.holder, w.clock.read());
  REQUIRE(cap);
  CHECK(cap->verbs() == verbs_of(account_role::user));
  CHECK(cap->expires() == w.clock.utc() + 3600 * ns_per_s);

  REQUIRE(w.revocations->revoke_uid(1000));
  CHECK(why(login(1000, {})) == reason::revoked);
  CHECK(why(authority.login(1001, 1001, public_key{}, {})) == reason::bad_key);
}

TEST_CASE("a private cluster lets nobody else in") {
  world w;
  authority_options options;
  options.accounts.admins = {1000};
  auto copied_key = [&] {
    secret_bytes<32> seed;
    ::crypto_sign_ed25519_sk_to_seed(seed.data(), w.signing_secret.secret().data());
    return key_pair::from_seed(seed.view());
  };
  auto authority = authority::make(options, copied_key(), w.checks, w.clock);
  REQUIRE(authority);
  CHECK(authority->login(1000, 1000, w.holder.public_part(), {}));
  CHECK(why(authority->login(1001, 1001, w.holder.public_part(), {})) == reason::role_not_granted);
  CHECK_FALSE(authority::make(options, key_pair::generate(), w.checks, w.clock));
}

TEST_CASE("a warrant says what was asked, for whom, and verifies") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto issued = s.submit(authority);
  if (!issued)
    FAIL(issued.error().text);
  CHECK(issued->job == 1);
  auto verified = w.checks->verify_warrant(issued->body, issued->seal, w.clock.utc());
  REQUIRE(verified);
  const auto& it = **verified;
  CHECK(encode(it) == issued->body);
  CHECK(it.uid == 1000);
  CHECK(it.groups == s.as.groups);
  CHECK(it.spec_digest == s.request.spec_digest);
  CHECK(it.origin_serial == s.cap.serial());
  CHECK(s.submit(authority)->job == 2);
}

TEST_CASE("one signature covers a whole batch, and refusals stand beside grants") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  std::vector<byte_vector> bodies;
  for (int i = 0; i < 9; ++i) {
    s.request.id = random_bytes<16>();
    s.request.uid = i == 4 ? 1001 : 1000;
    auto body = encode(s.request);
    bodies.emplace_back(body.begin(), body.end());
  }
  std::vector<byte_view> views(bodies.begin(), bodies.end());
  auto seals = *seal_batch(domain::request, 0, w.holder.secret().view(), views);
  std::vector<warrant_application> batch;
  for (std::size_t i = 0; i < bodies.size(); ++i)
    batch.push_back({bodies[i], seals[i], s.submitted_digest, {}, {}, {}});
  auto answers = authority.issue_warrants(s.cap, s.as, batch);
  REQUIRE(answers.size() == 9);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (i == 4) {
      CHECK(why(answers[i]) == reason::uid_mismatch);
      continue;
    }
    REQUIRE(answers[i]);
    CHECK(w.checks->verify_warrant(answers[i]->body, answers[i]->seal, w.clock.utc()));
  }
}

TEST_CASE("a replayed request is refused") {
  world w;
  submitter s{w};
  auto authority = w.make_authority();
  authority.seed_next_job(41);
  REQUIRE(s.submit(authority)->job == 41);
  CHECK(why(s.submit_again(authority)) == reason::replayed);
}

TEST_CASE("a full table of job requests takes new ones and forgets those that expire first") {
  world w;
  authority_options options;
  options.burned_max = 10;
  auto authority = w.make_authority(options);
  submitter s{w};
  for (int i = 0; i < 10; ++i)
    REQUIRE(s.submit(authority));
  const auto late = w.clock.utc() + 600 * ns_per_s;
  s.request.not_after = late;
  REQUIRE(s.submit(authority));
  CHECK(why(s.submit_again(authority)) == reason::replayed);
  CHECK(authority.burned() <= 10);
  s.request.not_after = w.clock.utc() + 60 * ns_per_s;
  for (int i = 0; i < 25; ++i)
    REQUIRE(s.submit(authority));
  CHECK(authority.burned() <= 10);
}

TEST_CASE("request ids are forgotten when the request has expired anyway") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  for (int i = 0; i < 10; ++i)
    REQUIRE(s.submit(authority));
  CHECK(authority.burned() == 10);
  w.clock.advance(130 * ns_per_s);
  CHECK(why(s.submit_again(authority)) == reason::expired);
  s.request.not_after = w.clock.utc() + 60 * ns_per_s;
  CHECK(s.submit(authority));
  CHECK(authority.burned() == 1);
}

TEST_CASE("a request outside its time, for another cluster or user, is refused") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto good = s.request;
  auto with = [&](auto change) {
    s.request = good;
    change(s.request);
    return s.submit(authority);
  };
  using request = job_request;
  CHECK(why(with([](request& r) { r.not_before += 7 * ns_per_s; })) == reason::not_yet_valid);
  CHECK(why(with([](request& r) {
          r.not_before -= 60 * ns_per_s;
          r.not_after -= 70 * ns_per_s;
        })) == reason::expired);
  CHECK(why(with([](request& r) { r.not_after += 7200 * ns_per_s; })) == reason::above_ceiling);
  CHECK(why(with([](request& r) { r.cluster[3] ^= 1; })) == reason::wrong_cluster);
  CHECK(why(with([](request& r) { r.uid = 1001; })) == reason::uid_mismatch);
  CHECK(why(with([](request& r) { r.spec_digest[31] ^= 1; })) == reason::digest_mismatch);
  CHECK(why(with([](request& r) { r.elements = {5, 0, 4}; })) == reason::above_ceiling);
  CHECK(with([](request&) {}));

  s.as.uid = 1001;
  CHECK(why(with([](request&) {})) == reason::uid_mismatch);
}

TEST_CASE("a request altered after signing, of another purpose or by another key is refused") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto array = encode(s.request);
  byte_vector body(array.begin(), array.end());
  CHECK(why(s.submit_bytes(authority, body, domain::order)) == reason::bad_signature);

  auto seal = *seal_one(domain::request, 0, w.holder.secret().view(), body);
  for (std::size_t i = 0; i < body.size(); ++i) {
    auto altered = body;
    altered[i] ^= 1;
    INFO("byte " << i);
    CHECK_FALSE(s.apply(authority, altered, seal));
  }
  for (std::size_t i = 0; i < seal.size(); ++i) {
    auto altered = seal;
    altered[i] ^= 1;
    INFO("seal byte " << i);
    CHECK_FALSE(s.apply(authority, body, altered));
  }
  auto longer = body;
  longer.push_back(0);
  CHECK(why(s.apply(authority, longer, seal)) == reason::malformed);
  auto thief = key_pair::generate();
  auto by_thief = *seal_one(domain::request, 0, thief.secret().view(), body);
  CHECK(why(s.apply(authority, body, by_thief)) == reason::bad_signature);
  auto by_authority = *seal_one(domain::request, 1, w.signing_secret.secret().view(), body);
  CHECK(why(s.apply(authority, body, by_authority)) == reason::malformed);
  CHECK(s.apply(authority, body, seal));
}

TEST_CASE("a revoked, expired or narrower capability gets no warrant") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  SECTION("revoked") {
    REQUIRE(w.revocations->revoke_uid(1000));
    CHECK(why(s.submit(authority)) == reason::revoked);
  }
  SECTION("expired") {
    w.clock.advance(3610 * ns_per_s);
    CHECK(why(s.submit(authority)) == reason::expired);
  }
  SECTION("narrower") {
    auto x = w.user_capability();
    x.verbs = {verb::queue_read};
    s.cap = w.admit(x);
    CHECK(why(s.submit(authority)) == reason::missing_verb);
  }
  SECTION("none") {
    s.cap = {};
    CHECK(why(s.submit(authority)) == reason::holder_unproven);
  }
}

TEST_CASE("a job works under its warrant, for that job alone, and not for a revoked uid") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto issued = s.submit(authority);
  REQUIRE(issued);
  auto now = w.clock.utc();
  auto cap = w.checks->from_warrant(issued->body, issued->seal);
  REQUIRE(cap);
  CHECK(cap->who().kind == subject_kind::job);
  CHECK(cap->check_on(verb::order_sign, resource_kind::jobs, 1, w.clock.now()));
  CHECK(why(cap->check_on(verb::order_sign, resource_kind::jobs, 2, w.clock.now())) ==
        reason::outside_resource);
  CHECK(why(cap->check(verb::job_submit, w.clock.now())) == reason::missing_verb);

  // The capability that asked may go; the job stays.
  REQUIRE(w.revocations->revoke_serial(s.cap.serial(), INT64_MAX, now));
  CHECK(cap->check(verb::order_sign, w.clock.now()));
  w.clock.advance(30 * 86'400 * ns_per_s);
  CHECK(cap->check(verb::order_sign, w.clock.now()));
  SECTION("uid") {
    REQUIRE(w.revocations->revoke_uid(1000));
  }
  SECTION("job") {
    REQUIRE(w.revocations->revoke_job(1));
  }
  CHECK(why(cap->check(verb::order_sign, w.clock.now())) == reason::revoked);
  CHECK(why(w.checks->verify_warrant(issued->body, issued->seal, w.clock.utc())) ==
        reason::revoked);
  // What runs can still come to its end, over a restart, too: nothing more is started.
  CHECK(cap->check(verb::ledger_write, w.clock.now()));
  auto again = w.checks->from_warrant(issued->body, issued->seal);
  REQUIRE(again);
  CHECK(again->check(verb::node_launch, w.clock.now()));
  CHECK(why(again->check(verb::order_sign, w.clock.now())) == reason::revoked);
}

TEST_CASE("a job that outlives its warrant comes to its end, and starts nothing more") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto issued = s.submit(authority);
  REQUIRE(issued);
  auto cap = w.checks->from_warrant(issued->body, issued->seal);
  REQUIRE(cap);
  w.clock.advance(1000 * 86'400 * ns_per_s);
  CHECK(why(w.checks->verify_warrant(issued->body, issued->seal, w.clock.utc())) ==
        reason::expired);
  CHECK(cap->check(verb::ledger_write, w.clock.now()));
}

TEST_CASE("a job goes on under its warrant when the wall clock is set back behind its beginning") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto issued = s.submit(authority);
  REQUIRE(issued);
  auto cap = w.checks->from_warrant(issued->body, issued->seal);
  REQUIRE(cap);
  w.clock.set_wall_by(-3600 * ns_per_s);
  CHECK(cap->check(verb::order_sign, w.clock.now()));
  CHECK(w.checks->verify_warrant(issued->body, issued->seal, w.clock.utc()));
}

TEST_CASE("a job whose warrant's key was retired comes to its end, and starts nothing more") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto issued = s.submit(authority);
  REQUIRE(issued);
  SECTION("while this process knows it") {
    REQUIRE(w.checks->from_warrant(issued->body, issued->seal));
    REQUIRE(w.checks->replace_keyring(w.make_ring(2, key_state::retired)));
  }
  SECTION("over a restart") {
    w.checks = w.make_verifier(2, key_state::retired);
  }
  auto cap = w.checks->from_warrant(issued->body, issued->seal);
  REQUIRE(cap);
  CHECK(cap->check(verb::ledger_write, w.clock.now()));
  CHECK(why(w.checks->verify_warrant(issued->body, issued->seal, w.clock.utc())) ==
        reason::retired_key);
  auto forged = issued->seal;
  forged.back() ^= 1;
  CHECK_FALSE(w.checks->from_warrant(issued->body, forged));
}

TEST_CASE("a warrant with any byte altered is refused") {
  world w;
  auto authority = w.make_authority();
  submitter s{w};
  auto issued = s.submit(authority);
  REQUIRE(issued);
  for (std::size_t i = 0; i < issued->body.size(); ++i) {
    auto altered = issued->body;
    altered[i] ^= 1;
    INFO("byte " << i);
    CHECK_FALSE(w.checks->verify_warrant(altered, issued->seal, w.clock.utc()));
  }
  for (std::size_t n = 0; n < issued->body.size(); ++n)
    CHECK_FALSE(decode_warrant(byte_view{issued->body}.first(n)));
  auto longer = issued->body;
  longer.push_back(0);
  CHECK_FALSE(decode_warrant(longer));
}

TEST_CASE("the running user is found with sorted groups, an unknown uid is refused") {
  auto me = resolve_account(::geteuid());
  if (!me)
    FAIL(me.error().text);
  CHECK(me->uid == ::geteuid());
  CHECK(std::is_sorted(me->groups.begin(), me->groups.end()));
  CHECK_FALSE(me->user.empty());
  CHECK(why(resolve_account(3'999'999'999)) == reason::unknown_user);
}
