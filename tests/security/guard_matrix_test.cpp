// SPDX-License-Identifier: Apache-2.0
#include "auth_world.hpp"
#include "messages/protocol.hpp"

#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <typeindex>

// Every message of every interface, under every capability that must not do.

using namespace troupe;
using namespace troupe::auth;

namespace {

constexpr std::int64_t beyond_skew_ns = 6 * ns_per_s;

/// What each case needs of a message, without its type.
struct message_case {
  std::string name;
  std::type_index type;
  verb_set verbs;
  kind_set subjects;
  bool about_a_job = false;
  std::function<checked<void>(const verified_capability&, boot_time)> admit;
};

template <class M>
message_case case_of() {
  using rule = policy<M>;
  return {typeid(M).name(),
          typeid(M),
          verb_set{rule::own, rule::any},
          rule::subjects,
          rule::resource(M{}).kind != resource_kind::any,
          [](const verified_capability& cap, boot_time now) {
            return auth::admit(request<M>{cap, M{}}, now);
          }};
}

// The messages are read from the interfaces, so that a new one is here by itself.
template <class Signature>
struct message_of;
template <class M, class Out>
struct message_of<caf::typed_mpi<caf::detail::type_list<request<M>>, Out>> {
  using type = M;
};

template <class Interface>
struct messages_of;
template <class... Signatures>
struct messages_of<caf::typed_actor<Signatures...>> {
  static void add_to(std::vector<message_case>& all, std::set<std::type_index>& known) {
    auto add = [&](message_case made) {
      if (known.insert(made.type).second)
        all.push_back(std::move(made));
    };
    (add(case_of<typename message_of<Signatures>::type>()), ...);
  }
};

template <class... Interfaces>
std::vector<message_case> messages_in() {
  std::vector<message_case> all;
  std::set<std::type_index> known;
  (messages_of<Interfaces>::add_to(all, known), ...);
  std::mt19937_64 order{test::random_seed()};
  std::shuffle(all.begin(), all.end(), order);
  return all;
}

std::vector<message_case> all_messages() {
  return messages_in<observed, authority_actor, ledger_actor, scheduler_actor, planner_actor,
                     estimator_actor, job_actor, executor_actor, agent_actor, node_actor,
                     task_actor, shepherd_actor, launcher_actor, observer_actor, cluster_actor,
                     config_actor, keeper_actor>();
}

/// A capability that does for this message; the cases spoil one thing each.
capability good_for(test::world& around, const message_case& message) {
  auto made = around.user_capability();
  made.verbs = message.verbs;
  if (!message.subjects.has(subject_kind::user))
    made.who = {subject_kind::role, static_cast<std::uint8_t>(actor_role::cluster), 1000, 1000};
  return made;
}

std::size_t policies_written() {
  std::ifstream in{TROUPE_SOURCE_DIR "/messages/policies.hpp"};
  std::ostringstream text;
  text << in.rdbuf();
  const auto all = text.str();
  std::size_t count = 0;
  for (auto at = all.find("struct policy<"); at != std::string::npos;
       at = all.find("struct policy<", at + 1))
    ++count;
  return count;
}

} // namespace

TEST_CASE("every message that has a policy stands in the matrix") {
  CHECK(all_messages().size() == policies_written());
}

TEST_CASE("every message is handled under a capability that does, and under no other") {
  test::world around;
  const auto now = around.clock.now();
  for (const auto& message : all_messages()) {
    INFO(message.name << ", TROUPE_TEST_SEED=" << test::random_seed());
    const auto good = good_for(around, message);
    const auto cap = around.admit(good);
    REQUIRE(message.admit(cap, now));

    CHECK(test::why(message.admit({}, now)) == reason::holder_unproven);
    const auto life = good.expires - around.clock.utc();
    CHECK(test::why(message.admit(cap, now + (life + beyond_skew_ns))) == reason::expired);

    auto narrower = good;
    narrower.verbs = verb_set{all_verbs.bits() & ~message.verbs.bits()};
    CHECK(test::why(message.admit(around.admit(narrower), now)) == reason::missing_verb);

    // It was good when it was sent, and is revoked when it is handled.
    REQUIRE(around.revocations->revoke_serial(good.serial, good.expires, around.clock.utc()));
    CHECK(test::why(message.admit(cap, now)) == reason::revoked);
  }
}

TEST_CASE("no message is handled for a subject of a kind that may not send it") {
  test::world around;
  const auto now = around.clock.now();
  for (const auto& message : all_messages()) {
    INFO(message.name << ", TROUPE_TEST_SEED=" << test::random_seed());
    for (auto kind : {subject_kind::user, subject_kind::role, subject_kind::job}) {
      auto other = good_for(around, message);
      other.who = {kind, static_cast<std::uint8_t>(kind == subject_kind::job ? 0 : 1), 1000, 1000};
      if (kind == subject_kind::job)
        other.bound.job = 7;
      if (message.subjects.has(kind))
        continue;
      CHECK(test::why(message.admit(around.admit(other), now)) == reason::missing_verb);
    }
  }
}

TEST_CASE("a message about a job is not handled under a capability for other jobs") {
  test::world around;
  const auto now = around.clock.now();
  std::size_t about_jobs = 0;
  for (const auto& message : all_messages()) {
    if (!message.about_a_job)
      continue;
    ++about_jobs;
    INFO(message.name << ", TROUPE_TEST_SEED=" << test::random_seed());
    auto ranged = good_for(around, message);
    ranged.on = {resource_kind::jobs, 5, 9};
    CHECK(test::why(message.admit(around.admit(ranged), now)) == reason::outside_resource);
    auto nodes_only = good_for(around, message);
    nodes_only.on = {resource_kind::nodes, 0, 9};
    CHECK(test::why(message.admit(around.admit(nodes_only), now)) == reason::outside_resource);
    auto bound = good_for(around, message);
    bound.bound.job = 7;
    CHECK(test::why(message.admit(around.admit(bound), now)) == reason::outside_resource);
  }
  CHECK(about_jobs >= 10);
}

TEST_CASE("a message under a capability is not written into bytes by CAF") {
  caf::actor_system_config how;
  caf::actor_system system{how};
  test::world around;
  std::vector<char> bytes;
  caf::binary_serializer sink{system, bytes};
  auto what = caf::make_message(request<get_status>{around.admit(around.user_capability()), {}});
  sink(what); // says that it cannot, on the error stream
  CHECK(bytes.empty());
}
