// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <filesystem>
#include <sstream>

// Programs that people run, on two nodes with two ranks each, against mpirun on this host.

using namespace troupe::test;

namespace {

constexpr const char* melt = "units lj\n"
                             "atom_style atomic\n"
                             "lattice fcc 0.8442\n"
                             "region box block 0 5 0 5 0 5\n"
                             "create_box 1 box\n"
                             "create_atoms 1 box\n"
                             "mass 1 1.0\n"
                             "velocity all create 3.0 87287 loop geom\n"
                             "pair_style lj/cut 2.5\n"
                             "pair_coeff 1 1 1.0 1.0 2.5\n"
                             "neighbor 0.3 bin\n"
                             "neigh_modify every 20 delay 0 check no\n"
                             "fix 1 all nve\n"
                             "thermo 20\n"
                             "run 60\n";

/// HPL of order 120 on a grid of two by two; the other parts of HPCC follow from it.
constexpr const char* hpcc_input =
    "HPCC\n\nHPL.out\n8\n1\n120\n1\n32\n0\n1\n2\n2\n16.0\n1\n2\n1\n4\n"
    "1\n2\n1\n1\n1\n1\n1\n1\n2\n64\n0\n0\n1\n8\n";

outcome mpirun(test_cluster& cluster, const words& command) {
  words all{"mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-n", "4"};
  all.insert(all.end(), command.begin(), command.end());
  return running_program{all, cluster.work(), cluster.environment()}.wait(240s);
}

/// The lines between two that begin so: what was computed, and no times.
std::string between(const std::string& text, const std::string& first, const std::string& last) {
  const auto begin = text.find(first);
  const auto end = text.find(last, begin == std::string::npos ? 0 : begin);
  return begin == std::string::npos || end == std::string::npos ? std::string{}
                                                                : text.substr(begin, end - begin);
}

/// Lines of HPCC's summary that say whether its parts were right.
std::vector<std::string> verdicts(const std::string& text) {
  std::vector<std::string> found;
  for (const auto& line : lines_of(text))
    if (line.starts_with("Success=") || line.starts_with("CommWorldProcs=") ||
        line.find("_Errors=") != std::string::npos || line.starts_with("HPL_N=") ||
        line.find("tests completed and") != std::string::npos)
      found.push_back(line);
  return found;
}

} // namespace

TEST_CASE("LAMMPS computes the same melt as under mpirun, to the last digit") {
  test_cluster cluster{{2, 2, {}, {}}};
  cluster.write("in.melt", melt);
  const words command{"lmp", "-in", "in.melt", "-log", "none"};
  const auto theirs = mpirun(cluster, command);
  words run{"run", "-N", "2", "-n", "4"};
  run.insert(run.end(), command.begin(), command.end());
  const auto ours = cluster.troupe(run, 240s);
  INFO(ours.out << ours.err);
  REQUIRE(theirs.exit == 0);
  REQUIRE(ours.exit == 0);
  CHECK(ours.out.find("1 by 2 by 2 MPI processor grid") != std::string::npos);
  const auto table = between(ours.out, "Step Temp", "Loop time");
  CHECK(lines_of(table).size() == 5);
  CHECK(table == between(theirs.out, "Step Temp", "Loop time"));
}

TEST_CASE("HPCC passes all its checks, as under mpirun") {
  test_cluster cluster{{2, 2, {}, {}}};
  cluster.write("hpccinf.txt", hpcc_input);
  const auto theirs = mpirun(cluster, {"hpcc"});
  const auto their_words = cluster.file("hpccoutf.txt");
  std::filesystem::remove(cluster.path("hpccoutf.txt"));
  const auto ours = cluster.troupe({"run", "-N", "2", "-n", "4", "hpcc"}, 300s);
  INFO(ours.out << ours.err);
  REQUIRE(theirs.exit == 0);
  REQUIRE(ours.exit == 0);
  const auto found = verdicts(cluster.file("hpccoutf.txt"));
  CHECK(found == verdicts(their_words));
  CHECK(std::count(found.begin(), found.end(), "CommWorldProcs=4") == 1);
  CHECK(std::count(found.begin(), found.end(), "Success=1") == 1);
}
