// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <vector>

#include "runtime/varlink/acceptor.hpp"
#include "runtime/varlink/client.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tests/catch.hpp"

using namespace troupe;
using namespace troupe::varlink;
using namespace std::chrono_literals;

namespace {

struct temporary_directory {
  temporary_directory() {
    char pattern[] = "/tmp/troupe-varlink-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    path = pattern;
  }
  ~temporary_directory() { std::filesystem::remove_all(path); }
  std::string socket() const { return path + "/socket"; }
  std::string path;
};

template <class Condition>
bool eventually(Condition holds) {
  for (auto until = std::chrono::steady_clock::now() + 10s;
       std::chrono::steady_clock::now() < until; ::poll(nullptr, 0, 1))
    if (holds())
      return true;
  return holds();
}

// Keeps what the acceptor hands out.
struct collector {
  acceptor::on_accept handler() {
    return [this](accepted_connection one) {
      std::lock_guard guard{mutex};
      connections.push_back(std::move(one));
      count = connections.size();
    };
  }
  std::mutex mutex;
  std::vector<accepted_connection> connections;
  std::atomic<std::size_t> count = 0;
};

// Answers each connection on a thread of its own, with blocking reads: the smallest real server.
class small_server {
public:
  using answer = std::function<std::string(const call&)>;

  small_server(const std::string& path, answer respond) : respond_{std::move(respond)} {
    acceptor_ = *acceptor::listen({path}, [this](accepted_connection one) {
      std::lock_guard guard{mutex_};
      threads_.emplace_back([this, one = std::move(one)] { serve(one.fd.get()); });
    });
  }
  ~small_server() {
    stop_ = true;
    acceptor_.reset();
    for (auto& one : threads_)
      one.join();
  }

private:
  void serve(int fd) {
    frame_reader reader;
    char buffer[4096];
    while (!stop_) {
      pollfd wait{fd, POLLIN, 0};
      if (::poll(&wait, 1, 10) <= 0)
        continue;
      auto got = ::recv(fd, buffer, sizeof(buffer), 0);
      if (got <= 0)
        return;
      auto fed = reader.feed({buffer, static_cast<std::size_t>(got)}, [&](std::string_view frame) {
        auto out = respond_(*parse_call(frame));
        return write_all(fd, out);
      });
      if (!fed || !*fed)
        return;
    }
  }

