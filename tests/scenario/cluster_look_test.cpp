// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <set>

using namespace troupe::test;

namespace {

std::set<std::string> keys_of(const json& object) {
  std::set<std::string> result;
  for (auto at = object.begin(); at != object.end(); ++at)
    result.insert(at.key());
  return result;
}

/// Scripts read these: a key may join them, none may go.
const std::set<std::string> row_keys{"job",
                                     "name",
                                     "user",
                                     "queue",
                                     "state",
                                     "held",
                                     "nodes",
                                     "tasks",
                                     "nodelist",
                                     "reason",
                                     "exit_code",
                                     "signal",
                                     "memory_bytes",
                                     "time_limit_s",
                                     "submitted_utc_ns",
                                     "started_utc_ns",
                                     "ended_utc_ns",
                                     "elements_total",
                                     "elements_pending",
                                     "elements_running",
                                     "elements_failed"};

void check_has(const json& object, const std::set<std::string>& wanted) {
  const auto present = keys_of(object);
  for (const auto& key : wanted)
    if (!present.contains(key))
      FAIL_CHECK("the key " << key << " is gone");
}

} // namespace

TEST_CASE("queue lists what has not ended, history what has, with stable keys") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto done = cluster.submit_shell({"-J", "first", "-n", "2", "--time", "1"}, "exit 2");
  cluster.wait(done);
  auto running = cluster.submit_shell({"-J", "second"}, "exec sleep 1000");
  REQUIRE(cluster.reaches(running, "running"));
  auto waiting = cluster.submit({"-J", "third", "-n", "2", "--time", "5", "true"});
  auto queue = cluster.ask({"queue"})["rows"];
  REQUIRE(queue.size() == 2);
  CHECK(queue[0]["job"] == std::stoi(running));
  CHECK(queue[0]["state"] == "running");
  CHECK(queue[0]["nodelist"] == "node1");
  CHECK(queue[1]["job"] == std::stoi(waiting));
  CHECK(queue[1]["state"] == "pending");
  CHECK(queue[1]["tasks"] == 2);
  CHECK(queue[1]["time_limit_s"] == 300);
  check_has(queue[0], row_keys);
  auto filtered = cluster.ask({"queue", "--state", "pending"})["rows"];
  REQUIRE(filtered.size() == 1);
  CHECK(filtered[0]["name"] == "third");
  auto history = cluster.ask({"history"})["rows"];
  REQUIRE(history.size() == 1);
  CHECK(history[0]["name"] == "first");
  CHECK(history[0]["exit_code"] == 2);
  CHECK(history[0]["tasks"] == 2);
  CHECK(history[0]["time_limit_s"] == 60);
  CHECK(history[0]["state"] == "failed");
  CHECK(history[0]["submitted_utc_ns"].get<std::int64_t>() <=
        history[0]["started_utc_ns"].get<std::int64_t>());
  CHECK(history[0]["started_utc_ns"].get<std::int64_t>() <=
        history[0]["ended_utc_ns"].get<std::int64_t>());
  check_has(history[0], row_keys);
  auto table = cluster.troupe({"queue"});
  CHECK(lines_of(table.out).size() == 3);
  CHECK(table.out.find("second") != std::string::npos);
}

TEST_CASE("show tells everything of a job, before, while and after it runs") {
  test_cluster cluster;
  auto id = cluster.submit({"--hold", "-J", "shown", "-n", "2", "--env", "A=1", "sh", "-c",
                            "while ! [ -e go ]; do sleep 0.02; done"});
  auto before = cluster.ask({"show", id})["job"];
  CHECK(before["row"]["state"] == "pending");
  CHECK(before["spec"]["argv"] == json({"sh", "-c", "while ! [ -e go ]; do sleep 0.02; done"}));
  CHECK(before["spec"]["cwd"] == cluster.work());
  cluster.troupe({"release", id});
  REQUIRE(cluster.reaches(id, "running"));
  auto during = cluster.ask({"show", id})["job"];
  REQUIRE(during["elements"].size() == 1);
  CHECK(during["elements"][0]["cpus"].get<std::string>().find("node1:") == 0);
  cluster.write("go", "");
  cluster.wait(id);
  auto after = cluster.ask({"show", id})["job"];
  CHECK(after["row"]["state"] == "completed");
  CHECK(keys_of(before) == keys_of(after));
  check_has(after["row"], row_keys);
  CHECK(cluster.troupe({"show", id}).out.find("shown") != std::string::npos);
  auto none = cluster.troupe({"show", "4242"});
  CHECK(none.exit == 1);
  CHECK(none.err.find("there is no job 4242") != std::string::npos);
}

