// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <unistd.h>

// mpirun in a job's script, as anybody would write it: it finds the job's nodes and slots, and
// starts its daemons as steps.

using namespace troupe::test;

namespace {

namespace fs = std::filesystem;

std::string program(const std::string& name) {
  return std::string{TROUPE_MPI_PROGRAMS} + "/" + name;
}

/// A cluster whose jobs keep temporary files in a directory of their own.
class mpirun_cluster : public test_cluster {
public:
  explicit mpirun_cluster(cluster_shape shape) : test_cluster{std::move(shape)} {
    fs::create_directory(path("tmp"));
    set_environment("TMPDIR=" + path("tmp"));
    // Open MPI's mpirun refuses root unless it is told twice; PRRTE's as well.
    for (const auto* each : {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                             "PRTE_ALLOW_RUN_AS_ROOT=1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1"})
      set_environment(each);
  }

  std::string submit_script(words options, const std::string& text) {
    write("script.sh", "#!/bin/sh\n" + text, 0755);
    options.push_back("./script.sh");
    return submit(std::move(options));
  }

  std::vector<std::string> leftovers() const {
    std::vector<std::string> found;
    std::error_code none;
    const auto own = "troupe-" + std::to_string(::getuid());
    for (const auto& base : {path("tmp"), "/tmp/" + own, "/dev/shm/" + own})
      for (const auto& entry : fs::directory_iterator{base, none})
        found.push_back(entry.path());
    return found;
  }
};

/// MPICH's mpirun needs an address of its host's name, Open MPI 5's host names that differ: not
/// every container has the one or allows the other.
bool can_name_hosts(mpirun_cluster& cluster) {
  const auto asked = cluster.submit_script(
      {"-o", "asked"},
      "getent ahosts \"$(uname -n)\" && { mpirun.openmpi --version | grep -q ' 4\\.' "
      "|| unshare --uts true || unshare --user --uts true; }\n");
  if (cluster.wait(asked).exit == 0)
    return true;
  WARN("left out: this host's name has no address, or others are not allowed here");
  return false;
}

std::vector<std::string> sorted_lines(const std::string& text) {
  auto lines = lines_of(text);
  std::sort(lines.begin(), lines.end());
  return lines;
}

} // namespace

TEST_CASE("mpirun in a script starts a rank on every slot of the job's nodes, and leaves nothing") {
  mpirun_cluster cluster{{2, 2, {}, {}}};
  if (!can_name_hosts(cluster))
    return;
  const auto before = cluster.leftovers();
  for (const std::string kind : {"openmpi", "mpich"}) {
    const auto id =
        cluster.submit_script({"-N", "2", "-n", "4", "-o", "out." + kind, "-e", "err." + kind},
                              "mpirun." + kind + " " + program("hello." + kind) + "\n");
    const auto waited = cluster.wait(id);
    INFO(kind << ": " << cluster.file("out." + kind) << cluster.file("err." + kind));
    CHECK(waited.exit == 0);
    CHECK(sorted_lines(cluster.file("out." + kind)) ==
          std::vector<std::string>{"rank 0 of 4, 2 on its node", "rank 1 of 4, 2 on its node",
                                   "rank 2 of 4, 2 on its node", "rank 3 of 4, 2 on its node"});
  }
  // Open MPI's ranks have their daemon's environment; MPICH's have mpirun's. (That of Open MPI 5
  // may hang, without Troupe as well, where ranks end at once and are no MPI programs.)
  const auto where = cluster.submit_script({"-N", "2", "-n", "4", "-o", "nodes", "-e", "err"},
                                           "mpirun.openmpi sh -c '" + program("hello.openmpi") +
                                               " >/dev/null; echo $TROUPE_NODE'\n");
  CHECK(cluster.wait(where).exit == 0);
  CHECK(sorted_lines(cluster.file("nodes")) ==
        std::vector<std::string>{"node1", "node1", "node2", "node2"});
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  CHECK(cluster.leftovers() == before);
}

