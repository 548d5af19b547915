// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/shepherd.hpp"

#include "base/thread.hpp"
#include "tools/shepherd/say.hpp"

#include <condition_variable>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <sodium.h>
#include <sys/signalfd.h>

namespace troupe::shepherd {

using namespace std::chrono_literals;

namespace {

constexpr auto finish_deadline = 1s;

unique_fd open_signals() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  (void)::sigprocmask(SIG_BLOCK, &wanted, nullptr); // before the library makes its threads
  return unique_fd{::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK)};
}

/// Unlike that of any other shepherd of this job.
std::uint64_t make_session() {
  std::uint64_t number = 0;
  while (number == 0)
    randombytes_buf(&number, sizeof number);
  return number;
}

/// The one place outside this process that reads its words: its standard error is nobody's.
std::function<void(const char*)> listener;

int milliseconds_until(steady::time_point when) {
  if (when == steady::time_point::max())
    return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - steady::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

} // namespace

void say(const char* format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  (void)std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "troupe-shepherd: %s\n", line);
  static bool is_telling = false; // what is said about the telling is not told
  if (!listener || is_telling)
    return;
  is_telling = true;
  listener(line);
  is_telling = false;
}

void hear_what_is_said(std::function<void(const char*)> what) {
  listener = std::move(what);
}

shepherd::shepherd(int agent_fd, int channel_fd)
    : session_{make_session()}, next_token_{(session_ & ~std::uint64_t{0xffffffff}) | 1},
      agent_{agent_fd, poll_, [this](to_shepherd frame) { take(std::move(frame)); }},
      channel_{channel_fd, poll_, [this](waiting_stub from) { take_stub(std::move(from)); }},
      peers_{session_,
             [this](relay part) {
               to_agent frame;
               frame.relay = std::move(part);
               agent_.send(frame);
             },
             [this](std::uint32_t node, peer_message message) {
               take_peer(node, std::move(message));
             }},
      collectives_{
          {[this](std::uint32_t node, const peer_message& message) { tell(node, message); },
           [this](const std::vector<process_name>& who) { return steps_.nodes_of(who); },
           PMIX_ERR_PROC_ABORTED, PMIX_ERR_NOT_FOUND, PMIX_ERR_TIMEOUT}},
      pmi1_{poll_, pmi1_functions()}, signals_{open_signals()} {
  hear_what_is_said([this](const char* words) {
    to_agent frame;
    frame.said.emplace().text = words;
    agent_.send(frame);
  });
  const bool watched = poll_.add(upcalls_.fd(), [this](std::uint32_t) { take_upcalls(); }) &&
                       poll_.add(signals_.get(), [this](std::uint32_t) { stopping_ = true; });
  if (!watched || !agent_.is_watched() || !channel_.is_watched())
    fail("what this shepherd needs cannot be watched: are the limits of descriptors reached?");
}

shepherd::~shepherd() {
  hear_what_is_said({});
}

int shepherd::run() {
  while (!stopping_) {
    auto due = std::min(
        {peers_.next_tick(), published_.next_tick(), collectives_.next_tick(), answers_due_});
    for (const auto& stub : parked_)
      due = std::min(due, stub.until);
    poll_.wait(milliseconds_until(due));
    const auto now = steady::now();
    peers_.tick(now);
    published_.tick(now);
    collectives_.tick(now);
    drop_old_stubs(now);
    give_up_asks(now);
    say_counts();
    if (agent_.is_stuck() || peers_.is_stuck())
      fail("nobody takes what this shepherd has to say: more than is allowed waits");
  }
  return exit_code_;
}

/// The library's end may hang (when its clients died in the middle of something): it gets a thread
/// of its own and a second.
void shepherd::finish() {
  struct end {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  if (server_) {
    auto state = std::make_shared<end>();
    auto* server = server_.release(); // without a thread for it, it ends with the process
    auto thread = make_thread("the library's end", [state, server] {
      delete server;
      const std::lock_guard lock{state->mutex};
      state->done = true;
      state->changed.notify_one();
    });
    if (thread)
      thread->detach();
    std::unique_lock lock{state->mutex};
    if (thread && !state->changed.wait_for(lock, finish_deadline, [&] { return state->done; }))
      say("the PMIx library did not end within a second");
  }
  shared_directory_.reset();
  directory_.reset();
}

} // namespace troupe::shepherd
