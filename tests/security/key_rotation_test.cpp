// SPDX-License-Identifier: Apache-2.0
#include "auth/cluster_keys.hpp"
#include "socket_peer.hpp"

#include <csignal>

// The signing key's life in a real cluster: next, active, retiring, retired. The root key signs a
// new keyring, trouped takes it at its next start, and the launcher with it.

using namespace troupe;
using namespace troupe::test;

namespace {

using auth::key_state;

/// Whoever has the root key, as an administrator would.
class keyring_of {
public:
  explicit keyring_of(const test_cluster& cluster)
      : directory_{cluster.state() + "/keys"},
        root_{auth::load_key(directory_ + "/root.key").value()},
        contents_{auth::load_cluster_keys(directory_).value().ring->contents()} {}

  void add(const auth::key_pair& key, key_state state) {
    const auto id = contents_.entries.back().key_id + 1;
    REQUIRE(auth::store_key(directory_ + "/signing-" + std::to_string(id) + ".key", key));
    contents_.entries.push_back({id, state, 0, key.public_part()});
  }
  void set(std::uint32_t key_id, key_state state) {
    for (auto& entry : contents_.entries)
      if (entry.key_id == key_id)
        entry.state = state;
  }
  void publish() {
    ++contents_.version;
    auto bytes = auth::make_keyring(contents_, root_);
    REQUIRE(bytes);
    REQUIRE(auth::write_file_durably(directory_ + "/keyring", *bytes, 0600));
  }

private:
  std::string directory_;
  auth::key_pair root_;
  auth::keyring_contents contents_;
};

void restart(test_cluster& cluster) {
  cluster.end_trouped(SIGTERM);
  cluster.up();
}

expected<calls::present::reply> present_again(const test_cluster& cluster,
                                              const std::vector<std::uint8_t>& chain,
                                              const auth::key_pair& holder) {
  socket_peer peer{socket_of(cluster)};
  peer.holder = same_key(holder);
  peer.hello_with_own();
  return peer.call(peer.presentation(chain));
}

std::string states(test_cluster& cluster) {
  std::string text;
  const auto answer = cluster.ask({"cap", "keys"});
  for (const auto& key : answer.at("keys"))
    text += std::to_string(key.at("key_id").get<int>()) + " " + key.at("state").get<std::string>() +
            ", ";
  return text;
}

} // namespace

TEST_CASE("a signing key is next, active, retiring and retired, and work goes on over all of it") {
  test_cluster cluster{{1, 4, {}, {}}};
  socket_peer first{socket_of(cluster)};
  const auto old = first.hello().capability;
  REQUIRE(fields_of(old).key_id == 1);
  const auto running = cluster.submit_shell({"-o", "/dev/null"}, "until [ -e go ]; do sleep 0.02; "
                                                                 "done; exit 5");
  const auto waiting = cluster.submit({"--hold", "-o", "/dev/null", "true"});
  REQUIRE(cluster.reaches(running, "running"));

  keyring_of keys{cluster};
  const auto next = auth::key_pair::generate();
  keys.add(next, key_state::next);
  keys.publish();
  restart(cluster);
  CHECK(states(cluster) == "1 active, 2 next, ");
  // Published ahead, so that nobody meets it unprepared.
  auto ahead = fields_of(old);
  ahead.serial = auth::random_bytes<16>();
  const auto early = auth::issue_capability({2, &next}, ahead);
  CHECK(present_again(cluster, early, first.holder));

  keys.set(1, key_state::retiring);
  keys.set(2, key_state::active);
  keys.publish();
  restart(cluster);
  CHECK(states(cluster) == "1 retiring, 2 active, ");
  CHECK(present_again(cluster, old, first.holder));
  socket_peer second{socket_of(cluster)};
  CHECK(fields_of(second.hello().capability).key_id == 2);
  // The launcher has the keyring, too: it obeys orders of the new key, and knows what it runs.
  CHECK(cluster.run_shell({}, "exit 3").exit == 3);
  CHECK(cluster.state_of(running) == "running");
  CHECK(cluster.troupe({"release", waiting}).exit == 0);
  CHECK(cluster.wait(waiting).exit == 0);

  keys.set(1, key_state::retired);
  keys.publish();
  restart(cluster);
  CHECK(states(cluster) == "1 retired, 2 active, ");
  const auto refused = present_again(cluster, old, first.holder);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::refused);
  CHECK(refused.error().text.find("retired") != std::string::npos);
  CHECK(eventually([&] { return refusals_audited(cluster, "retired_key") == 1; }));
  auto stranger = fields_of(old);
  const auto forged = auth::issue_capability({3, &first.holder}, stranger);
  CHECK_FALSE(present_again(cluster, forged, first.holder));
  CHECK(eventually([&] { return refusals_audited(cluster, "unknown_key") == 1; }));
  CHECK(present_again(cluster, early, first.holder));
  CHECK(cluster.run_shell({}, "exit 4").exit == 4);
  CHECK(cluster.troupe({"audit", "verify"}).exit == 0);

  // What runs under a warrant of the retired key comes to its end all the same.
  cluster.write("go", "");
  CHECK(cluster.wait(running).exit == 1);
  CHECK(cluster.row_of(running)["exit_code"] == 5);
}

TEST_CASE("a job whose warrant is of a retired key is not started, and says why") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto waiting = cluster.submit({"--hold", "-o", "/dev/null", "touch", cluster.path("ran")});
  keyring_of keys{cluster};
  keys.add(auth::key_pair::generate(), key_state::active);
  keys.set(1, key_state::retired);
  keys.publish();
  restart(cluster);
  CHECK(cluster.state_of(waiting) == "pending");
  (void)cluster.troupe({"release", waiting});
  CHECK(cluster.wait(waiting).exit == 1);
  CHECK(::access(cluster.path("ran").c_str(), F_OK) != 0);
  const std::string reason = cluster.row_of(waiting)["reason"];
  INFO(reason);
  CHECK(reason.find("retired") != std::string::npos);
  CHECK(cluster.run_shell({}, "exit 3").exit == 3);
}

TEST_CASE("a keyring older than the launcher's stops the start with a sentence") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto path = cluster.state() + "/keys/keyring";
  const auto before = read_file(path);
  keyring_of keys{cluster};
  keys.add(auth::key_pair::generate(), key_state::next);
  keys.publish();
  const auto after = read_file(path);
  restart(cluster);
  cluster.end_trouped(SIGTERM);
  const auto put = [&](const std::string& bytes) {
    REQUIRE(auth::write_file_durably(
        path, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, 0600));
  };
  put(before);
  const auto refused = cluster.try_up();
  INFO(refused.err);
  CHECK(refused.exit != 0);
  CHECK(refused.err.find("keyring") != std::string::npos);
  put(after);
  cluster.up();
  CHECK(cluster.run_shell({}, "exit 3").exit == 3);
}
