// SPDX-License-Identifier: Apache-2.0
#include "auth/cluster_keys.hpp"
#include "socket_peer.hpp"

// Streams: their peers may not read, and their capability may end before they do.

using namespace troupe;
using namespace troupe::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t margin_kb = 64 * 1024;

std::size_t resident_kb(pid_t pid) {
  const auto status = read_file("/proc/" + std::to_string(pid) + "/status");
  const auto at = status.find("VmRSS:");
  return at == std::string::npos ? 0 : std::strtoull(status.c_str() + at + 6, nullptr, 10);
}

template <class Method>
void send_call(varlink::client& wire, const Method& what, bool more) {
  const auto parameters = to_json_text(what, visibility::owner);
  varlink::call call;
  call.method = Method::method;
  call.parameters = parameters;
  call.more = more;
  REQUIRE(wire.send(call));
}

calls::follow following(const std::string& id) {
  calls::follow what;
  what.job = std::stoull(id);
  return what;
}

/// A job that has written 128 MiB to its stream and waits for a file "go".
std::string verbose_job(test_cluster& cluster) {
  const auto id = cluster.submit_shell({"-o", "|"}, "head -c 134217728 /dev/zero; touch written; "
                                                    "until [ -e go ]; do sleep 0.05; done");
  REQUIRE(eventually([&] { return ::access(cluster.path("written").c_str(), F_OK) == 0; }, 60s));
  return id;
}

} // namespace

TEST_CASE("a followed stream that nobody reads costs bounded memory, and the others nothing") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto id = verbose_job(cluster);
  const auto before = resident_kb(cluster.trouped());
  socket_peer silent{socket_of(cluster)};
  silent.open();
  send_call(silent.wire(), following(id), true);
  CHECK(cluster.run_shell({}, "exit 3").exit == 3);
  CHECK(resident_kb(cluster.trouped()) < before + margin_kb);
  // It lost nothing by waiting: all of the output is there when it reads at last.
  cluster.write("go", "");
  std::size_t got = 0;
  for (bool ended = false; !ended;) {
    auto next = silent.wire().receive_within(30s);
    REQUIRE(next);
    REQUIRE(*next);
    REQUIRE_FALSE((*next)->failed);
    auto reply = from_json_text<calls::follow::reply>((*next)->parameters);
    REQUIRE(reply);
    got += reply->output ? reply->output->data.size() : 0;
    ended = !(*next)->continues;
  }
  CHECK(got == 134'217'728);
}

TEST_CASE("streams behind a call that is not answered yet are not gathered in memory") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto endless = cluster.submit({"-o", "/dev/null", "sleep", "1000"});
  const auto id = verbose_job(cluster);
  cluster.write("go", "");
  REQUIRE(cluster.wait(id).exit == 0);
  const auto before = resident_kb(cluster.trouped());
  socket_peer peer{socket_of(cluster)};
  peer.open();
  calls::wait first;
  first.targets.push_back({std::stoull(endless), std::stoull(endless), {}});
  send_call(peer.wire(), first, false);
  for (int i = 0; i < 8; ++i)
    send_call(peer.wire(), following(id), true);
  // What comes of these would be here by the time that another's job has run.
  for (int i = 0; i < 20; ++i)
    CHECK(cluster.run_shell({}, "exit 3").exit == 3);
  CHECK(resident_kb(cluster.trouped()) < before + margin_kb);
  REQUIRE(cluster.troupe({"cancel", endless}).exit == 0);
  for (int ends = 0; ends < 9;) {
    auto next = peer.wire().receive_within(30s);
    REQUIRE(next);
    REQUIRE(*next);
    ends += (*next)->continues ? 0 : 1;
  }
}

TEST_CASE("answers that wait for one before them are bounded") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto endless = cluster.submit({"--hold", "-o", "/dev/null", "true"});
  socket_peer filler{socket_of(cluster)};
  calls::submit many;
  many.jobs.assign(1000, small_job());
  for (auto& each : many.jobs)
    each.held = true;
  for (int i = 0; i < 4; ++i)
    REQUIRE(filler.call(many));
  const auto before = resident_kb(cluster.trouped());
  auto peer = plain_connection(socket_of(cluster));
  const timeval limit{1, 0};
  ::setsockopt(peer.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  const auto send = [&](std::string_view method, const std::string& parameters) {
    auto frame = std::string{R"({"method":")"}.append(method) + R"(","parameters":)" + parameters +
                 "}" + '\0';
    return ::send(peer.get(), frame.data(), frame.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(frame.size());
  };
  REQUIRE(send(calls::wait::method,
               R"({"targets":[{"first":)" + endless + R"(,"last":)" + endless + "}]}"));
  for (int i = 0; i < 1000; ++i)
    if (!send(calls::queue::method, "{}"))
      break;
  for (int i = 0; i < 20; ++i)
    CHECK(cluster.troupe({"nodes"}).exit == 0);
  INFO("before " << before << " kB, after " << resident_kb(cluster.trouped()) << " kB");
  CHECK(resident_kb(cluster.trouped()) < before + 2 * margin_kb);
}

TEST_CASE("a stream ends with a sentence when the time of its capability is over") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto keys = auth::load_cluster_keys(cluster.state() + "/keys").value();
  const auto id = cluster.submit({"-o", "|", "sleep", "1000"});
  REQUIRE(cluster.reaches(id, "running"));
  socket_peer peer{socket_of(cluster)};
  auto fields = fields_of(peer.hello().capability);
  // Five seconds of skew are tolerated: it has so long to go.
  fields.expires = system_clock_source{}.utc() + ns_per_s / 2;
  const auto chain = auth::issue_capability({keys.key_id, &keys.signing}, fields);
  REQUIRE(peer.call(peer.presentation(chain)));
  send_call(peer.wire(), following(id), true);
  auto state = peer.wire().receive_within(10s);
  REQUIRE(state);
  REQUIRE(*state);
  REQUIRE_FALSE((*state)->failed);
  auto end = peer.wire().receive_within(25s);
  REQUIRE(end);
  REQUIRE(*end);
  REQUIRE((*end)->failed);
  CHECK((*end)->failed->code == errc::refused);
  CHECK((*end)->failed->reason == "expired");
  CHECK((*end)->failed->message.size() > 20);
  CHECK(eventually([&] { return refusals_audited(cluster, "expired") > 0; }));
}

TEST_CASE("a job whose follower's capability ended is ended when nobody follows it any more") {
  cluster_shape shape{1, 2, {"--attached-grace", "2"}, {}};
  test_cluster cluster{shape};
  const auto keys = auth::load_cluster_keys(cluster.state() + "/keys").value();
  socket_peer peer{socket_of(cluster)};
  auto fields = fields_of(peer.hello().capability);
  fields.expires = system_clock_source{}.utc() + ns_per_s;
  REQUIRE(
      peer.call(peer.presentation(auth::issue_capability({keys.key_id, &keys.signing}, fields))));
  auto spec = small_job();
  spec.argv = {"/bin/sleep", "1000"};
  spec.attached = true;
  const auto job = peer.submit(spec, peer.seal(peer.request_for(spec), peer.holder)).job;
  REQUIRE(job != 0);
  send_call(peer.wire(), following(std::to_string(job)), true);
  CHECK(cluster.reaches(std::to_string(job), "running"));
  CHECK(cluster.reaches(std::to_string(job), "cancelled", 40s));
}
