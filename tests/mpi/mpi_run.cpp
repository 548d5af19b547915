// SPDX-License-Identifier: Apache-2.0
#include "tests/mpi/mpi_world.hpp"

#include <cstdio>
#include <cstring>

// Runs one MPI program over virtual nodes of this machine without a cluster, for people who look
// into a failure and for measurements: mpi_run [--pmi1] NODES RANKS-PER-NODE PROGRAM [ARGUMENT...]

int main(int argc, char** argv) {
  using namespace troupe::testing;
  const bool pmi1 = argc > 1 && std::strcmp(argv[1], "--pmi1") == 0;
  const int first = pmi1 ? 2 : 1;
  if (argc < first + 3) {
    std::fputs("mpi_run [--pmi1] NODES RANKS-PER-NODE PROGRAM [ARGUMENT...]\n", stderr);
    return 2;
  }
  const auto nodes = static_cast<std::uint32_t>(std::stoul(argv[first]));
  step_wish wish;
  wish.ranks_per_node.assign(nodes, static_cast<std::uint32_t>(std::stoul(argv[first + 1])));
  wish.argv.assign(argv + first + 2, argv + argc);
  if (pmi1)
    wish.mpi = troupe::shepherd::mpi_kind::pmi1;
  mpi_world world{nodes};
  const auto& step = world.run(wish);
  int worst = 0;
  for (const auto& [rank, record] : step.ranks) {
    std::fputs(world.output(step.about.step, rank).c_str(), stdout);
    worst = std::max(worst, record.signal != 0 ? 128 + record.signal : record.exit_code);
  }
  const bool ended = world.stop();
  for (std::uint32_t i = 0; i < nodes; ++i)
    if (!ended || worst != 0)
      std::fputs(world.shepherd_log(i).c_str(), stderr);
  for (const auto& each : world.failures)
    std::fprintf(stderr, "failure: %s\n", each.c_str());
  for (const auto& each : world.leftovers())
    std::fprintf(stderr, "left behind: %s\n", each.c_str());
  return worst;
}
