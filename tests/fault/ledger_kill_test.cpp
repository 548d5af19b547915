// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "tests/catch.hpp"
#include "tests/unit/ledger_world.hpp"

#include <csignal>
#include <iostream>
#include <poll.h>
#include <random>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

using namespace ledger_world;

namespace {

constexpr int rounds = 25;

/// The payload of event `seq`: says its own number, and is long enough to span pages now and then.
std::vector<std::uint8_t> payload_of(std::uint64_t seq) {
  std::vector<std::uint8_t> bytes(8 + seq * 131 % 3000, static_cast<std::uint8_t>(seq));
  store_le(bytes.data(), seq);
  return bytes;
}

std::vector<event> random_batch(const store& s, std::mt19937_64& random) {
  std::vector<event> batch;
  auto highest = s.highest_job();
  for (auto n = 1 + random() % 20; n > 0; --n) {
    event e = submit(highest + 1, 8);
    if (highest > 0 && random() % 3 != 0) {
      const auto job = 1 + random() % highest;
      const event choices[] = {start(job), finish(job), cancel(job),
                               finish_element(job, static_cast<std::uint32_t>(random() % 8), 1)};
      e = choices[random() % 4];
    } else {
      ++highest;
    }
    e.payload = payload_of(s.last_seq() + 1 + batch.size());
    batch.push_back(std::move(e));
  }
  return batch;
}

/// The child: appends for ever, and tells the last sequence number of each batch once it is
/// acknowledged.
[[noreturn]] void append_until_killed(const std::string& path, int acknowledged,
                                      std::uint64_t seed) {
  const system_clock_source clock;
  std::mt19937_64 random{seed};
  auto s = store::open({path, 1u << 16, 1u << 20}, clock);
  while (s) {
    if (!s->append(random_batch(*s, random)))
      break;
    const auto last = s->last_seq();
    if (::write(acknowledged, &last, sizeof last) != sizeof last)
      break;
    s->shorten_log();
    if (random() % 16 == 0 && !s->checkpoint())
      break;
  }
  ::_exit(1);
}

/// Reads acknowledgements until a random moment, kills the child and reads what it had still said.
std::uint64_t kill_at_random(pid_t child, int acknowledged, std::mt19937_64& random) {
  std::uint64_t last = 0, next = 0;
  auto batches = static_cast<std::int64_t>(random() % 60);
  for (; batches > 0 && ::read(acknowledged, &next, sizeof next) == sizeof next; --batches)
    last = next;
  // The moment of the kill within a batch is random too.
  const timespec delay{0, static_cast<long>(random() % 2'000'000)};
  ::ppoll(nullptr, 0, &delay, nullptr);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  while (::read(acknowledged, &next, sizeof next) == sizeof next)
    last = next;
  return last;
}

std::uint64_t run_and_kill(const std::string& path, std::mt19937_64& random) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const auto seed = random();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    append_until_killed(path, ends[1], seed);
  }
  const unique_fd from{ends[0]};
  ::close(ends[1]);
  return kill_at_random(child, from.get(), random);
}

/// Every sequence number once, each with its own payload, in order within each job.
void check_events(store& s) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t job = 1; job <= s.highest_job(); ++job) {
    std::uint64_t before = 0;
    bool good = true;
    REQUIRE(s.events_of(job, [&](const stored_event& e) {
      const auto expected_payload = payload_of(e.seq);
      good = good && e.seq > before &&
             std::equal(e.payload.begin(), e.payload.end(), expected_payload.begin(),
                        expected_payload.end());
      before = e.seq;
      seen.insert(e.seq);
    }));
    REQUIRE(good);
  }
  REQUIRE(seen.size() == s.last_seq());
  REQUIRE((seen.empty() || *seen.rbegin() == s.last_seq()));
}

} // namespace

TEST_CASE(
    "Whatever was acknowledged survives kill -9 at any moment, and the tables fit the events") {
  const char* given = std::getenv("TROUPE_TEST_SEED");
  const auto seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "seed " << seed << " (repeat with TROUPE_TEST_SEED)\n";
  std::mt19937_64 random{seed};
  const directory where;
  const system_clock_source clock;
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < rounds; ++round) {
    INFO("seed " << seed << ", round " << round);
    acknowledged = std::max(acknowledged, run_and_kill(where.file(), random));
    auto s = store::open({where.file(), 1u << 16}, clock);
    INFO((s ? "" : s.error().text));
    REQUIRE(s);
    REQUIRE(s->last_seq() >= acknowledged);
    check_events(*s);
    const auto found = image_of(*s);
    REQUIRE(found.jobs.size() == s->highest_job());
    REQUIRE(s->rebuild());
    REQUIRE(image_of(*s) == found);
    REQUIRE(check_ledger(where.file())->problems.empty());
  }
  CHECK(acknowledged > 100);
}
