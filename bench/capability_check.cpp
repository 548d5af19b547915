// SPDX-License-Identifier: Apache-2.0
// capability_check: nanoseconds that a guard spends on a message whose capability was verified
// before: the clock, the verb, the time, revocation.
#include "auth/cluster_keys.hpp"
#include "auth/verifier.hpp"
#include "bench/stopwatch.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

using namespace troupe;
using namespace troupe::auth;

namespace {

constexpr int checks_per_round = 2'000'000;
constexpr int rounds = 7;

double ns_per_check(const verified_capability& cap, const clock_source& clock) {
  int allowed = 0;
  const bench::stopwatch watch;
  for (int i = 0; i < checks_per_round; ++i)
    allowed += cap.check(verb::ledger_write, clock.now()) ? 1 : 0;
  if (allowed != checks_per_round) {
    std::fprintf(stderr, "the capability was refused\n");
    std::exit(1);
  }
  return watch.seconds() * 1e9 / checks_per_round;
}

} // namespace

int main() {
  auto folder = (std::filesystem::temp_directory_path() / "troupe-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) {
    std::perror(folder.c_str());
    return 1;
  }
  auto keys = open_private_cluster_keys(folder + "/keys");
  std::filesystem::remove_all(folder);
  if (!keys) {
    std::fprintf(stderr, "%s\n", keys.error().text.c_str());
    return 1;
  }
  verifier_options options;
  options.cluster = keys->cluster;
  options.meant_for = *audience::parse("controller");
  verifier checks{options, keys->ring, std::make_shared<revocation_state>()};
  const coarse_clock_source clock;
  auto cap = checks.role_capability(actor_role::scheduler, {keys->key_id, &keys->signing}, 1000,
                                    1000, clock.read());
  if (!cap) {
    std::fprintf(stderr, "%s\n", cap.error().text.c_str());
    return 1;
  }
  std::vector<double> all;
  for (int i = 0; i < rounds; ++i)
    all.push_back(ns_per_check(*cap, clock));
  std::printf("%.1f\n", bench::quantile(all, 0.5));
}