  bool write_all(int fd, std::string_view out) {
    while (!out.empty() && !stop_) {
      auto sent = ::send(fd, out.data(), out.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN)
        return false;
      if (sent < 0) {
        pollfd wait{fd, POLLOUT, 0};
        ::poll(&wait, 1, 10);
        continue;
      }
      out.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  answer respond_;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::unique_ptr<acceptor> acceptor_;
};

std::string echo(const call& what) {
  std::string out;
  if (what.member() == "Fail")
    append_error(out, application_error{errc::refused, "not_yours", "job 7 is someone else's"});
  else if (what.member() == "Stream") {
    append_continued_reply(out, R"({"n":1})");
    append_continued_reply(out, R"({"n":2})");
    append_reply(out, R"({"n":3})");
  } else {
    append_reply(out, what.parameters);
  }
  return out;
}

} // namespace

TEST_CASE("the acceptor hands out connections with the peer's credentials") {
  temporary_directory in;
  collector got;
  auto server = acceptor::listen({in.socket()}, got.handler());
  REQUIRE(server);
  auto connected = client::connect(in.socket(), 1s);
  REQUIRE(connected);
  REQUIRE(eventually([&] { return got.count == 1; }));
  const auto& one = got.connections.front();
  CHECK(one.peer.pid == ::getpid());
  CHECK(one.peer.uid == ::getuid());
  CHECK(one.peer.gid == ::getgid());
  CHECK(one.peer.pidfd);
  CHECK((::fcntl(one.fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(one.fd.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((*server)->open() == 1);
  got.connections.clear();
  CHECK((*server)->open() == 0);
}

TEST_CASE("the socket has the mode that was asked for and goes with its server") {
  temporary_directory in;
  collector got;
  for (auto access : {socket_access::owner_only, socket_access::everyone}) {
    auto server = acceptor::listen({in.socket(), access}, got.handler());
    REQUIRE(server);
    struct stat found {};
    REQUIRE(::stat(in.socket().c_str(), &found) == 0);
    CHECK((found.st_mode & 0777) == static_cast<mode_t>(access));
  }
  CHECK_FALSE(std::filesystem::exists(in.socket()));
}

TEST_CASE("a live server is never displaced, a dead one's socket is taken over") {
  temporary_directory in;
  collector got;
  auto child = ::fork();
  if (child == 0) {
    auto server = acceptor::listen({in.socket()}, [](accepted_connection) {});
    while (server)
      ::pause();
    ::_exit(1);
  }
  REQUIRE(eventually([&] { return client::connect(in.socket(), 1s).has_value(); }));
  auto second = acceptor::listen({in.socket()}, got.handler());
  REQUIRE_FALSE(second);
  CHECK(second.error().code == errc::conflict);
  CHECK(client::connect(in.socket(), 1s));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(std::filesystem::exists(in.socket()));
  CHECK(acceptor::listen({in.socket()}, got.handler()));
}

TEST_CASE("a server is not displaced even when its lock file was removed") {
  temporary_directory in;
  collector got;
  auto first = acceptor::listen({in.socket()}, got.handler());
  REQUIRE(first);
  std::filesystem::remove(in.socket() + ".lock");
  CHECK_FALSE(acceptor::listen({in.socket()}, got.handler()));
}

TEST_CASE("something that is no socket is left alone") {
  temporary_directory in;
  collector got;
  std::ofstream{in.socket()} << "precious";
  auto server = acceptor::listen({in.socket()}, got.handler());
  REQUIRE_FALSE(server);
  CHECK(server.error().text.find("not a socket") != std::string::npos);
  CHECK(std::filesystem::exists(in.socket()));
}

TEST_CASE("a socket path over the system's limit is an error that names it") {
  collector got;
  auto server = acceptor::listen({"/tmp/" + std::string(120, 'x')}, got.handler());
  REQUIRE_FALSE(server);
  CHECK(server.error().text.find("107") != std::string::npos);
  CHECK_FALSE(client::connect(std::string(200, 'x'), 1s));
}

TEST_CASE("connections over the bound are told so and counted, and room comes back") {
  temporary_directory in;
  collector got;
  auto server = acceptor::listen({in.socket(), socket_access::owner_only, 2}, got.handler());
  REQUIRE(server);
  auto first = client::connect(in.socket(), 1s);
  auto second = client::connect(in.socket(), 1s);
  REQUIRE(eventually([&] { return got.count == 2; }));
  auto third = client::connect(in.socket(), 1s);
  REQUIRE(third);
  auto answer = third->call("org.example.Echo", "{}");
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == errc::exhausted);
  CHECK((*server)->refused() == 1);
  got.connections.clear();
  auto fourth = client::connect(in.socket(), 1s);
  CHECK(eventually([&] { return got.count == 1; }));
}

TEST_CASE("a process without descriptors turns connections away and does not spin") {
  temporary_directory in;
  auto child = ::fork();
  if (child == 0) {
    collector got;
    rlimit few{32, 32};
    ::setrlimit(RLIMIT_NOFILE, &few);
    auto server = acceptor::listen({in.socket()}, got.handler());
    if (!server)
      ::_exit(10);
    eventually([&] { return (*server)->refused() > 0; });
    rusage before{};
    ::getrusage(RUSAGE_SELF, &before);
    // Nothing is awaited: this is how long the load is measured.
    ::poll(nullptr, 0, 300);
    rusage after{};
    ::getrusage(RUSAGE_SELF, &after);
    auto busy_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
                    before.ru_stime.tv_sec) *
                       1'000'000 +
                   after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
                   before.ru_stime.tv_usec;
    ::_exit((*server)->refused() == 0 ? 11 : busy_us > 150'000 ? 12 : 0);
  }
  REQUIRE(eventually([&] { return client::connect(in.socket(), 1s).has_value(); }));
  std::vector<expected<client>> many;
  for (int i = 0; i < 60; ++i)
    many.push_back(client::connect(in.socket(), 1s));
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a call gets its reply, an error its code and sentence") {
  temporary_directory in;
  small_server server{in.socket(), echo};
  auto to = client::connect(in.socket(), 1s);
  REQUIRE(to);
  CHECK(*to->call("org.example.Echo", R"({"a":1})") == R"({"a":1})");
  auto refused = to->call("org.example.Fail", "{}");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::refused);
  CHECK(refused.error().text == "job 7 is someone else's");
}

TEST_CASE("a stream ends with its last reply") {
  temporary_directory in;
  small_server server{in.socket(), echo};
  auto to = client::connect(in.socket(), 1s);
  std::vector<std::string> seen;
  REQUIRE(to->stream("org.example.Stream", "{}", [&](std::string_view one) {
    seen.emplace_back(one);
    return true;
  }));
  CHECK(seen == std::vector<std::string>{R"({"n":1})", R"({"n":2})", R"({"n":3})"});
  CHECK(to->call("org.example.Echo", "{}"));
}

TEST_CASE("pipelined calls larger than the sockets' buffers do not lock up") {
  temporary_directory in;
  small_server server{in.socket(), echo};
  auto to = client::connect(in.socket(), 1s);
  REQUIRE(to);
  auto large = "{\"text\":\"" + std::string(300'000, 'x') + "\"}";
  for (int i = 0; i < 20; ++i) {
    call one;
    one.method = "org.example.Echo";
    one.parameters = large;
    REQUIRE(to->send(one));
  }
  for (int i = 0; i < 20; ++i)
    REQUIRE(to->receive()->parameters.size() == large.size());
}

TEST_CASE("a wait ends by a reply, by the other descriptor, or by its time") {
  temporary_directory in;
  small_server server{in.socket(), echo};
  auto to = client::connect(in.socket(), 1s);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  unique_fd read_end{ends[0]};
  unique_fd write_end{ends[1]};
  CHECK(*to->wait_for(read_end.get(), 1ms) == client::event::timed_out);
  REQUIRE(::write(write_end.get(), "x", 1) == 1);
  CHECK(*to->wait_for(read_end.get(), 10s) == client::event::other_readable);
  call one;
  one.method = "org.example.Echo";
  REQUIRE(to->send(one));
  CHECK(*to->wait_for(-1, 10s) == client::event::reply);
  CHECK((*to->receive_within(0ms)).has_value());
  CHECK_FALSE((*to->receive_within(0ms)).has_value());
}

TEST_CASE("no server, and a server that goes, are unreachable") {
  temporary_directory in;
  auto none = client::connect(in.socket(), 100ms);
  REQUIRE_FALSE(none);
  CHECK(none.error().code == errc::unreachable);
  expected<client> to = fail(errc::unreachable, "not connected yet");
  {
    small_server server{in.socket(), echo};
    to = client::connect(in.socket(), 1s);
    REQUIRE(to->call("org.example.Echo", "{}"));
  }
  auto answer = to->call("org.example.Echo", "{}");
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == errc::unreachable);
}
