// SPDX-License-Identifier: Apache-2.0
#include "socket_peer.hpp"

#include <algorithm>
#include <array>
#include <pwd.h>
#include <sys/wait.h>
#include <thread>

// Peers that send what no client sends, or too much of it, or that read nothing. The cluster stays
// up, its memory bounded, and it serves the others meanwhile.

using namespace troupe;
using namespace troupe::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t frame_limit = 4u << 20;

bool send_all(int fd, std::string_view what) {
  while (!what.empty()) {
    const auto sent = ::send(fd, what.data(), what.size(), MSG_NOSIGNAL);
    if (sent <= 0)
      return false;
    what.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

/// One frame, or what came before the peer closed or ten seconds had passed.
std::string read_frame(int fd) {
  const timeval limit{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  std::string result;
  std::array<char, 65'536> some{};
  while (result.find('\0') == std::string::npos) {
    const auto got = ::recv(fd, some.data(), some.size(), 0);
    if (got <= 0)
      break;
    result.append(some.data(), static_cast<std::size_t>(got));
  }
  return result.substr(0, result.find('\0'));
}

std::string frame_of(std::string_view method, std::string_view parameters) {
  std::string made = R"({"method":")";
  made.append(method).append(R"(","parameters":)").append(parameters).append("}");
  made.push_back('\0');
  return made;
}

std::size_t resident_kb(pid_t pid) {
  const auto status = read_file("/proc/" + std::to_string(pid) + "/status");
  const auto at = status.find("VmRSS:");
  return at == std::string::npos ? 0 : std::strtoull(status.c_str() + at + 6, nullptr, 10);
}

bool serves(const test_cluster& cluster) {
  auto wire = varlink::client::connect(socket_of(cluster), 10s);
  return wire && wire->call(calls::summary::method, "{}");
}

} // namespace

TEST_CASE("what is no call is answered by an error or the end of the connection") {
  test_cluster cluster{{1, 1, {}, {}}};
  const std::string queue{calls::queue::method};
  const std::string submit{calls::submit::method};
  const std::string deep(100'000, '[');
  const std::vector<std::pair<const char*, std::string>> cases{
      {"broken JSON", std::string{"{\"method\":"} + '\0'},
      {"no JSON", std::string{"hello"} + '\0'},
      {"an empty frame", std::string{'\0'}},
      {"a list", std::string{"[1,2]"} + '\0'},
      {"invalid UTF-8", std::string{"{\"method\":\"\xff\xfe\"}"} + '\0'},
      {"an unknown method", frame_of("org.troupe.jobs.Explode", "{}")},
      {"an unknown interface", frame_of("org.example.Thing", "{}")},
      {"an unknown field", frame_of(queue, R"({"surprise":1})")},
      {"a wrong type", frame_of(queue, R"({"selector":7})")},
      {"parameters that are a list", frame_of(queue, "[]")},
      {"nesting", frame_of(queue, R"({"selector":)" + deep + "}")},
      {"a huge number", frame_of(calls::show::method, R"({"job":1e400})")},
      {"a number beyond 64 bits",
       frame_of(calls::show::method, R"({"job":99999999999999999999999999})")},
      {"a negative id", frame_of(calls::show::method, R"({"job":-1})")},
      {"a fraction", frame_of(calls::show::method, R"({"job":1.5})")},
      {"no job", frame_of(submit, R"({"jobs":[]})")},
      {"an argument of 1 MiB", frame_of(submit, R"({"jobs":[{"cwd":"/","argv":["/bin/true",")" +
                                                    std::string(1u << 20, 'a') + R"("]}]})")},
      {"a script over 1 MiB", frame_of(submit, R"({"jobs":[{"cwd":"/","script":")" +
                                                   std::string((1u << 20) + 1, '#') + R"("}]})")},
  };
  for (const auto& [name, bytes] : cases) {
    INFO(name);
    const auto peer = plain_connection(socket_of(cluster));
    REQUIRE(peer.get() >= 0);
    REQUIRE(send_all(peer.get(), bytes));
    const auto answer = read_frame(peer.get());
    INFO(answer.substr(0, 300));
    CHECK((answer.empty() || answer.find("\"error\"") != std::string::npos));
    CHECK(answer.size() < 4096);
    CHECK(serves(cluster));
  }
  CHECK(cluster.ask({"queue"}).at("rows").empty());
}

TEST_CASE("a frame over the limit ends its connection with a sentence, and costs no memory") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto before = resident_kb(cluster.trouped());
  const auto peer = plain_connection(socket_of(cluster));
  send_all(peer.get(), std::string(frame_limit + (1u << 20), 'x'));
  const auto answer = read_frame(peer.get());
  CHECK(answer.find("error") != std::string::npos);
  CHECK(serves(cluster));
  CHECK(resident_kb(cluster.trouped()) < before + 32 * 1024);
}

