// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <system_error>
#include <thread>
#include <utility>

namespace troupe {

/// A thread that runs `work`, or why there is none (errc::exhausted: the system's or the user's
/// limit of processes). `name` says in that sentence what the thread is for. Every thread of
/// Troupe's own is made here: std::thread's constructor throws, which nobody is ready for.
template <class F>
expected<std::thread> make_thread(const char* name, F&& work) {
  try {
    return std::thread{std::forward<F>(work)};
  } catch (const std::system_error& why) {
    return fail(errc::exhausted, std::string{"cannot make the thread of "} + name + ": " +
                                     why.code().message() +
                                     "; is the limit of processes (ulimit -u) reached?");
  }
}

} // namespace troupe
