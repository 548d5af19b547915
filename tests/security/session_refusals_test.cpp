// SPDX-License-Identifier: Apache-2.0
#include "auth/cluster_keys.hpp"
#include "socket_peer.hpp"

#include <array>
#include <functional>
#include <optional>
#include <sys/stat.h>
#include <sys/wait.h>

// What a real cluster does not believe: capabilities, proofs and requests that are not what they
// say, each at the socket, each refused with a sentence and in the audit chain.

using namespace troupe;
using namespace troupe::test;

namespace {

using byte_vector = std::vector<std::uint8_t>;

bool audited(test_cluster& cluster, const std::string& word) {
  return eventually([&] {
    const auto tail = cluster.troupe({"audit", "tail", "-n", "5"});
    return tail.out.find(word) != std::string::npos;
  });
}

/// A capability as the cluster itself would have made it, spoiled in one thing.
struct spoiled {
  const char* reason;
  std::function<void(auth::capability&)> change;
};

auth::capability granted(const calls::hello::reply& from) {
  return fields_of(from.capability);
}

} // namespace

TEST_CASE("a capability that the cluster signed for something else is refused at the socket") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto keys = auth::load_cluster_keys(cluster.state() + "/keys");
  REQUIRE(keys);
  const auto other_key = auth::key_pair::generate();
  const std::vector<spoiled> cases{
      {"wrong_cluster", [](auto& cap) { cap.cluster = auth::random_bytes<16>(); }},
      {"wrong_audience", [](auto& cap) { cap.meant_for = *auth::audience::parse("launcher"); }},
      {"not_yet_valid",
       [](auto& cap) {
         cap.not_before += 600 * ns_per_s;
         cap.expires += 600 * ns_per_s;
       }},
      {"expired",
       [](auto& cap) {
         cap.not_before -= 7200 * ns_per_s;
         cap.expires -= 7200 * ns_per_s;
       }},
      {"uid_mismatch", [](auto& cap) { cap.who.uid += 1; }},
      {"holder_unproven", [&](auto& cap) { cap.holder = other_key.public_part(); }},
  };
  for (const auto& each : cases) {
    INFO(each.reason);
    socket_peer peer{socket_of(cluster)};
    auto cap = granted(peer.hello());
    each.change(cap);
    const auth::signing_key signing{keys->key_id, &keys->signing};
    auto answer = peer.call(peer.presentation(auth::issue_capability(signing, cap)));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == errc::refused);
    CHECK(answer.error().text.size() > 20);
    CHECK(audited(cluster, each.reason));
  }
  socket_peer honest{socket_of(cluster)};
  honest.open();
}

TEST_CASE("a capability with one bit, byte or proof that is not right is refused at the socket") {
  test_cluster cluster{{1, 1, {}, {}}};
  using spoil = std::function<void(socket_peer&, calls::present&)>;
  const auto forger = auth::key_pair::generate();
  const std::map<std::string, spoil> cases{
      {"truncated", [](auto&, auto& what) { what.chain.front().pop_back(); }},
      {"a byte longer", [](auto&, auto& what) { what.chain.front().push_back(0); }},
      {"nothing", [](auto&, auto& what) { what.chain.clear(); }},
      {"reserved bit",
       [](auto&, auto& what) { what.chain.front()[auth::capability_layout::reserved] |= 1; }},
      {"forged", [](auto&, auto& what) { what.chain.front().back() ^= 1; }},
      {"other signer",
       [&](auto& peer, auto& what) {
         what = peer.presentation(auth::issue_capability({1, &forger}, granted(peer.greeting())));
       }},
      {"unknown key",
       [&](auto& peer, auto& what) {
         what = peer.presentation(auth::issue_capability({77, &forger}, granted(peer.greeting())));
       }},
      {"proof missing", [](auto&, auto& what) { what.proof.clear(); }},
      {"proof forged", [](auto&, auto& what) { what.proof.front() ^= 1; }},
      {"proof too long", [](auto&, auto& what) { what.proof.push_back(0); }},
  };
  for (const auto& [name, change] : cases) {
    INFO(name);
    socket_peer peer{socket_of(cluster)};
    auto presented = peer.presentation(peer.hello().capability);
    change(peer, presented);
    auto answer = peer.call(presented);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().text.size() > 20);
  }
  CHECK(audited(cluster, "present"));
}

