// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"

#include <csignal>
#include <optional>
#include <span>
#include <sys/signalfd.h>
#include <unistd.h>

// Signals that are read where they can be answered, instead of ending the program anywhere.

namespace troupe::cli {

/// From now on they wait to be read. `before`: the signals that were blocked until now.
inline unique_fd take_over_signals(std::span<const int> numbers, sigset_t* before = nullptr) {
  sigset_t set;
  sigemptyset(&set);
  for (auto number : numbers)
    sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, before);
  return unique_fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
}

/// The next one that has come, if any has.
inline std::optional<int> next_signal(const unique_fd& from) {
  signalfd_siginfo info{};
  if (::read(from.get(), &info, sizeof(info)) != static_cast<ssize_t>(sizeof(info)))
    return {};
  return static_cast<int>(info.ssi_signo);
}

} // namespace troupe::cli
