// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdlib>
#include <thread>

namespace troupe::test {

/// Looks at `condition` every millisecond until it holds; false when `deadline` passes first.
/// The one place in tests that lets time pass: everything else waits for something by this.
template <class Condition>
bool eventually(Condition condition,
                std::chrono::milliseconds deadline = std::chrono::seconds{10}) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end)
      return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

/// Whether there is time for more: `./check --long`, which sets TROUPE_TEST_LONG=1.
inline bool long_test() {
  const char* asked = std::getenv("TROUPE_TEST_LONG");
  return asked != nullptr && *asked != '\0' && *asked != '0';
}

} // namespace troupe::test
