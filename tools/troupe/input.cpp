// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/input.hpp"

#include "base/thread.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <utility>

namespace troupe::cli {

namespace {

constexpr std::size_t piece_bytes = 64 * 1024;
constexpr int background_pause_ms = 500;
constexpr int return_pause_ms = 100;
constexpr int end_pause_ms = 200;
constexpr int later_end_pause_ms = 5000;
constexpr int quick_ends = 10;
constexpr terminal_size usual_size{24, 80};
constexpr std::uint8_t end_of_input = 4; ///< control-D, as terminals begin

bool in_the_background() {
  const auto group = ::tcgetpgrp(STDIN_FILENO); // -1: no terminal, or not ours to share
  return group >= 0 && group != ::getpgrp();
}

unique_fd watch_for_resizes() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return unique_fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
}

} // namespace

bool has_standard_input() {
  struct stat status {};
  if (::fstat(STDIN_FILENO, &status) != 0 || S_ISDIR(status.st_mode))
    return false;
  const bool is_null = S_ISCHR(status.st_mode) && status.st_rdev == ::makedev(1, 3);
  return !is_null;
}

terminal_size size_of_terminal() {
  winsize size{};
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row != 0 && size.ws_col != 0)
      return {size.ws_row, size.ws_col};
  return usual_size;
}

raw_terminal::raw_terminal() {
  termios now{};
  if (::tcgetattr(STDIN_FILENO, &now) != 0 || in_the_background())
    return;
  before_ = now;
  ::cfmakeraw(&now);
  (void)::tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
}

void raw_terminal::restore() {
  if (before_)
    (void)::tcsetattr(STDIN_FILENO, TCSADRAIN, &*before_);
  before_.reset();
}

input_sender::input_sender(const invocation& run, destination to)
    : run_{run}, to_{to}, stop_{::eventfd(0, EFD_CLOEXEC)}, resized_{to.has_terminal
                                                                         ? watch_for_resizes()
                                                                         : unique_fd{}} {
  // A read that comes too late, from the background, is to fail instead of stopping us.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTTIN);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

input_sender::~input_sender() {
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  if (thread_.joinable())
    thread_.join();
}

void input_sender::start() {
  auto made = make_thread("what is read for the job", [this] { work(); });
  if (made)
    thread_ = std::move(*made);
  else
    give_up(made.error());
}

void input_sender::work() {
  while (!over_) {
    auto what = next();
    if (!what || !send(*what))
      return;
  }
}

/// False when it is to stop.
bool input_sender::pause(int milliseconds) {
  pollfd stop{stop_.get(), POLLIN, 0};
  return ::poll(&stop, 1, milliseconds) == 0;
}

/// Waits for something to send; nothing when it is to stop.
std::optional<calls::write_input> input_sender::next() {
  calls::write_input what;
  what.job = to_.job;
  what.element = to_.element;
  what.step = to_.step;
  for (;;) {
    if (in_the_background()) {
      if (!pause(background_pause_ms))
        return std::nullopt;
      continue;
    }
    what.offset = offset_;
    if (to_.has_terminal && !std::exchange(size_told_, true)) {
      what.terminal = size_of_terminal(); // it may have changed while the job waited
      return what;
    }
    if (typing_ends_) {
      if (!pause(ends_typed_++ < quick_ends ? end_pause_ms : later_end_pause_ms))
        return std::nullopt;
      end(what);
      ++offset_;
      return what;
    }
    std::array<pollfd, 3> wait{
        {{stop_.get(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}, {resized_.get(), POLLIN, 0}}};
    if (::poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR)
      return std::nullopt;
    if (wait[0].revents != 0)
      return std::nullopt;
    signalfd_siginfo news{};
    if (wait[2].revents != 0 && ::read(resized_.get(), &news, sizeof news) > 0) {
      what.terminal = size_of_terminal();
      return what;
    }
    if (wait[1].revents == 0)
      continue;
    what.data.resize(piece_bytes);
    const auto count = ::read(STDIN_FILENO, what.data.data(), what.data.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN || errno == EIO)) {
      if (errno != EINTR && !pause(background_pause_ms))
        return std::nullopt;
      continue;
    }
    what.data.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    if (count <= 0)
      end(what);
    offset_ += what.data.size();
    return what;
  }
}

/// A terminal has no end but what one would type, again and again: each is the end of what reads
/// there just now, or of a line that has begun.
void input_sender::end(calls::write_input& what) {
  if (to_.has_terminal) {
    typing_ends_ = true;
    what.data.assign(1, end_of_input);
  } else {
    over_ = what.ends = true;
  }
}

/// False when nothing more is to be sent.
bool input_sender::send(const calls::write_input& what) {
  for (;;) {
    error why{errc::unreachable, {}};
    if (!session_) {
      if (auto opened = session::open_now(run_.capability))
        session_.emplace(std::move(*opened));
      else
        why = opened.error();
    }
    if (session_) {
      auto sent = session_->start_stream(what);
      auto happened = sent ? session_->wire().wait_for(stop_.get(), std::chrono::milliseconds{-1})
                           : tl::unexpected{sent.error()};
      if (happened && *happened == varlink::client::event::other_readable)
        return false;
      auto received = happened ? session_->wire().receive() : tl::unexpected{happened.error()};
      if (received && !received->failed) {
        auto answer = session::decode<calls::write_input::reply>(std::move(received->parameters));
        if (!answer)
          give_up(answer.error());
        return answer && !answer->value.closed;
      }
      why = received ? error{received->failed->code, received->failed->message} : received.error();
    }
    if (!come_back(why))
      return false;
  }
}

/// Another session after `why`, for as long as the job is followed here: true when it is worth
/// trying again.
bool input_sender::come_back(const error& why) {
  const bool again = why.code == errc::unreachable || why.code == errc::exhausted ||
                     (session_ && session_->capability_ended());
  if (!again) {
    give_up(why);
    return false;
  }
  session_.reset();
  return pause(return_pause_ms);
}

/// A job that lacks a part of its input must not go on as if that were all.
void input_sender::give_up(const error& why) {
  const auto id = format_id(to_.job) + (to_.step != 0 ? "." + std::to_string(to_.step) : "");
  notice(run_, cancel() ? why.text + "; " + id + " is cancelled, since it would lack input"
                        : why.text + "; " + id + " lacks input from here on: 'troupe cancel " + id +
                              "' ends it");
}

bool input_sender::cancel() {
  if (!session_) {
    auto opened = session::open_now(run_.capability);
    if (!opened)
      return false;
    session_.emplace(std::move(*opened));
  }
  const std::string reason = "its input could not be given";
  if (to_.step != 0)
    return session_->call(calls::signal_step{to_.job, to_.step, 0, reason}).has_value();
  calls::cancel over;
  over.selector.targets.push_back({to_.job, to_.job, {}});
  over.reason = reason;
  return session_->call(over).has_value();
}

} // namespace troupe::cli
