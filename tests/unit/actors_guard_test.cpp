// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

// Capabilities that end while their message waits, or while somebody waits under them; and what the
// counters say of it.

using namespace troupe;
using namespace troupe::test;
using auth::reason;

namespace {

/// Longer than any short capability here and the tolerated skew.
constexpr std::int64_t beyond_ns = 30 * ns_per_s;

/// How a capability ends while nobody looks.
struct ending {
  const char* name;
  reason why;
  std::function<void(actor_world&, const auth::verified_capability&)> happen;
};

const std::vector<ending> endings{
    {"expired", reason::expired,
     [](actor_world& world, const auto&) { world.keys.clock.advance(beyond_ns); }},
    {"revoked by its serial", reason::revoked,
     [](actor_world& world, const auto& cap) {
       REQUIRE(world.keys.revocations->revoke_serial(cap.serial(), cap.expires(),
                                                     world.keys.clock.utc()));
     }},
    {"revoked by its uid", reason::revoked,
     [](actor_world& world, const auto& cap) {
       REQUIRE(world.keys.revocations->revoke_uid(cap.who().uid));
     }},
};

struct counted {
  std::uint64_t received, consumed, admitted, refused;
  explicit counted(const actors::actor_counters& from)
      : received{from.received}, consumed{from.consumed}, admitted{from.admitted},
        refused{from.refused} {}
};

job_selector only(job_id job) {
  job_selector selector;
  selector.targets.push_back({job, job, {}});
  return selector;
}

job_id submitted(actor_world& world, job_spec spec) {
  auto job = world.submit(world.user, std::move(spec));
  world.drain();
  REQUIRE(job->answer);
  REQUIRE(*job->answer);
  return **job->answer;
}

job_spec held(const char* name) {
  auto spec = single(name);
  spec.held = true;
  return spec;
}

} // namespace

TEST_CASE("a message whose capability ends while it waits in the mailbox is refused when it is "
          "handled, counted and audited") {
  for (const auto& end : endings) {
    INFO(end.name);
    actor_world world{1};
    const auto job = submitted(world, held("endless"));
    const auto cap = world.short_lived(world.user, 10 * ns_per_s);
    auto& counters = world.counters_of("scheduler");
    auto answer = world.ask(world.scheduler, cap, cancel_jobs{only(job), "gone"});
    world.settle_without(world.scheduler);
    const counted before{counters};
    CHECK(before.received == before.consumed + 1);
    end.happen(world, cap);
    world.settle();
    REQUIRE(*answer);
    REQUIRE_FALSE(**answer);
    CHECK((*answer)->error().code == errc::refused);
    CHECK((*answer)->error().text.size() > 20);
    CHECK(counted{counters}.refused == before.refused + 1);
    CHECK(counters.last_error() == (*answer)->error().text);
    REQUIRE(world.refusals.size() == 1);
    CHECK(world.refusals.front().message == typeid(cancel_jobs).name());
    CHECK(world.refusals.front().uid == world.user.uid);
    CHECK(world.refusals.front().why == end.why);
    CHECK(world.story_of(job).at(no_element).ends == 0);
  }
}

TEST_CASE(
    "a message without an answer does nothing when its capability has ended, and is audited") {
  for (const auto& end : endings) {
    INFO(end.name);
    actor_world world{1};
    auto spec = held("endless");
    spec.attached = true;
    const auto job = submitted(world, spec);
    const auto cap = world.short_lived(world.user, 10 * ns_per_s);
    actors::tell(world.scheduler, cap, attach_job{job, {1, 1}});
    end.happen(world, cap);
    world.settle();
    REQUIRE(world.refusals.size() == 1);
    CHECK(world.refusals.front().message == typeid(attach_job).name());
    CHECK(world.refusals.front().why == end.why);
    // Nobody follows it: it ends with its client's grace.
    for (int second = 0; second < 90; ++second) {
      world.advance(ns_per_s);
      world.settle();
    }
    CHECK(world.story_of(job).at(no_element).exit.state == job_state::cancelled);
  }
}

TEST_CASE("whoever waits for an end is refused when the capability ends, not when the job does") {
  for (const auto& end : endings) {
    INFO(end.name);
    actor_world world{1};
    const auto job = submitted(world, single("endless"));
    const auto cap = world.short_lived(world.user, 10 * ns_per_s);
    auto waiting = world.ask(world.scheduler, cap, await_jobs{only(job).targets});
    world.settle();
    CHECK_FALSE(*waiting);
    end.happen(world, cap);
    world.advance(6 * ns_per_s);
    world.settle();
    REQUIRE(*waiting);
    REQUIRE_FALSE(**waiting);
    CHECK((*waiting)->error().code == errc::refused);
    REQUIRE(world.refusals.size() == 1);
    CHECK(world.refusals.front().message == typeid(await_jobs).name());
    CHECK(world.refusals.front().why == end.why);
    CHECK(world.story_of(job).at(no_element).ends == 0);
  }
}

