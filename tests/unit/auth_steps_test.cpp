// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/auth_world.hpp"

using namespace troupe;
using namespace troupe::auth;
using namespace troupe::auth::test;

// Warrants of steps: never wider than their job's.

namespace {

/// A job that runs, and a step that its owner asks for.
struct running_job {
  explicit running_job(bool may_spawn = false) {
    job.cluster = w.cluster;
    job.job = 5;
    job.uid = 1000;
    job.gid = 1000;
    job.groups = {1000, 2000};
    job.exec_digest = keyed_digest("test", as_bytes("the job"));
    job.most = {2, 8, 1 << 30, 3600};
    job.incarnations_max = 3;
    job.may_spawn = may_spawn;
    job.not_before = w.clock.utc();
    job.not_after = w.clock.utc() + 86'400 * ns_per_s;
    body = encode(job);
    seal = *seal_one(domain::warrant, 1, w.signing_secret.secret().view(), body);
    request.cluster = w.cluster;
    request.uid = 1000;
    request.spec_digest = keyed_digest("test", as_bytes("a step"));
    request.not_before = w.clock.utc();
    request.not_after = w.clock.utc() + 60 * ns_per_s;
    step.what.spec_digest = request.spec_digest;
    step.what.exec_digest = keyed_digest("test", as_bytes("exec"));
    step.what.most = {1, 2, 0, 0};
    step.job = 5;
    step.step = 1;
    step.incarnation = 2;
  }

  checked<issued_warrant> ask(const verified_capability& by) {
    request.id = random_bytes<16>();
    const auto bytes = encode(request);
    signed_body.assign(bytes.begin(), bytes.end());
    signed_seal = *seal_one(domain::request, 0, w.holder.secret().view(), signed_body);
    return ask_again(by);
  }

  checked<issued_warrant> ask_again(const verified_capability& by) {
    step.what.request = signed_body;
    step.what.seal = signed_seal;
    return issue(by);
  }

  checked<issued_warrant> issue(const verified_capability& by) {
    step.job_warrant = body;
    step.job_seal = seal;
    return who.issue_step_warrant(by, step);
  }

  verified_capability user(std::uint32_t uid = 1000) { return w.admit(w.user_capability(uid)); }
  verified_capability own() { return *w.checks->from_warrant(body, seal); }

  world w;
  authority who = w.make_authority();
  warrant job;
  byte_vector body, seal, signed_body, signed_seal;
  job_request request;
  step_application step;
};

} // namespace

TEST_CASE("a step's warrant is its job's, narrowed to one step and incarnation") {
  running_job j;
  auto issued = j.ask(j.user());
  if (!issued)
    FAIL(issued.error().text);
  auto verified = j.w.checks->verify_warrant(issued->body, issued->seal, j.w.clock.utc());
  REQUIRE(verified);
  const auto& it = **verified;
  CHECK(encode(it) == issued->body);
  CHECK(it.job == 5);
  CHECK(it.step == 1);
  CHECK(it.incarnations_max == 2);
  CHECK(it.groups == j.job.groups);
  CHECK(it.most.cores == 2);
  CHECK(it.most.time_s == 3600);
  CHECK(it.most.memory_bytes == j.job.most.memory_bytes);
  CHECK(it.exec_digest == j.step.what.exec_digest);
  CHECK_FALSE(it.may_spawn);
}

TEST_CASE("a step that is wider than its job, of another's, or of another job is refused") {
  running_job j;
  SECTION("more cores") {
    j.step.what.most.cores = 9;
    CHECK(why(j.ask(j.user())) == reason::above_ceiling);
  }
  SECTION("another user") {
    j.request.uid = 1001;
    CHECK(why(j.ask(j.user(1001))) == reason::uid_mismatch);
  }
  SECTION("another job than it names") {
    j.step.job = 6;
    CHECK(why(j.ask(j.user())) == reason::malformed);
  }
  SECTION("a later incarnation") {
    j.step.incarnation = 4;
    CHECK(why(j.ask(j.user())) == reason::malformed);
  }
  SECTION("step 0") {
    j.step.step = 0;
    CHECK(why(j.ask(j.user())) == reason::malformed);
  }
  SECTION("a job that has ended") {
    j.who.forget_job(5);
    CHECK(why(j.ask(j.user())) == reason::outside_resource);
  }
  SECTION("the same request twice") {
    CHECK(j.ask(j.user()));
    j.step.step = 2;
    CHECK(why(j.ask_again(j.user())) == reason::replayed);
  }
  SECTION("another program than was signed for") {
    j.request.spec_digest[0] ^= 1;
    CHECK(why(j.ask(j.user())) == reason::digest_mismatch);
  }
}

TEST_CASE("a job spawns under its own capability, if it was submitted as one that may") {
  running_job plain;
  CHECK(why(plain.issue(plain.own())) == reason::missing_verb);
  running_job spawner{true};
  CHECK(spawner.issue(spawner.own()));
  CHECK(why(spawner.issue(spawner.user())) == reason::missing_verb);
}

TEST_CASE("an order is for the step of its warrant alone") {
  running_job j;
  auto issued = j.ask(j.user());
  REQUIRE(issued);
  launch_order order;
  order.cluster_id = j.w.cluster;
  order.job = 5;
  order.incarnation = 2;
  order.step = 1;
  order.issued_ns = j.w.clock.boot();
  order.expires_ns = j.w.clock.boot() + 60 * ns_per_s;
  order.uid = order.gid = 1000;
  order.groups = j.job.groups;
  order.memory_bytes = 1 << 30;
  order.time_limit_s = 3600;
  order.spec_digest = j.step.what.exec_digest;
  const auto sign = [&](byte_view warrant, byte_view warrant_seal) {
    const auto bytes = *encode_order(order);
    const order_application what{bytes, warrant, warrant_seal};
    return j.who.sign_orders(j.own(), {&what, 1});
  };
  CHECK(why(sign(j.body, j.seal)) == reason::digest_mismatch);
  CHECK(sign(issued->body, issued->seal));
  order.step = 2;
  CHECK(why(sign(issued->body, issued->seal)) == reason::outside_resource);
  order.step = 1;
  order.incarnation = 1;
  CHECK(why(sign(issued->body, issued->seal)) == reason::above_ceiling);
}
