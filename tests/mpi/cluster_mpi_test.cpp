// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <regex>
#include <unistd.h>

// MPI programs through the whole of Troupe, as a user starts them: troupe run, and nothing else.

using namespace troupe::test;

namespace {

namespace fs = std::filesystem;

std::string program(const std::string& name) {
  return std::string{TROUPE_MPI_PROGRAMS} + "/" + name;
}

/// Directories and shared memory of jobs of this cluster that are still there.
std::vector<std::string> left_behind() {
  std::vector<std::string> found;
  std::error_code none;
  const auto own = "troupe-" + std::to_string(::getuid());
  for (const auto* base : {"/tmp/", "/dev/shm/"})
    for (const auto& entry : fs::directory_iterator{base + own, none})
      found.push_back(entry.path());
  return found;
}

void check_ranks(const outcome& ran, int ranks) {
  INFO(ran.out << ran.err);
  CHECK(ran.exit == 0);
  const auto lines = lines_of(ran.out);
  for (int rank = 0; rank < ranks; ++rank) {
    const auto begin = "rank " + std::to_string(rank) + " of " + std::to_string(ranks) + ",";
    CHECK(std::count_if(lines.begin(), lines.end(),
                        [&](const std::string& line) { return line.starts_with(begin); }) == 1);
  }
}

/// The shepherds of this cluster: children of its launcher.
std::vector<pid_t> shepherds_of(const test_cluster& cluster) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator{"/proc"}) {
    const auto pid = std::atoi(entry.path().filename().c_str());
    const auto stat = pid > 0 ? read_file(entry.path().string() + "/stat") : std::string{};
    const auto after = stat.rfind(')');
    if (after == std::string::npos || stat.find("(troupe-shepherd") == std::string::npos)
      continue;
    if (std::atoi(stat.c_str() + after + 4) == cluster.launcher())
      found.push_back(pid);
  }
  return found;
}

} // namespace

TEST_CASE("MPI programs run as they are, within a node and across nodes") {
  test_cluster cluster{{4, 4, {}, {}}};
  const auto before = left_behind();
  for (const std::string kind : {"openmpi", "mpich"}) {
    INFO(kind);
    check_ranks(cluster.troupe({"run", "-n", "2", program("hello." + kind)}), 2);
    check_ranks(cluster.troupe({"run", "-N", "2", "-n", "4", program("hello." + kind)}), 4);
    check_ranks(cluster.troupe({"run", "-N", "4", "-n", "10", program("hello." + kind)}), 10);
    CHECK(cluster.troupe({"run", "-N", "2", "-n", "4", program("ring." + kind)}).exit == 0);
  }
  CHECK(shepherds_of(cluster).empty());
  CHECK(left_behind() == before);
}

TEST_CASE("ranks that did not find each other are never taken for an MPI job silently") {
  test_cluster cluster{{1, 4, {}, {}}};
  const auto plain = cluster.troupe({"run", "-n", "2", "--mpi", "pmix", "true"});
  CHECK(plain.exit == 0);
  CHECK(plain.err.find("none of its 2 ranks called MPI_Init") != std::string::npos);
  const auto alone = cluster.troupe({"run", "-n", "2", "--mpi", "none", program("hello.openmpi")});
  CHECK(alone.exit == 0);
  CHECK(alone.out.find("rank 0 of 1,") != std::string::npos);
  CHECK(cluster.troupe({"run", "--mpi", "magic", "true"}).exit == 2);
  cluster.write("script.sh", "#!/bin/sh\ntrue\n", 0755);
  const auto script = cluster.troupe({"submit", "--mpi", "pmix", "./script.sh"});
  CHECK(script.exit == 1);
  CHECK(script.err.find("cannot be a script") != std::string::npos);
  const auto missing = cluster.troupe({"run", "-n", "2", "--mpi", "pmix", "not-there-at-all"});
  CHECK(missing.exit == 127);
}

TEST_CASE("what cannot run as an MPI job is refused or told, and leaves nothing") {
  test_cluster cluster{{1, 2, {}, {}}};
  const auto before = left_behind();
  cluster.write("no-program", "text\n");
  const auto closed = cluster.troupe({"run", "-n", "2", "--mpi", "pmix", "./no-program"});
  CHECK(closed.exit == 1);
  CHECK(closed.err.find("./no-program is neither a program nor a script") != std::string::npos);
  const auto missing = cluster.troupe({"run", "-n", "2", "--mpi", "pmi1", "./not-there"});
  CHECK(missing.exit == 1);
  CHECK(missing.err.find("cannot read ./not-there") != std::string::npos);
  // Linked with nothing that is known: no MPI job, and nothing of one in its environment.
  const auto plain = cluster.troupe({"run", "-n", "2", "env"});
  CHECK(plain.exit == 0);
  CHECK(plain.out.find("PMI") == std::string::npos);
  const auto many = cluster.troupe({"run", "-N", "1", "-n", "3", program("hello.openmpi")});
  INFO(many.err);
  CHECK(many.exit == 1);
  CHECK(many.err.find("core") != std::string::npos);
  CHECK(shepherds_of(cluster).empty());
  CHECK(cluster.job_processes().empty());
  CHECK(left_behind() == before);
}