TEST_CASE("why says what a waiting job waits for") {
  test_cluster cluster{{1, 2, {}, {}}};
  auto running = cluster.submit_shell({"-n", "2"}, "exec sleep 1000");
  REQUIRE(cluster.reaches(running, "running"));
  auto waiting = cluster.submit({"true"});
  auto held = cluster.submit({"--hold", "true"});
  auto why = cluster.ask({"why", waiting})["why"];
  CHECK(why["state"] == "pending");
  CHECK(why["sentence"].get<std::string>().size() > 10);
  auto plain = cluster.troupe({"why", waiting});
  CHECK(plain.exit == 0);
  CHECK(plain.out.find("job " + waiting + " is pending") == 0);
  CHECK(cluster.troupe({"why", held}).out.find("held") != std::string::npos);
  CHECK(cluster.troupe({"why", running}).exit == 0);
  cluster.troupe({"cancel", running});
  cluster.wait(running);
  CHECK(cluster.troupe({"why", running}).out.find("cancelled") != std::string::npos);
}

TEST_CASE("nodes tells what each has and how much is in use") {
  test_cluster cluster;
  auto nodes = cluster.ask({"nodes"})["nodes"];
  REQUIRE(nodes.size() == 2);
  CHECK(nodes[0]["name"] == "node1");
  CHECK(nodes[1]["name"] == "node2");
  for (const auto& each : nodes) {
    CHECK(each["state"] == "up");
    CHECK(each["cores"] == 2);
    CHECK(each["cores_used"] == 0);
  }
  auto id = cluster.submit_shell({"-c", "2"}, "exec sleep 1000");
  REQUIRE(cluster.reaches(id, "running"));
  auto used = cluster.ask({"nodes"})["nodes"];
  CHECK(used[0]["cores_used"].get<int>() + used[1]["cores_used"].get<int>() == 2);
  CHECK(used[0]["elements_running"].get<int>() + used[1]["elements_running"].get<int>() == 1);
  cluster.troupe({"cancel", id});
  cluster.wait(id);
  CHECK(eventually([&] {
    auto now = cluster.ask({"nodes"})["nodes"];
    return now[0]["cores_used"].get<int>() + now[1]["cores_used"].get<int>() == 0;
  }));
}

TEST_CASE("every command with --json answers one valid value") {
  test_cluster cluster;
  auto id = cluster.submit({"true"});
  cluster.wait(id);
  for (const words& command :
       {words{"queue"}, words{"history"}, words{"show", id}, words{"why", id}, words{"nodes"},
        words{"wait", id}, words{"cap", "show"}, words{"cap", "keys"}, words{"audit", "verify"},
        words{"version"}, words{"submit", "true"}, words{"up"}, words{"queues"},
        words{"reserve", "list"}, words{"config", "show"}, words{"history", "--estimates"},
        words{"submit", "--dry-run", "true"}})
    CHECK(cluster.ask(command).is_object());
  const auto jobs_before = cluster.troupe({"submit", "--hold", "true"}).out;
  CHECK(cluster.troupe({"submit", "--dry-run", "true"}).exit == 0);
  const auto jobs_after = cluster.troupe({"submit", "--hold", "true"}).out;
  CHECK(std::stoi(jobs_after) == std::stoi(jobs_before) + 1);
  auto held = cluster.submit({"--hold", "true"});
  CHECK(cluster.ask({"release", held})["jobs"] == 1);
  cluster.wait(held);
  CHECK(cluster.ask({"drain", "node1"})["nodes"].size() == 2);
  CHECK(cluster.ask({"resume", "node1"})["nodes"].size() == 2);
  auto stream = cluster.troupe({"run", "--json", "echo", "hi"});
  CHECK(stream.exit == 0);
  for (const auto& line : lines_of(stream.out))
    CHECK(json::accept(line));
}

TEST_CASE("bad requests get one clear line, their exit code, and change nothing") {
  test_cluster cluster;
  const std::vector<std::pair<words, int>> refused{
      {{"submit", "-c", "3", "true"}, 1},
      {{"submit", "-N", "3", "true"}, 1},
      {{"submit", "-w", "node9", "true"}, 1},
      {{"submit", "-q", "nowhere", "true"}, 1},
      {{"submit", "-t", "soon", "true"}, 2},
      {{"submit", "--mem", "lots", "true"}, 2},
      {{"submit", "--no-such-option", "true"}, 2},
      {{"submit"}, 2},
      {{"run"}, 2},
      {{"drain", "node7"}, 1},
      {{"cancel"}, 2},
      {{"no-such-verb"}, 2},
  };
  for (const auto& [command, exit] : refused) {
    const auto done = cluster.troupe(command);
    INFO(command.back() << " of " << command.size() << ": " << done.err);
    CHECK(done.exit == exit);
    CHECK(done.out.empty());
    CHECK(lines_of(done.err).size() == 1);
  }
  CHECK(cluster.ask({"queue"})["rows"].empty());
  CHECK(cluster.ask({"history"})["rows"].empty());
}
