// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "config/cluster_config.hpp"
#include "config/duration.hpp"
#include "runtime/plan/order.hpp"

#include <fstream>
#include <map>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

using namespace troupe;

namespace {

config_reading read(const std::string& text) {
  return read_config(text, "troupe.toml");
}

/// The only thing that is wrong with it.
std::string wrong_with(const std::string& text) {
  const auto reading = read(text);
  CHECK_FALSE(reading.config);
  REQUIRE(reading.problems.size() == 1);
  return reading.problems.front();
}

struct toml_line {
  std::string value;
  std::string told; ///< what stands in brackets at the end of its comment, in one word
};

/// Times that are written in different ways are the same.
std::string in_seconds(std::string value) {
  if (value.size() > 2 && value.front() == '"')
    if (auto seconds = parse_duration_s(value.substr(1, value.size() - 2)))
      return std::to_string(*seconds);
  return value;
}

/// By table and key; enough of TOML for the sample and for what `to_toml` writes.
std::map<std::string, toml_line> values_in(std::istream& text) {
  std::map<std::string, toml_line> found;
  std::string table;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("["))
      table = line.substr(1, line.find(']') - 1) + ".";
    const auto equals = line.find(" = ");
    if (line.starts_with("#") || equals == std::string::npos)
      continue;
    auto& entry = found[table + line.substr(0, equals)];
    const auto comment = line.find(" #");
    entry.value =
        line.substr(equals + 3, comment == std::string::npos ? comment : comment - equals - 3);
    entry.value.erase(entry.value.find_last_not_of(' ') + 1);
    const auto open = line.rfind('(');
    if (comment == std::string::npos || open == std::string::npos || open < comment ||
        !line.ends_with(")"))
      continue;
    const auto told = line.substr(open + 1, line.size() - open - 2);
    if (told.find(' ') == std::string::npos)
      entry.told = told;
  }
  return found;
}

} // namespace

TEST_CASE("an empty file is the default configuration: one queue, first come first served") {
  auto reading = read("");
  REQUIRE(reading.config);
  reading.config->path.clear();
  CHECK(*reading.config == default_config());
  CHECK(reading.config->queues.size() == 1);
  CHECK(reading.config->default_queue == "main");
  CHECK(reading.config->priority.age == 0);
}