TEST_CASE(
    "a capability signed for another purpose, in a second form or for a weak key is refused") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto keys = auth::load_cluster_keys(cluster.state() + "/keys").value();
  const auto refused = [&](socket_peer& peer, const byte_vector& chain, const char* reason) {
    INFO(reason);
    auto answer = peer.call(peer.presentation(chain));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == errc::refused);
    CHECK(answer.error().text.size() > 20);
  };
  std::uint64_t bad_signatures = 0;
  for (const auto purpose :
       {auth::domain::delegation, auth::domain::request, auth::domain::warrant, auth::domain::order,
        auth::domain::keyring, auth::domain::audit, auth::domain::proof}) {
    INFO(purpose);
    socket_peer peer{socket_of(cluster)};
    auto chain = peer.hello().capability;
    const auto body = byte_view{chain}.first(auth::capability_layout::body_size);
    const auto sig = keys.signing.sign(purpose, body);
    std::copy(sig.begin(), sig.end(), chain.begin() + auth::capability_layout::body_size);
    refused(peer, chain, "bad_signature");
    ++bad_signatures;
  }
  {
    // S + L verifies in a careless implementation: the same signature, written otherwise.
    constexpr std::array<std::uint8_t, 32> group_order{
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7,
        0xa2, 0xde, 0xf9, 0xde, 0x14, 0,    0,    0,    0,    0,    0,
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0x10};
    socket_peer peer{socket_of(cluster)};
    auto chain = peer.hello().capability;
    unsigned carry = 0;
    for (std::size_t i = 0; i < group_order.size(); ++i) {
      auto& byte = chain[chain.size() - 32 + i];
      const auto sum = byte + group_order[i] + carry;
      byte = static_cast<std::uint8_t>(sum);
      carry = sum >> 8;
    }
    REQUIRE(carry == 0);
    refused(peer, chain, "bad_signature");
    ++bad_signatures;
  }
  {
    socket_peer peer{socket_of(cluster)};
    auto weak = granted(peer.hello());
    weak.holder = {};
    weak.holder[0] = 1; // the neutral element: every signature would fit
    refused(peer, auth::issue_capability({keys.key_id, &keys.signing}, weak), "bad_key");
  }
  CHECK(eventually([&] { return refusals_audited(cluster, "bad_signature") == bad_signatures; }));
  CHECK(eventually([&] { return refusals_audited(cluster, "bad_key") == 1; }));
}

