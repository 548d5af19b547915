// SPDX-License-Identifier: Apache-2.0
#include "auth/keys.hpp"
#include "socket_peer.hpp"

// What was revoked stays revoked: at once, over a kill -9, and by nobody who may not.

using namespace troupe;
using namespace troupe::test;

namespace {

std::string serial_of(const calls::hello::reply& from) {
  auto body =
      auth::decode_body(byte_view{from.capability}.first(auth::capability_layout::body_size));
  REQUIRE(body);
  return auth::to_hex(body->serial);
}

} // namespace

TEST_CASE("a revoked capability is refused at once, and after a kill -9") {
  test_cluster cluster{{1, 1, {}, {}}};
  socket_peer peer{socket_of(cluster)};
  peer.open();
  REQUIRE(peer.call(calls::queue{}));
  const auto serial = serial_of(peer.greeting());
  REQUIRE(cluster.troupe({"cap", "revoke", "--serial", serial}).exit == 0);
  auto after = peer.call(calls::queue{});
  REQUIRE_FALSE(after);
  CHECK(after.error().text.find("revoked") != std::string::npos);

  const auto chain = peer.greeting().capability;
  cluster.kill_trouped();
  cluster.up();
  socket_peer again{socket_of(cluster)};
  again.holder = auth::key_pair::from_seed(
      std::span<const std::uint8_t, 32>{peer.holder.secret().view().first(32)});
  (void)again.hello();
  auto presented = again.call(again.presentation(chain));
  REQUIRE_FALSE(presented);
  CHECK(presented.error().text.find("revoked") != std::string::npos);
}

TEST_CASE("a job that was revoked is never started, and the cluster says so") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto id = cluster.submit({"--hold", "-o", "/dev/null", "touch", cluster.path("ran")});
  REQUIRE(cluster.troupe({"cap", "revoke", "--job", id}).exit == 0);
  cluster.kill_trouped();
  cluster.up();
  (void)cluster.troupe({"release", id});
  CHECK(cluster.wait(id).exit == 1);
  CHECK(::access(cluster.path("ran").c_str(), F_OK) != 0);
}

TEST_CASE("what runs of a revoked job comes to its end, the rest of it is not started") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto id = cluster.submit_shell({"-a", "1-3", "-o", "/dev/null"},
                                       "touch ran$TROUPE_ELEMENT; until [ -e go ]; do sleep 0.02; "
                                       "done; exit 4");
  REQUIRE(eventually([&] { return ::access(cluster.path("ran1").c_str(), F_OK) == 0; }));
  REQUIRE(cluster.troupe({"cap", "revoke", "--job", id}).exit == 0);
  SECTION("at once") {}
  SECTION("over a kill -9") {
    cluster.kill_trouped();
    cluster.up();
  }
  cluster.write("go", "");
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.row_of(id)["exit_code"] == 4);
  CHECK(::access(cluster.path("ran2").c_str(), F_OK) != 0);
  CHECK(::access(cluster.path("ran3").c_str(), F_OK) != 0);
}

TEST_CASE("nobody locks himself out, and a damaged file of revocations is not passed over") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto own = cluster.troupe({"cap", "revoke", "--uid", std::to_string(::getuid())});
  CHECK(own.exit == 1);
  CHECK(own.err.find("your own uid") != std::string::npos);
  CHECK(cluster.troupe({"cap", "revoke"}).exit == 2);
  CHECK(cluster.troupe({"cap", "revoke", "--serial", "12"}).exit == 1);
  REQUIRE(cluster.troupe({"cap", "revoke", "--uid", "54321"}).exit == 0);
  cluster.kill_trouped();
  const auto path = cluster.state() + "/keys/revocations";
  const auto whole = read_file(path);
  REQUIRE(::truncate(path.c_str(), static_cast<off_t>(whole.size() - 2)) == 0);
  const auto refused = cluster.try_up();
  CHECK(refused.exit != 0);
  CHECK(refused.err.find("revocations") != std::string::npos);
  REQUIRE(::truncate(path.c_str(), 0) == 0);
  CHECK(cluster.try_up().exit != 0);
  REQUIRE(::unlink(path.c_str()) == 0);
  cluster.up();
}