TEST_CASE("everything in a file is read") {
  const auto reading = read(R"(
[scheduling]
backfill = false
reservations = 7
order = "sjf"
overtake_limit = "2d"
[priority]
age = 10
fair_share = 1000
[fair_share]
half_life = "7d"
[queues.batch]
priority = 10
time_default = "1h"
time_max = "1d"
jobs_max = 100
[queues.batch.each_user]
running_max = 4
cores_max = 64
[queues.urgent]
default = true
priority = 1000
users = ["ada", "ben"]
groups = ["root"]
preempts = ["batch"]
grace = "90s"
[accounts.physics]
shares = 3
users = ["ada"]
[accounts.theory]
parent = "physics"
users = ["ben"]
[each_user]
jobs_max = 1000
[users.ada]
cores_max = 8
[nodes.node2]
gpus = 4
features = ["ssd", "fast"]
)");
  for (const auto& problem : reading.problems)
    FAIL_CHECK(problem);
  REQUIRE(reading.config);
  const auto& config = *reading.config;
  CHECK_FALSE(config.scheduling.backfill);
  CHECK(config.scheduling.reservations == 7);
  CHECK(config.scheduling.order == "sjf");
  CHECK(config.scheduling.overtake_limit_s == 2 * 86'400);
  CHECK(config.priority.fair_share == 1000);
  CHECK(config.half_life_s == 7 * 86'400);
  REQUIRE(config.queues.size() == 2);
  CHECK(config.queues[0].name == "batch");
  CHECK(config.queues[0].time_max_s == 86'400);
  CHECK(config.queues[0].all.jobs_max == 100);
  CHECK(config.queues[0].each_user.cores_max == 64);
  CHECK(config.default_queue == "urgent");
  CHECK(config.queues[1].group_ids == std::vector<std::uint32_t>{0});
  CHECK(config.queues[1].grace_s == 90);
  CHECK(config.default_account_of("ben")->name == "theory");
  CHECK(config.default_account_of("eve") == nullptr);
  CHECK(config.limits_of("ada").cores_max == 8);
  CHECK(config.limits_of("ada").jobs_max == 1000);
  CHECK(config.limits_of("ben").cores_max == 0);
  REQUIRE(config.nodes.size() == 1);
  CHECK(config.nodes[0].gpus == 4);
  CHECK(config.nodes[0].features == std::vector<std::string>{"ssd", "fast"});
  SECTION("and written so that it reads the same") {
    const auto again = read(to_toml(config));
    for (const auto& problem : again.problems)
      FAIL_CHECK(problem);
    REQUIRE(again.config);
    CHECK(*again.config == config);
  }
}

TEST_CASE("what is wrong is told with file, line, key, value and limit") {
  CHECK(wrong_with("[queues.main]\ntime_max = \"5 parsecs\"\n")
            .find("troupe.toml:2: queues.main.time_max: '5 parsecs' is no time") == 0);
  CHECK(wrong_with("[queues.main]\n\npriority = 2000000\n") ==
        "troupe.toml:3: queues.main.priority: 2000000 is not from -1000000 to 1000000");
  CHECK(wrong_with("[queues.main]\nprioritty = 1\n")
            .find("troupe.toml:2: queues.main.prioritty: "
                  "there is no such key; here are") == 0);
  CHECK(wrong_with("[queues.main]\npriority = \"high\"\n") ==
        "troupe.toml:2: queues.main.priority: is a string, but should be a whole number");
  CHECK(wrong_with("queues = 3\n")
            .find("troupe.toml:1: queues: is a whole number, but should be a "
                  "table") == 0);
  CHECK(wrong_with("[queues]\nmain = 3\n").find("should be a table: [queues.main]") !=
        std::string::npos);
  CHECK(wrong_with("[queues.\"a b\"]\n").find("'a b' is no name") != std::string::npos);
  CHECK(wrong_with("[scheduling]\norder = \"best\"\n").find("'best' is none of fcfs, sjf") !=
        std::string::npos);
  CHECK(wrong_with("[queues.a]\npreempts = [\"b\"]\n").find("there is no queue 'b'") !=
        std::string::npos);
  CHECK(wrong_with("[queues.a]\npreempts = [\"b\"]\n[queues.b]\n").find("which is not below") !=
        std::string::npos);
  CHECK(wrong_with("[queues.a]\ngroups = [\"no-such-group-here\"]\n").find("there is no group") !=
        std::string::npos);
  CHECK(wrong_with("[queues.a]\ndefault = true\n[queues.b]\ndefault = true\n")
            .find("'a' is the default queue already") != std::string::npos);
  CHECK(wrong_with("[queues.a]\ntime_default = \"2h\"\ntime_max = \"1h\"\n")
            .find("is more than time_max") != std::string::npos);
  CHECK(wrong_with("[accounts.a]\nparent = \"b\"\n").find("there is no account 'b'") !=
        std::string::npos);
  CHECK(wrong_with("[nodes.node1]\ngpus = 65\n").find("65 is not from 0 to 64") !=
        std::string::npos);
  CHECK(wrong_with("[nodes.node1]\nfeatures = [\"a\", \"a\"]\n").find("'a' is there twice") !=
        std::string::npos);
  CHECK(wrong_with("[queues.main\n").find("troupe.toml:1: ") == 0);
  CHECK(wrong_with(std::string(config_bytes_max + 1, '#')).find("are the limit") !=
        std::string::npos);
}

TEST_CASE("all problems of a file are told, up to a bound") {
  const auto reading = read("[queues.a]\npriority = true\ntime_max = 3\n[accounts.b]\nx = 1\n");
  CHECK_FALSE(reading.config);
  CHECK(reading.problems.size() == 3);
  CHECK(to_error(reading.problems).text.find("(and 2 more") != std::string::npos);
  std::string many = "[queues.a]\n";
  for (int i = 0; i < 500; ++i)
    many += "key" + std::to_string(i) + " = 1\n";
  CHECK(read(many).problems.size() <= 64);
}

TEST_CASE("accounts whose parents form a circle are refused") {
  const auto reading = read("[accounts.a]\nparent = \"b\"\n[accounts.b]\nparent = \"a\"\n");
  CHECK_FALSE(reading.config);
  REQUIRE_FALSE(reading.problems.empty());
  CHECK(reading.problems.front().find("circle") != std::string::npos);
}

TEST_CASE("the sample is good, and says the default of each key") {
  const auto reading = read_config_file(TROUPE_SOURCE_DIR "/config/troupe.toml");
  for (const auto& problem : reading.problems)
    FAIL_CHECK(problem);
  REQUIRE(reading.config);
  std::ifstream file{TROUPE_SOURCE_DIR "/config/troupe.toml"};
  const auto sample = values_in(file);
  std::istringstream defaults_text{to_toml(default_config())};
  const auto defaults = values_in(defaults_text);
  int compared = 0;
  for (const auto& [key, line] : sample)
    if (auto known = defaults.find(key); known != defaults.end() && !line.told.empty()) {
      INFO(key);
      CHECK(in_seconds(line.told) == in_seconds(known->second.value));
      ++compared;
    }
  CHECK(compared > 20);
}

TEST_CASE("a file that is not there is a problem that names it") {
  const auto reading = read_config_file("/nonexistent/troupe.toml");
  REQUIRE(reading.problems.size() == 1);
  CHECK(reading.problems.front().find("/nonexistent/troupe.toml: cannot be read") == 0);
}

TEST_CASE("what is no regular file is a problem that names it, and holds nobody") {
  char folder[] = "/tmp/troupe-config-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const auto pipe = std::string{folder} + "/troupe.toml";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  for (const auto& path : {pipe, std::string{folder}}) {
    const auto reading = read_config_file(path);
    REQUIRE(reading.problems.size() == 1);
    CHECK(reading.problems.front().find(path + ": is no regular file") == 0);
  }
  ::unlink(pipe.c_str());
  ::rmdir(folder);
}

TEST_CASE("the orders' names are those of the scheduling core") {
  const auto names = order_names();
  for (std::size_t i = 0; i < names.size(); ++i)
    CHECK(plan::to_string(static_cast<plan::queue_order>(i)) == names[i]);
}
