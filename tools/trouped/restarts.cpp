// SPDX-License-Identifier: Apache-2.0
#include "tools/trouped/restarts.hpp"

#include "runtime/state/locks.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace troupe::daemon {

namespace {

constexpr std::string_view variable = "TROUPED_RESTARTS="; ///< seconds since boot of each
constexpr std::size_t restarts_max = 5;
constexpr std::int64_t within_s = 60;

/// Made while there is time: a signal handler may not ask for memory.
struct preparation {
  char** argv = nullptr;
  const unique_fd* lock = nullptr;
  sigset_t signals{};
  std::array<std::int64_t, restarts_max> recent{};
  std::size_t count = 0;
  std::array<char, 256> text{};
  std::vector<char*> environment; ///< with `text` as its last
};

preparation& prepared() {
  static preparation all;
  return all;
}

std::int64_t seconds_since_boot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec;
}

void read_recent(preparation& to, std::string_view known) {
  const auto now = seconds_since_boot();
  const auto* at = known.data();
  const auto* const end = at + known.size();
  while (at < end && to.count < restarts_max) {
    std::int64_t when = 0;
    const auto read = std::from_chars(at, end, when);
    if (read.ec == std::errc{} && now - when < within_s)
      to.recent[to.count++] = when;
    at = std::max(read.ptr, at) + 1;
  }
}

void write_recent(preparation& from) {
  auto* at = std::copy(variable.begin(), variable.end(), from.text.data());
  auto* const end = from.text.data() + from.text.size() - 1;
  for (std::size_t i = 0; i < from.count; ++i) {
    at = std::to_chars(at, end, from.recent[i]).ptr;
    *at++ = ' ';
  }
  *at = '\0';
}

/// Drops what is too long ago; false when too many are left.
bool may_start_over(preparation& of) {
  const auto now = seconds_since_boot();
  auto* const first = of.recent.data();
  auto* const last = std::remove_if(first, first + of.count,
                                    [&](std::int64_t when) { return now - when >= within_s; });
  of.count = static_cast<std::size_t>(last - first);
  if (of.count == restarts_max)
    return false;
  of.recent[of.count++] = now;
  return true;
}

void say(std::string_view words) {
  (void)!::write(STDERR_FILENO, words.data(), words.size());
}

void on_defect(int signal) {
  static std::atomic_flag one = ATOMIC_FLAG_INIT;
  while (one.test_and_set())
    ::pause(); // another thread is at it, and ends this one
  say("trouped: a defect ended it (signal ");
  const char digits[] = {static_cast<char>('0' + signal / 10),
                         static_cast<char>('0' + signal % 10)};
  say({digits, sizeof digits});
  say("); starting over\n");
  start_over();
  say("trouped: failed too often; ended\n");
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

} // namespace

void prepare_to_start_over(char** argv, const unique_fd& lock) {
  auto& all = prepared();
  all.argv = argv;
  all.lock = &lock;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &all.signals);
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view entry{*each};
    if (entry.substr(0, variable.size()) == variable)
      read_recent(all, entry.substr(variable.size()));
    else
      all.environment.push_back(*each);
  }
  all.environment.push_back(all.text.data());
  all.environment.push_back(nullptr);
}

void start_over() {
  auto& all = prepared();
  if (!may_start_over(all))
    return;
  write_recent(all);
  state::keep_over_exec(*all.lock);
  ::pthread_sigmask(SIG_SETMASK, &all.signals, nullptr);
  ::execve("/proc/self/exe", all.argv, all.environment.data());
}

void start_over_on_defects() {
  struct sigaction action {};
  action.sa_handler = on_defect;
  sigfillset(&action.sa_mask);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
    ::sigaction(signal, &action, nullptr);
}

} // namespace troupe::daemon
