// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <csignal>

using namespace troupe::test;

// What does not answer for a moment, or tells things twice, costs no job and no memory.

namespace {

/// The resident memory of a process, in KiB.
long resident_kib(pid_t pid) {
  for (const auto& line : lines_of(read_file("/proc/" + std::to_string(pid) + "/status")))
    if (line.rfind("VmRSS:", 0) == 0)
      return std::stol(line.substr(6));
  return 0;
}

/// What the console says of an actor under this key; "" where it says nothing.
std::string figure_of(test_cluster& cluster, const std::string& actor, const std::string& key) {
  for (const auto& line : lines_of(cluster.troupe({"console", "-c", "show " + actor}).out))
    if (const auto at = line.find(key); at != std::string::npos) {
      const auto value = line.find_first_not_of(" :", at + key.size());
      return value == std::string::npos ? "" : line.substr(value);
    }
  return "";
}

} // namespace

TEST_CASE("preempting units while their launcher does not answer costs next to nothing, and they "
          "make room once it does") {
  test_cluster cluster{{1,
                        8,
                        {},
                        {},
                        "[queues.normal]\ndefault = true\n"
                        "[queues.urgent]\npriority = 100\npreempts = [\"normal\"]\n"}};
  REQUIRE(cluster.troupe({"run", "true"}).exit == 0);
  const auto launcher = cluster.launcher();
  ::kill(launcher, SIGSTOP);
  const auto array = cluster.submit({"-a", "1-8", "-o", "/dev/null", "sleep", "300"});
  REQUIRE(cluster.reaches(array, "starting"));
  const auto urgent =
      cluster.submit({"-n", "1", "-c", "8", "-q", "urgent", "-o", "/dev/null", "true"});
  const auto before = resident_kib(cluster.trouped());
  // A storm would double every 100 ms.
  CHECK_FALSE(eventually([&] { return resident_kib(cluster.trouped()) > before + 20'000; }, 2s));
  ::kill(launcher, SIGCONT);
  CHECK(cluster.reaches(urgent, "completed", 60s));
  CHECK(resident_kib(cluster.trouped()) < before + 20'000);
  CHECK(cluster.troupe({"cancel", array}).exit == 0);
}

TEST_CASE("after steps and new programs of the launcher everything that ended is acknowledged") {
  test_cluster cluster{{1, 8, {}, {}}};
  cluster.write("steps.sh",
                "#!/bin/sh\nfor i in $(seq 40); do troupe run --overlap true || exit 1; done\n",
                0755);
  const auto script = cluster.submit({"-o", "out", "-e", "err", "./steps.sh"});
  const auto array = cluster.submit({"-a", "1-400", "-o", "ran", "echo", "one"});
  for (unsigned i = 0; i < 6; ++i) {
    eventually([&] { return lines_of(cluster.file("ran")).size() > 60u * (i + 1); });
    ::kill(cluster.launcher(), SIGUSR2);
  }
  CHECK(cluster.wait(script).exit == 0);
  INFO(cluster.file("err"));
  CHECK(cluster.wait(array).exit == 0);
  CHECK(cluster.troupe({"run", "true"}).exit == 0);
  CHECK(
      eventually([&] { return figure_of(cluster, "launcher", "records not durable yet") == "0"; }));
}
