// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm/storm.hpp"

#include <cstdlib>
#include <iostream>

using namespace troupe;
using namespace troupe::test;

// See README.md. TROUPE_TEST_SEED repeats one storm; TROUPE_STORM_SECONDS is the time of all of
// them, TROUPE_STORM_TROUBLES the bits of `trouble` that may happen.

namespace {

unsigned number_from(const char* variable, unsigned otherwise) {
  const char* given = std::getenv(variable);
  return given == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(given, nullptr, 0));
}

constexpr unsigned short_seconds = 150, long_seconds = 3600;
constexpr std::chrono::seconds one_storm{25}, one_long_storm{60};

/// One cluster, one storm.
bool passes(const storm::plan& how) {
  storm::storm it{how};
  std::cout << "storm: TROUPE_TEST_SEED=" << how.seed << (how.preempts ? ", with preemption" : "")
            << std::endl;
  if (it.run()) {
    std::cout << "  " << it.summary() << std::endl;
    return true;
  }
  // The cluster's destructor leaves what can be looked at.
  ::setenv("TROUPE_TEST_KEEP", "1", 1);
  it.keep();
  FAIL_CHECK(it.report() << "again: TROUPE_TEST_SEED=" << how.seed
                         << " build/tests/storm_test\nkept: " << it.folder());
  return false;
}

} // namespace

TEST_CASE("a cluster in a storm keeps all that it has promised") {
  const auto repeats = std::getenv("TROUPE_TEST_SEED") != nullptr;
  auto seed = number_from("TROUPE_TEST_SEED", std::random_device{}());
  const auto seconds =
      number_from("TROUPE_STORM_SECONDS", long_test() ? long_seconds : short_seconds);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{seconds};
  do {
    storm::plan how;
    how.seed = seed;
    how.time = long_test() ? one_long_storm : one_storm;
    how.troubles = number_from("TROUPE_STORM_TROUBLES", storm::all_troubles);
    how.preempts = seed % 3 == 0;
    how.small_disk = seed % 2 == 0;
    if (!passes(how))
      return;
    ++seed;
  } while (!repeats && std::chrono::steady_clock::now() < end);
}