TEST_CASE("ranks that take no notice of SIGTERM are ended when their time of grace is over") {
  test_cluster cluster{{2, 2, {}, {}}};
  const auto before = left_behind();
  const auto id = cluster.submit({"-N", "2", "-n", "4", "--grace", "1s", "-o", "out",
                                  program("waits.openmpi"), cluster.path("never"), "deaf"});
  REQUIRE(eventually([&] { return lines_of(cluster.file("out")).size() == 4; }));
  CHECK(cluster.troupe({"cancel", id}).exit == 0);
  CHECK(cluster.reaches(id, "cancelled"));
  CHECK(cluster.row_of(id)["signal"] == SIGKILL);
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  CHECK(eventually([&] { return left_behind() == before; }));
}

TEST_CASE("an abort's code, and the signal that ended a rank, are the job's end everywhere") {
  test_cluster cluster{{2, 4, {}, {}}};
  const auto before = left_behind();
  for (const std::string kind : {"openmpi", "mpich"}) {
    INFO(kind);
    const auto aborted =
        cluster.troupe({"run", "-N", "2", "-n", "4", program("ends_badly." + kind), "abort", "1"});
    INFO(aborted.out << aborted.err);
    CHECK(aborted.exit == 42);
    const auto died =
        cluster.troupe({"run", "-N", "2", "-n", "4", program("ends_badly." + kind), "die", "3"});
    CHECK(died.exit == 128 + SIGSEGV);
    const auto left =
        cluster.troupe({"run", "-N", "2", "-n", "4", program("ends_badly." + kind), "exit", "2"});
    CHECK(left.exit == 5);
  }
  CHECK(shepherds_of(cluster).empty());
  CHECK(cluster.job_processes().empty());
  CHECK(left_behind() == before);
}

TEST_CASE("a rank that waits for what a shepherd kept hears when that is gone") {
  test_cluster cluster{{2, 2, {}, {}}};
  const auto names = program("pmix_names");
  const auto ran = cluster.troupe({"run", "-N", "2", "-n", "2", names, "alone"});
  INFO(ran.out << ran.err);
  CHECK(ran.exit == 0);
  CHECK(ran.out.find("rank 1 of 2: good") != std::string::npos);
}

TEST_CASE("an MPI job goes on over a kill of trouped, and its end arrives") {
  test_cluster cluster{{2, 4, {}, {}}};
  const auto id = cluster.submit(
      {"-N", "2", "-n", "4", "-o", "out", program("waits.openmpi"), cluster.path("go")});
  REQUIRE(eventually([&] { return lines_of(cluster.file("out")).size() == 4; }));
  cluster.kill_trouped();
  cluster.up();
  cluster.write("go", "");
  const auto waited = cluster.wait(id);
  INFO(waited.out << waited.err << cluster.file("out"));
  CHECK(waited.exit == 0);
  CHECK(lines_of(cluster.file("out")).size() == 8);
}

TEST_CASE("kill -9 of a shepherd, a rank or the launcher leaves no directory and no process") {
  test_cluster cluster{{2, 4, {}, {}}};
  const auto before = left_behind();
  const auto id = cluster.submit(
      {"-N", "2", "-n", "4", "-o", "out", program("waits.openmpi"), cluster.path("never")});
  REQUIRE(eventually([&] { return lines_of(cluster.file("out")).size() == 4; }));
  auto expected = std::string{"failed"};
  SECTION("a shepherd") {
    const auto shepherds = shepherds_of(cluster);
    REQUIRE(shepherds.size() == 2);
    kill_and_wait(shepherds.front());
  }
  SECTION("a rank") {
    const auto ranks = cluster.job_processes();
    REQUIRE(ranks.size() == 4);
    ::kill(ranks.back(), SIGKILL);
  }
  SECTION("the launcher") {
    cluster.kill_launcher();
    expected = "lost";
  }
  SECTION("trouped, and a shepherd while it is away") {
    const auto shepherds = shepherds_of(cluster);
    REQUIRE(shepherds.size() == 2);
    cluster.kill_trouped();
    kill_and_wait(shepherds.back());
    cluster.up();
  }
  CHECK(cluster.wait(id).exit == 1);
  CHECK(cluster.row_of(id)["state"] == expected);
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  CHECK(eventually([&] { return left_behind() == before; }));
}