TEST_CASE("whoever waits for an end hears it under a capability that is still good") {
  actor_world world{1};
  const auto job = submitted(world, single("endless"));
  auto waiting = world.ask(world.user, await_jobs{only(job).targets});
  world.advance(60 * ns_per_s);
  world.settle();
  CHECK_FALSE(*waiting);
  for (auto& launcher : world.launchers)
    launcher->end_one(3);
  world.drain();
  REQUIRE(*waiting);
  REQUIRE(**waiting);
  CHECK((*waiting)->value().ends.front().exit.exit_code == 3);
  CHECK(world.refusals.empty());
}

TEST_CASE("whoever waits for an element's place is told none when the capability ended meanwhile") {
  for (std::size_t which = 0; which < 2; ++which) {
    for (auto with_actor : {false, true}) {
      INFO(endings[which].name << (with_actor ? ", the job has started" : ", the job waits"));
      actor_world world{1, {1, 1}};
      auto spec = array_of("endless", 2);
      spec.held = !with_actor;
      const auto job = submitted(world, spec);
      const auto cap = world.short_lived(world.user, 10 * ns_per_s);
      auto place = world.ask(world.scheduler, cap, locate_element{job, 2});
      world.settle();
      CHECK_FALSE(*place);
      endings[which].happen(world, cap);
      world.ask(world.user, release_jobs{only(job)});
      world.drain();
      world.launchers[0]->end_one();
      world.drain();
      REQUIRE(*place);
      REQUIRE_FALSE(**place);
      REQUIRE_FALSE(world.refusals.empty());
      CHECK(world.refusals.back().message == typeid(locate_element).name());
      CHECK(world.refusals.back().why == endings[which].why);
    }
  }
}

TEST_CASE("a waiting job whose user was revoked keeps nobody else's cores") {
  actor_world world{1, {1, 1}};
  const auto runs = submitted(world, single("endless"));
  const auto other = world.log_in(65'534);
  auto revoked = world.submit(other, single("endless"));
  world.settle();
  REQUIRE(*revoked->answer);
  const auto next = submitted(world, single("endless"));
  REQUIRE(world.keys.revocations->revoke_uid(other.uid));
  CHECK(world.launchers[0]->end_one());
  world.drain();
  CHECK(world.story_of(runs).at(no_element).ends == 1);
  CHECK(world.story_of(**revoked->answer).at(no_element).starts.empty());
  CHECK(world.story_of(next).at(no_element).starts.size() == 1);
}

TEST_CASE("counters tell what came, what was handled, what was refused and what still waits") {
  actor_world world{1};
  auto& node = world.counters_of("node/node1");
  const auto reader = world.role(auth::actor_role::observer);
  const counted before{node};
  CHECK(before.received == before.consumed);
  std::vector<answer_box<status_report>> good, bad;
  for (int i = 0; i < 5; ++i)
    good.push_back(world.ask(world.nodes[0], reader, get_status{}));
  for (int i = 0; i < 3; ++i)
    bad.push_back(world.ask(world.nodes[0], world.user.cap, get_status{}));
  world.settle_without(world.nodes[0]);
  CHECK(counted{node}.received == before.received + 8);
  CHECK(counted{node}.consumed == before.consumed);
  CHECK(actors::counter_table::row_of(node).mailbox == 8);
  world.settle();
  const counted after{node};
  CHECK(after.received == before.received + 8);
  CHECK(after.consumed == before.consumed + 8);
  CHECK(after.admitted == before.admitted + 5);
  CHECK(after.refused == before.refused + 3);
  CHECK(actors::counter_table::row_of(node).mailbox == 0);
  for (const auto& answer : good)
    CHECK(**answer);
  for (const auto& answer : bad)
    CHECK((*answer)->error().code == errc::refused);
  CHECK(world.refusals.size() == 3);
}

TEST_CASE("which job a request made is told to whose request it is alone") {
  actor_world world{1};
  const auto job = submitted(world, single("endless"));
  const auto row = world.store().row_of(job);
  REQUIRE((row && row->request));
  const auto told = [&](const person& who) {
    auto found = world.ask(world.ledger, who.cap, find_request{*row->request});
    world.settle();
    REQUIRE((*found && **found));
    return (*found)->value().job;
  };
  CHECK(told(world.user) == job);
  CHECK(told(world.log_in(65'534)) == 0);
}

TEST_CASE("a job is not shown to, or changed by, somebody whose it is not, and that is audited") {
  actor_world world{1};
  const auto job = submitted(world, single("endless"));
  const auto other = world.log_in(65'534);
  auto& counters = world.counters_of("scheduler");
  const counted before{counters};
  auto view = world.ask(other, show_job{job});
  auto change = world.ask(other, cancel_jobs{only(job), "mine now"});
  auto signal = world.ask(other, signal_jobs{only(job), 9});
  auto wait = world.ask(other, await_jobs{only(job).targets});
  auto place = world.ask(other, locate_element{job});
  world.settle();
  CHECK_FALSE(**view);
  CHECK_FALSE(**change);
  CHECK_FALSE(**signal);
  CHECK_FALSE(**wait);
  CHECK_FALSE(**place);
  CHECK((*view)->error().text.find("belongs to uid") != std::string::npos);
  CHECK(counted{counters}.refused >= before.refused + 3);
  for (const auto& each : world.refusals)
    CHECK(each.why == reason::not_owner);
  CHECK(world.story_of(job).at(no_element).ends == 0);
}
