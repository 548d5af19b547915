// SPDX-License-Identifier: Apache-2.0
// workload_log JOBS PROCESSORS [LOAD]: writes a log in the Standard Workload Format to standard
// output, always the same one. Its shape follows what is known of real logs (Lublin and Feitelson,
// "The workload on parallel supercomputers", 2003): sizes spread over the powers of two, two
// populations of run times, more arrivals by day than by night, requests rounded up to what people
// write. LOAD (0.9) is the share of the machine that the jobs ask for.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numbers>
#include <vector>

namespace {

class generator {
public:
  /// splitmix64, as a share from 0 to 1.
  double share() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }
  double normal() {
    return std::sqrt(-2 * std::log(1 - share())) * std::cos(2 * std::numbers::pi * share());
  }

private:
  std::uint64_t state_ = 295540;
};

struct job {
  std::int64_t run = 0, request = 0;
  std::uint32_t processors = 1;
  int user = 0;
};

constexpr std::array<std::int64_t, 12> limits_s{300,   600,   1800,  3600,  7200,  14400,
                                                21600, 28800, 43200, 57600, 64800, 86400};

job make_job(generator& random, std::uint32_t machine) {
  job made;
  if (random.share() > 0.24) { // else serial
    auto power = random.share() * std::log2(machine / 4.0);
    made.processors = random.share() < 0.75 ? 1u << static_cast<int>(power)
                                            : static_cast<std::uint32_t>(std::exp2(power));
  }
  auto small = random.share() < 0.65;
  auto run = std::exp((small ? 4.2 : 8.6) + (small ? 1.6 : 1.1) * random.normal());
  made.run = std::clamp<std::int64_t>(static_cast<std::int64_t>(run), 1, limits_s.back());
  auto asked =
      static_cast<double>(made.run) / (random.share() < 0.15 ? 1 : 0.05 + 0.95 * random.share());
  made.request = *std::find_if(limits_s.begin(), limits_s.end() - 1, [&](std::int64_t limit) {
    return static_cast<double>(limit) >= asked;
  });
  made.user = static_cast<int>(std::exp(random.share() * std::log(600.0)));
  return made;
}

/// Time between two arrivals, relative to the mean, at an hour of the day.
double gap(generator& random, double hour) {
  auto activity = 1 - 0.7 * std::cos((hour - 3) / 24 * 2 * std::numbers::pi);
  return -std::log(1 - random.share()) / activity;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: workload_log JOBS PROCESSORS [LOAD]\n");
    return 2;
  }
  auto count = std::strtoull(argv[1], nullptr, 10);
  auto machine = static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10));
  auto load = argc > 3 ? std::strtod(argv[3], nullptr) : 0.9;
  generator random;
  std::vector<job> jobs(count);
  double work = 0;
  for (auto& one : jobs) {
    one = make_job(random, machine);
    work += static_cast<double>(one.run) * one.processors;
  }
  auto mean_gap = work / load / machine / static_cast<double>(count);
  std::printf("; MaxProcs: %u\n; MaxJobs: %llu\n", machine, count);
  double at = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const auto& one = jobs[i];
    std::printf("%zu %lld -1 %lld %u -1 -1 %u %lld -1 1 %d 1 -1 1 -1 -1 -1\n", i + 1,
                static_cast<long long>(at), static_cast<long long>(one.run), one.processors,
                one.processors, static_cast<long long>(one.request), one.user);
    at += mean_gap * gap(random, std::fmod(at / 3600, 24));
  }
}