TEST_CASE("mpirun counts slots as the job has them on each node, and passes on its exit code") {
  mpirun_cluster cluster{{2, 2, {}, {}}};
  if (!can_name_hosts(cluster))
    return;
  const auto id = cluster.submit_script({"-N", "2", "-n", "3", "-o", "out"},
                                        "mpirun.openmpi " + program("hello.openmpi") +
                                            "\nmpirun.openmpi -n 2 " +
                                            program("ends_badly.openmpi") + " exit 1\n");
  CHECK(cluster.wait(id).exit == 1);
  INFO(cluster.file("out"));
  CHECK(cluster.file("out").find("rank 2 of 3, 1 on its node") != std::string::npos);
  CHECK(cluster.row_of(id)["exit_code"] == 5);
}

TEST_CASE("mpirun's daemons and ranks end with it on every node, and leave nothing") {
  mpirun_cluster cluster{{2, 2, {}, {}}};
  if (!can_name_hosts(cluster))
    return;
  const auto before = cluster.leftovers();
  const auto id = cluster.submit_script({"-N", "2", "-n", "4", "-o", "out"},
                                        "exec mpirun.openmpi " + program("waits.openmpi") + " " +
                                            cluster.path("never") + "\n");
  const auto all_wait = [&] {
    const auto lines = lines_of(cluster.file("out"));
    return std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
             return line.ends_with(" of 4 waits");
           }) == 4;
  };
  REQUIRE(eventually(all_wait));
  std::string expected = "failed";
  const auto kill_one = [&](const std::string& name) {
    const auto all = cluster.job_processes();
    const auto at = std::find_if(all.begin(), all.end(), [&](pid_t pid) {
      const auto called = read_file("/proc/" + std::to_string(pid) + "/comm");
      return called.find(name) != std::string::npos;
    });
    REQUIRE(at != all.end());
    ::kill(*at, SIGKILL);
  };
  SECTION("by a cancel") {
    CHECK(cluster.troupe({"cancel", id}).exit == 0);
    expected = "cancelled";
  }
  SECTION("by the death of a rank") {
    kill_one("waits");
  }
  SECTION("by the death of a daemon") {
    kill_one("rted");
    expected.clear(); // that of Open MPI 5 says why it ends, and ends with 0
  }
  if (expected.empty())
    CHECK(cluster.wait(id).exit >= 0);
  else
    CHECK(cluster.reaches(id, expected));
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  CHECK(eventually([&] { return cluster.leftovers() == before; }));
}

TEST_CASE("mpirun in the shell of an allocation works as it does in a script") {
  mpirun_cluster cluster{{2, 2, {}, {}}};
  if (!can_name_hosts(cluster))
    return;
  const auto before = cluster.leftovers();
  for (const std::string kind : {"openmpi", "mpich"}) {
    const auto ran = cluster.troupe({"alloc", "-N", "2", "-n", "3", "sh", "-c",
                                     "mpirun." + kind + " " + program("hello." + kind)});
    INFO(kind << ": " << ran.out << ran.err);
    CHECK(ran.exit == 0);
    CHECK(sorted_lines(ran.out) == std::vector<std::string>{"rank 0 of 3, 2 on its node",
                                                            "rank 1 of 3, 2 on its node",
                                                            "rank 2 of 3, 1 on its node"});
  }
  CHECK(eventually([&] { return cluster.job_processes().empty(); }));
  CHECK(eventually([&] { return cluster.leftovers() == before; }));
}

TEST_CASE("the user's own settings for mpirun come before the job's") {
  test_cluster cluster{{1, 1, {}, {}}};
  cluster.set_environment("OMPI_MCA_plm_rsh_agent=mine");
  cluster.write("script.sh",
                "#!/bin/sh\necho $OMPI_MCA_plm_rsh_agent\n"
                "cat $OMPI_MCA_orte_default_hostfile $HYDRA_HOST_FILE\n",
                0755);
  CHECK(cluster.wait(cluster.submit({"-o", "out", "./script.sh"})).exit == 0);
  CHECK(cluster.file("out") == "mine\nnode1 slots=1\nnode1:1\n");
  const auto ran = cluster.troupe({"alloc", "./script.sh"});
  INFO(ran.err);
  CHECK(ran.out == "mine\nnode1 slots=1\nnode1:1\n");
}
