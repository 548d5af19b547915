// SPDX-License-Identifier: Apache-2.0
// The program `troupe` itself, against a server that speaks the cluster's protocol from a script:
// what the cluster does is decided here, so that its end of a conversation can be told exactly.
#include "auth/capability.hpp"
#include "auth/domain.hpp"
#include "auth/job_request.hpp"
#include "auth/seal.hpp"
#include "messages/calls.hpp"
#include "messages/exec.hpp"
#include "messages/json.hpp"
#include "runtime/varlink/acceptor.hpp"
#include "runtime/varlink/envelope.hpp"
#include "runtime/varlink/frame_reader.hpp"
#include "tests/catch.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <deque>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <mutex>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

template <class Condition>
bool eventually(Condition holds) {
  for (auto until = std::chrono::steady_clock::now() + 20s;
       std::chrono::steady_clock::now() < until; ::poll(nullptr, 0, 2))
    if (holds())
      return true;
  return holds();
}

struct place {
  place() {
    char pattern[] = "/tmp/troupe-program-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    path = pattern;
  }
  ~place() { std::filesystem::remove_all(path); }
  std::string socket() const { return path + "/socket"; }
  std::string path;
};

/// One connection of the scripted cluster: it checks who speaks, then does what its script says.
class conversation {
public:
  using script = std::function<void(conversation&, const varlink::call&)>;

  conversation(int fd, const std::atomic<bool>& stop, script act)
      : fd_{fd}, stop_{stop}, act_{std::move(act)} {}

  void serve() {
    varlink::frame_reader reader;
    std::vector<char> buffer(64 * 1024);
    while (!stop_ && !closed_) {
      pollfd wait{fd_, POLLIN, 0};
      if (::poll(&wait, 1, 5) <= 0)
        continue;
      auto got = ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (got <= 0)
        return;
      auto fed = reader.feed({buffer.data(), static_cast<std::size_t>(got)},
                             [&](std::string_view frame) { return take(frame); });
      if (!fed)
        return;
    }
  }

  template <class Reply>
  void answer(const Reply& reply) {
    std::string out;
    varlink::append_reply(out, to_json_text(reply, visibility::operator_));
    send(out);
  }

  template <class Reply>
  void answer_part(const Reply& reply) {
    std::string out;
    varlink::append_continued_reply(out, to_json_text(reply, visibility::operator_));
    send(out);
  }

  void refuse(errc code, const std::string& message) {
    std::string out;
    varlink::append_error(out, varlink::application_error{code, "", message});
    send(out);
  }

  void hang_up() {
    closed_ = true;
    ::shutdown(fd_, SHUT_RDWR);
  }

  const auth::public_key& holder() const { return holder_; }
  static constexpr auth::cluster_id cluster{7};

private:
  bool take(std::string_view frame) {
    auto call = varlink::parse_call(frame);
    if (!call)
      return false;
    if (call->method == calls::hello::method)
      greet(*from_json_text<calls::hello>(call->parameters));
    else if (call->method == calls::present::method)
      admit(*from_json_text<calls::present>(call->parameters));
    else
      act_(*this, *call);
    return true;
  }

  void greet(const calls::hello& from) {
    holder_ = from.holder;
    client_nonce_ = from.nonce;
    calls::hello::reply reply;
    reply.cluster = "scripted";
    reply.cluster_id = cluster;
    reply.nonce = nonce_ = auth::random_bytes<32>();
    reply.audience = auth::audience::parse("controller")->bytes();
    reply.capability = capability_ = {1, 2, 3};
    answer(reply);
  }

  void admit(const calls::present& from) {
    std::vector<std::uint8_t> body(auth::domain::proof.begin(), auth::domain::proof.end());
    auto append = [&](const auto& bytes) { body.insert(body.end(), bytes.begin(), bytes.end()); };
    body.push_back(0);
    append(nonce_);
    append(client_nonce_);
    append(auth::audience::parse("controller")->bytes());
    append(auth::chain_digest(capability_));
    bool proven = from.proof.size() == 64 && from.chain.size() == 1 &&
                  from.chain[0] == capability_ &&
                  ::crypto_sign_verify_detached(from.proof.data(), body.data(), body.size(),
                                                holder_.data()) == 0;
    if (!proven)
      return refuse(errc::refused, "the holder's proof is wrong");
    answer(calls::present::reply{::getuid(), "user", 0});
  }