TEST_CASE("connections that end within a frame, or say nothing, harm nobody") {
  test_cluster cluster{{1, 1, {}, {}}};
  for (int i = 0; i < 50; ++i) {
    const auto peer = plain_connection(socket_of(cluster));
    REQUIRE(send_all(peer.get(), R"({"method":"org.troupe.jobs.Que)"));
  }
  std::vector<unique_fd> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(plain_connection(socket_of(cluster)));
    REQUIRE(silent.back().get() >= 0);
  }
  CHECK(serves(cluster));
  CHECK(cluster.run_shell({}, "exit 7").exit == 7);
}

TEST_CASE("a thousand clients at once are all answered") {
  test_cluster cluster{{1, 1, {}, {}}};
  std::vector<unique_fd> peers;
  for (int i = 0; i < 1000; ++i) {
    peers.push_back(plain_connection(socket_of(cluster)));
    REQUIRE(peers.back().get() >= 0);
  }
  for (const auto& peer : peers)
    REQUIRE(send_all(peer.get(), frame_of(calls::summary::method, "{}")));
  int answered = 0;
  for (const auto& peer : peers)
    answered += read_frame(peer.get()).find("\"parameters\"") != std::string::npos;
  CHECK(answered == 1000);
}

TEST_CASE("five thousand submissions in one go are answered in their order") {
  test_cluster cluster{{1, 1, {}, {}}};
  constexpr int count = 5000;
  auto wire = varlink::client::connect(socket_of(cluster), 10s);
  REQUIRE(wire);
  calls::submit what;
  what.jobs.push_back(small_job());
  what.jobs.front().held = true;
  const auto parameters = to_json_text(what, visibility::owner);
  varlink::call call;
  call.method = calls::submit::method;
  call.parameters = parameters;
  for (int i = 0; i < count; ++i)
    REQUIRE(wire->send(call));
  job_id last = 0;
  for (int i = 0; i < count; ++i) {
    auto received = wire->receive_within(30s);
    REQUIRE(received);
    REQUIRE(*received);
    REQUIRE_FALSE((*received)->failed);
    auto reply = from_json_text<calls::submit::reply>((*received)->parameters);
    REQUIRE(reply);
    REQUIRE(reply->jobs.size() == 1);
    REQUIRE(reply->jobs.front().job > last);
    last = reply->jobs.front().job;
  }
  CHECK(cluster.ask({"queue"}).at("rows").size() == static_cast<std::size_t>(count));
}

TEST_CASE("a client that asks and never reads costs bounded memory, and the others nothing") {
  test_cluster cluster{{1, 1, {}, {}}};
  REQUIRE(cluster.troupe({"submit", "--hold", "-a", "1-1000", "/bin/true"}).exit == 0);
  for (int i = 0; i < 200; ++i) {
    auto wire = varlink::client::connect(socket_of(cluster), 10s);
    REQUIRE(wire);
    calls::submit what;
    what.jobs.assign(10, small_job());
    for (auto& each : what.jobs)
      each.held = true;
    REQUIRE(wire->call(calls::submit::method, to_json_text(what, visibility::owner)));
  }
  const auto before = resident_kb(cluster.trouped());
  const auto peer = plain_connection(socket_of(cluster));
  const auto asking = frame_of(calls::queue::method, "{}");
  const timeval limit{2, 0};
  ::setsockopt(peer.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  for (int i = 0; i < 5000 && send_all(peer.get(), asking); ++i)
    if (i % 100 == 0)
      REQUIRE(serves(cluster));
  CHECK(serves(cluster));
  CHECK(cluster.run_shell({}, "exit 3").exit == 3);
  INFO("before " << before << " kB, after " << resident_kb(cluster.trouped()) << " kB");
  CHECK(resident_kb(cluster.trouped()) < before + 128 * 1024);
}

TEST_CASE("another user cannot reach the socket") {
  if (::geteuid() != 0)
    return;
  test_cluster cluster{{1, 1, {}, {}}};
  const auto* nobody = ::getpwnam("nobody");
  REQUIRE(nobody != nullptr);
  const auto child = ::fork();
  if (child == 0) {
    if (::setgid(nobody->pw_gid) != 0 || ::setuid(nobody->pw_uid) != 0)
      ::_exit(2);
    ::_exit(plain_connection(socket_of(cluster)).get() >= 0 ? 1 : 0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a client that sends thousands of large calls before it reads gets an answer to each") {
  test_cluster cluster{{1, 1, {}, {}}};
  auto wire = plain_connection(socket_of(cluster));
  REQUIRE(wire);
  constexpr int count = 5000;
  std::string padded = frame_of(calls::nodes::method, "{" + std::string(4096, ' ') + "}");
  std::thread sender{[&] {
    for (int i = 0; i < count && send_all(wire.get(), padded); ++i) {
    }
  }};
  const timeval limit{10, 0};
  ::setsockopt(wire.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  std::array<char, 65'536> some{};
  long answers = 0;
  while (answers < count) {
    const auto got = ::recv(wire.get(), some.data(), some.size(), 0);
    if (got <= 0)
      break;
    answers += std::count(some.begin(), some.begin() + got, '\0');
  }
  ::shutdown(wire.get(), SHUT_RDWR);
  sender.join();
  CHECK(answers == count);
}