TEST_CASE("another uid that reaches the socket all the same is refused whatever it asks") {
  if (::geteuid() != 0) {
    WARN("skipped: only root can be somebody else");
    return;
  }
  test_cluster cluster{{1, 1, {}, {}}};
  const auto job = cluster.submit({"--hold", "-o", "/dev/null", "true"});
  // As if somebody had opened the doors that keep others out.
  const auto folder = cluster.state().substr(0, cluster.state().rfind('/'));
  for (const auto& each : {folder, cluster.state()})
    REQUIRE(::chmod(each.c_str(), 0711) == 0);
  REQUIRE(::chmod(socket_of(cluster).c_str(), 0666) == 0);
  int answers[2];
  REQUIRE(::pipe(answers) == 0);
  const auto child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0)
      ::_exit(2);
    for (const auto& [method, parameters] : std::vector<std::pair<std::string, std::string>>{
             {std::string{calls::hello::method}, "{}"},
             {std::string{calls::queue::method}, "{}"},
             {std::string{calls::show::method}, "{\"job\":" + job + "}"},
             {std::string{calls::cancel::method},
              R"({"selector":{"targets":[{"first":)" + job + R"(,"last":)" + job + "}]}}"},
             {std::string{calls::follow::method}, "{\"job\":" + job + "}"}}) {
      auto wire = varlink::client::connect(socket_of(cluster), std::chrono::seconds{10});
      auto answer = wire ? wire->call(method, parameters)
                         : expected<std::string>{tl::unexpected{wire.error()}};
      const auto line = (answer ? "given: " + *answer : "refused: " + answer.error().text) + "\n";
      if (::write(answers[1], line.data(), line.size()) < 0)
        ::_exit(3);
    }
    ::_exit(0);
  }
  ::close(answers[1]);
  std::string all;
  std::array<char, 4096> some{};
  for (ssize_t got; (got = ::read(answers[0], some.data(), some.size())) > 0;)
    all.append(some.data(), static_cast<std::size_t>(got));
  ::close(answers[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  INFO(all);
  CHECK(lines_of(all).size() == 5);
  for (const auto& line : lines_of(all)) {
    CHECK(line.starts_with("refused: "));
    CHECK(line.size() > 30);
  }
  CHECK(cluster.state_of(job) == "pending");
  CHECK(eventually([&] { return refusals_audited(cluster, "role_not_granted") >= 4; }));
}

TEST_CASE("a proof is good once, and for its own challenge") {
  test_cluster cluster{{1, 1, {}, {}}};
  socket_peer peer{socket_of(cluster)};
  const auto presented = peer.presentation(peer.hello().capability);
  REQUIRE(peer.call(presented));
  auto again = peer.call(presented);
  REQUIRE_FALSE(again);
  CHECK(again.error().code == errc::refused);
  peer.hello();
  CHECK_FALSE(peer.call(presented));
  CHECK(audited(cluster, "holder_unproven"));
}

TEST_CASE("a request that is replayed, altered, another's or too small makes no job") {
  test_cluster cluster{{1, 1, {}, {}}};
  socket_peer peer{socket_of(cluster)};
  peer.open();
  const auto spec = small_job();
  const auto request = peer.request_for(spec);
  const auto sealed = peer.seal(request, peer.holder);
  const auto first = peer.submit(spec, sealed);
  REQUIRE(first.job != 0);

  auto refused = [&](const char* name, const job_spec& with, const signed_request& by) {
    INFO(name);
    const auto result = peer.submit(with, by);
    CHECK(result.job == 0);
    REQUIRE(result.error);
    CHECK(result.error->message.size() > 20);
  };
  CHECK(peer.submit(spec, sealed).job == first.job); // asked again, told again
  auto altered = spec;
  altered.argv.front() = "/bin/trud";
  refused("altered spec", altered, peer.seal(peer.request_for(spec), peer.holder));
  refused("another key", spec, peer.seal(peer.request_for(spec), auth::key_pair::generate()));
  auto whose = peer.request_for(spec);
  whose.uid += 1;
  refused("another uid", spec, peer.seal(whose, peer.holder));
  auto array = spec;
  array.array.emplace();
  array.array->ranges = {{1, 10}};
  auto fewer = peer.request_for(array);
  fewer.elements = {5, 1, 5};
  refused("more elements", array, peer.seal(fewer, peer.holder));
  auto elsewhere = peer.request_for(spec);
  elsewhere.cluster = auth::random_bytes<16>();
  refused("another cluster", spec, peer.seal(elsewhere, peer.holder));
  auto over = peer.request_for(spec);
  over.not_before -= 7200 * ns_per_s;
  over.not_after = over.not_before + 60 * ns_per_s;
  refused("expired", spec, peer.seal(over, peer.holder));
  auto broken = peer.seal(peer.request_for(spec), peer.holder);
  broken.seal.back() ^= 1;
  refused("forged", spec, broken);
  CHECK(audited(cluster, "expired"));

  const auto history = cluster.ask({"queue"});
  const auto next = peer.submit(spec, peer.seal(peer.request_for(spec), peer.holder));
  CHECK(next.job == first.job + 1);
}

TEST_CASE("a stream ends with a sentence when its capability is revoked") {
  test_cluster cluster{{1, 1, {}, {}}};
  for (const std::string output : {"|", ""}) {
    INFO("output " << output);
    socket_peer peer{socket_of(cluster)};
    peer.open();
    auto spec = small_job();
    spec.argv = {"/bin/sleep", "60"};
    spec.stdout_path = output;
    const auto job = peer.submit(spec, peer.seal(peer.request_for(spec), peer.holder)).job;
    REQUIRE(job != 0);
    REQUIRE(cluster.reaches(std::to_string(job), "running"));
    calls::follow what;
    what.job = job;
    const auto parameters = to_json_text(what, visibility::owner);
    varlink::call call;
    call.method = calls::follow::method;
    call.parameters = parameters;
    call.more = true;
    REQUIRE(peer.wire().send(call));
    auto state = peer.wire().receive_within(std::chrono::seconds{10});
    REQUIRE(state);
    REQUIRE(*state);
    REQUIRE_FALSE((*state)->failed);

    socket_peer admin{socket_of(cluster)};
    admin.open();
    const auto serial = auth::to_hex(granted(peer.greeting()).serial);
    REQUIRE(admin.call(calls::revoke{serial, {}, {}}));
    auto end = peer.wire().receive_within(std::chrono::seconds{15});
    REQUIRE(end);
    REQUIRE(*end);
    REQUIRE((*end)->failed);
    CHECK((*end)->failed->code == errc::refused);
    CHECK((*end)->failed->message.find("revoked") != std::string::npos);
    CHECK(audited(cluster, "revoked"));
    cluster.troupe({"cancel", std::to_string(job)});
  }
}