  void send(std::string_view out) {
    while (!out.empty() && !stop_) {
      auto sent = ::send(fd_, out.data(), out.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN)
        return;
      if (sent < 0)
        ::poll(nullptr, 0, 1);
      else
        out.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  int fd_;
  const std::atomic<bool>& stop_;
  script act_;
  bool closed_ = false;
  auth::public_key holder_{};
  fixed_bytes<32> nonce_{};
  fixed_bytes<32> client_nonce_{};
  std::vector<std::uint8_t> capability_;
};

class scripted_cluster {
public:
  scripted_cluster(const std::string& path, conversation::script act) {
    acceptor_ = *varlink::acceptor::listen({path}, [this, act](varlink::accepted_connection one) {
      std::lock_guard guard{mutex_};
      threads_.emplace_back([this, act, fd = std::make_shared<unique_fd>(std::move(one.fd))] {
        conversation{fd->get(), stop_, act}.serve();
      });
    });
  }
  ~scripted_cluster() {
    acceptor_.reset();
    stop_ = true;
    for (auto& one : threads_)
      one.join();
  }

private:
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::deque<std::thread> threads_;
  std::unique_ptr<varlink::acceptor> acceptor_;
};

/// The program, running; its output collected when it has ended.
class program {
public:
  program(const place& in, std::vector<std::string> words)
      : out_{in.path + "/out"}, err_{in.path + "/err"} {
    words.insert(words.begin(), TROUPE_PROGRAM);
    std::vector<char*> raw;
    for (auto& word : words)
      raw.push_back(word.data());
    raw.push_back(nullptr);
    auto socket = "TROUPE_SOCKET=" + in.socket();
    std::vector<char*> environment{socket.data(), nullptr};
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::posix_spawn_file_actions_addopen(&files, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(::posix_spawn(&pid_, raw[0], &files, nullptr, raw.data(), environment.data()) == 0);
    ::posix_spawn_file_actions_destroy(&files);
  }

  int exit_code() {
    int status = -1;
    bool ended = eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
    if (!ended)
      ::kill(pid_, SIGKILL);
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  void signal(int number) const { ::kill(pid_, number); }
  std::string output() const { return text_of(out_); }
  std::string errors() const { return text_of(err_); }

private:
  static std::string text_of(const std::string& path) {
    std::string text(64 * 1024, '\0');
    unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    auto got = ::read(file.get(), text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }

  std::string out_;
  std::string err_;
  pid_t pid_ = 0;
};

calls::follow::reply state_of(job_state state) {
  calls::follow::reply reply;
  reply.state.emplace();
  reply.state->state = state;
  return reply;
}

calls::follow::reply output_of(std::uint64_t offset, std::string_view text,
                               bool error_stream = false) {
  calls::follow::reply reply;
  reply.output.emplace();
  reply.output->offset = offset;
  reply.output->error_stream = error_stream;
  reply.output->data.assign(text.begin(), text.end());
  return reply;
}

calls::follow::reply end_of(job_state state, int code, int signal) {
  calls::follow::reply reply;
  reply.end = exit_report{state, code, signal, ""};
  return reply;
}

calls::submit::reply taken(job_id job) {
  calls::submit::reply reply;
  reply.jobs.push_back({job, {}, {}});
  return reply;
}

} // namespace

TEST_CASE("run sends a signed request, streams output and exits with the job's exit code") {
  place in;
  std::atomic<bool> request_good = false;
  scripted_cluster cluster{in.socket(), [&](conversation& to, const varlink::call& call) {
                             if (call.method == calls::submit::method) {
                               auto asked = from_json_text<calls::submit>(call.parameters);
                               const auto& job = asked->jobs.at(0);
                               const auto& request = asked->requests.at(0);
                               auto decoded = auth::decode_job_request(request.body);
                               auth::seal_cache cache;
                               request_good =
                                   decoded && decoded->spec_digest == spec_digest(job) &&
                                   decoded->uid == ::getuid() &&
                                   decoded->cluster == conversation::cluster && job.attached &&
                                   job.stdout_path == "|" &&
                                   auth::verify_seal_bytes(auth::domain::request, request.seal,
                                                           request.body, to.holder(), cache)
                                       .has_value();
                               return to.answer(taken(7));
                             }
                             to.answer_part(state_of(job_state::running));
                             to.answer_part(output_of(0, std::string{"a\0\xff", 3}));
                             to.answer_part(output_of(0, "oops\n", true));
                             to.answer_part(output_of(3, "b\n"));
                             to.answer(end_of(job_state::failed, 3, 0));
                           }};
  program troupe{in, {"run", "--cwd", "/", "true"}};
  CHECK(troupe.exit_code() == 3);
  CHECK(request_good);
  CHECK(troupe.output() == std::string{"a\0\xff"
                                       "b\n",
                                       5});
  CHECK(troupe.errors() == "oops\n");
}

TEST_CASE("a job ended by a signal gives 128 and its number") {
  place in;
  scripted_cluster cluster{in.socket(), [&](conversation& to, const varlink::call& call) {
                             if (call.method == calls::submit::method)
                               return to.answer(taken(7));
                             to.answer(end_of(job_state::failed, 0, SIGSEGV));
                           }};
  CHECK(program{in, {"run", "true"}}.exit_code() == 128 + SIGSEGV);
}

TEST_CASE("run goes on from the byte it had when the cluster comes back") {
  place in;
  auto submit_or = [](auto follow) {
    return [follow](conversation& to, const varlink::call& call) {
      if (call.method == calls::submit::method)
        return to.answer(taken(7));
      follow(to, *from_json_text<calls::follow>(call.parameters));
    };
  };
  std::atomic<bool> told = false;
  auto first = std::make_unique<scripted_cluster>(
      in.socket(), submit_or([&](conversation& to, const calls::follow&) {
        to.answer_part(state_of(job_state::running));
        to.answer_part(output_of(0, "one\n"));
        told = true;
      }));
  program troupe{in, {"run", "true"}};
  REQUIRE(eventually([&] { return told && troupe.output() == "one\n"; }));
  first.reset();
  std::atomic<std::uint64_t> offset = 0;
  scripted_cluster second{in.socket(), submit_or([&](conversation& to, const calls::follow& call) {
                            offset = call.from.empty() ? 0 : call.from[0].offset;
                            to.answer_part(output_of(4, "two\n"));
                            to.answer(end_of(job_state::completed, 0, 0));
                          })};
  CHECK(troupe.exit_code() == 0);
  CHECK(offset == 4);
  CHECK(troupe.output() == "one\ntwo\n");
  auto notices = troupe.errors();
  CHECK(std::count(notices.begin(), notices.end(), '\n') == 1);
}

TEST_CASE("signals go to the job, and a second interrupt cancels it") {
  place in;
  std::atomic<bool> running = false;
  std::atomic<int> last_signal = 0;
  std::atomic<bool> cancelled = false;
  std::mutex mutex;
  conversation* follower = nullptr;
  scripted_cluster cluster{in.socket(), [&](conversation& to, const varlink::call& call) {
                             if (call.method == calls::submit::method)
                               return to.answer(taken(7));
                             if (call.method == calls::follow::method) {
                               std::lock_guard guard{mutex};
                               follower = &to;
                               to.answer_part(state_of(job_state::running));
                               to.answer_part(output_of(0, "x"));
                               running = true;
                               return;
                             }
                             if (call.method == calls::signal::method) {
                               last_signal = from_json_text<calls::signal>(call.parameters)->number;
                               return to.answer(calls::change_reply{1, 1, {}});
                             }
                             cancelled = call.method == calls::cancel::method;
                             to.answer(calls::change_reply{1, 1, {}});
                             std::lock_guard guard{mutex};
                             follower->answer(end_of(job_state::cancelled, 0, SIGTERM));
                           }};
  program troupe{in, {"run", "sleep"}};
  REQUIRE(eventually([&] { return running && troupe.output() == "x"; }));
  troupe.signal(SIGUSR1);
  CHECK(eventually([&] { return last_signal == SIGUSR1; }));
  troupe.signal(SIGINT);
  CHECK(eventually([&] { return last_signal == SIGINT; }));
  CHECK_FALSE(cancelled);
  troupe.signal(SIGINT);
  CHECK(troupe.exit_code() == 128 + SIGTERM);
  CHECK(cancelled);
  CHECK(troupe.errors() == "troupe run: job 7 was cancelled\n");
}

TEST_CASE("an interrupt while the job waits cancels it") {
  place in;
  std::atomic<bool> following = false;
  std::atomic<conversation*> follower = nullptr;
  scripted_cluster cluster{
      in.socket(), [&](conversation& to, const varlink::call& call) {
        if (call.method == calls::submit::method)
          return to.answer(taken(7));
        if (call.method == calls::follow::method) {
          follower = &to;
          following = true;
          return;
        }
        to.answer(calls::change_reply{1, call.method == calls::cancel::method ? 1u : 0u, {}});
        follower.load()->answer(end_of(job_state::cancelled, 0, 0));
      }};
  program troupe{in, {"run", "sleep"}};
  REQUIRE(eventually([&] { return following.load(); }));
  troupe.signal(SIGTERM);
  CHECK(troupe.exit_code() == 1);
}

TEST_CASE("submit prints the id alone, a refusal is one line and exit code 1") {
  place in;
  std::atomic<bool> refuse = false;
  scripted_cluster cluster{
      in.socket(), [&](conversation& to, const varlink::call&) {
        if (!refuse)
          return to.answer(taken(812));
        calls::submit::reply reply;
        reply.jobs.push_back(
            {0, calls::failure{"invalid", "64 cores are asked for; the cluster has 2"}, {}});
        to.answer(reply);
      }};
  program good{in, {"submit", "true"}};
  CHECK(good.exit_code() == 0);
  CHECK(good.output() == "812\n");
  refuse = true;
  program bad{in, {"submit", "-c", "64", "true"}};
  CHECK(bad.exit_code() == 1);
  CHECK(bad.output().empty());
  CHECK(bad.errors() == "troupe submit: 64 cores are asked for; the cluster has 2\n");
}

TEST_CASE("wait tells each end and is 0 only when all completed") {
  place in;
  scripted_cluster cluster{
      in.socket(), [&](conversation& to, const varlink::call&) {
        calls::wait::reply reply;
        reply.ends.push_back({1, no_element, exit_report{job_state::completed, 0, 0, ""}});
        reply.ends.push_back({2, 4, exit_report{job_state::failed, 2, 0, ""}});
        to.answer(reply);
      }};
  program troupe{in, {"wait", "1", "2_4"}};
  CHECK(troupe.exit_code() == 1);
  CHECK(troupe.output() == "1 completed\n2_4 failed, exit code 2\n");
}

TEST_CASE("a queue in pieces is one table and one JSON document") {
  place in;
  scripted_cluster cluster{in.socket(), [&](conversation& to, const varlink::call&) {
                             calls::rows_reply first;
                             first.rows.resize(2);
                             first.rows[0].job = 1;
                             first.rows[1].job = 2;
                             calls::rows_reply second;
                             second.rows.resize(1);
                             second.rows[0].job = 3;
                             to.answer_part(first);
                             to.answer(second);
                           }};
  program people{in, {"queue"}};
  CHECK(people.exit_code() == 0);
  auto text = people.output();
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);
  program machine{in, {"queue", "--json"}};
  CHECK(machine.exit_code() == 0);
  auto document = from_json_text<calls::rows_reply>(machine.output());
  REQUIRE(document);
  CHECK(document->rows.size() == 3);
}

TEST_CASE("a cluster that refuses the session is told in one line") {
  place in;
  auto server = varlink::acceptor::listen({in.socket(), varlink::socket_access::owner_only, 0},
                                          [](varlink::accepted_connection) {});
  REQUIRE(server);
  program troupe{in, {"nodes"}};
  CHECK(troupe.exit_code() == 1);
  CHECK(troupe.errors() ==
        "troupe nodes: the cluster has no room for another connection; try again later\n");
}
