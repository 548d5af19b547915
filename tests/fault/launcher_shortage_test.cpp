// SPDX-License-Identifier: Apache-2.0
#include "fault/launcher_world.hpp"
#include "runtime/launch/passing.hpp"

#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::testing;
using launch::record_kind;

// The launcher runs out of what the kernel gives.

namespace {

/// No descriptor beyond those that a process has, while it lives; the process is not ours to ask.
class no_more_descriptors {
public:
  explicit no_more_descriptors(pid_t pid) : pid_{pid} {
    REQUIRE(::prlimit(pid_, RLIMIT_NOFILE, nullptr, &before_) == 0);
    const rlimit none{3, before_.rlim_max};
    REQUIRE(::prlimit(pid_, RLIMIT_NOFILE, &none, nullptr) == 0);
  }
  ~no_more_descriptors() { ::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr); }
  no_more_descriptors(const no_more_descriptors&) = delete;
  no_more_descriptors& operator=(const no_more_descriptors&) = delete;

private:
  pid_t pid_;
  rlimit before_{};
};

/// Processor time of a process, in clock ticks.
long ticks_of(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string word;
  long user = 0, system = 0;
  for (int i = 1; i <= 13; ++i)
    file >> word;
  file >> user >> system;
  return user + system;
}

} // namespace

TEST_CASE("what lacks a descriptor never ran, is told so, and goes on when there are some again") {
  launcher_world world;
  auto streamed = world.shell("while ! [ -e go ]; do sleep 0.01; done; echo $TROUPE_ELEMENT");
  streamed.spec.stdout_path = "|";
  launcher_world::make_array(streamed, 1, 3, 1);
  const auto of_streamed = [&](record_kind kind) { return world.count(kind, streamed.order.job); };
  world.send(streamed);
  REQUIRE(world.wait_for([&] { return of_streamed(record_kind::started) == 1; }));
  const auto ticks = ticks_of(world.pid());
  {
    no_more_descriptors shortage{world.pid()};
    // A batch comes with a descriptor: there is no room for it.
    const auto refused = world.refusal_of(world.job({"true"}));
    CHECK(refused.what.why == launch::reason::system);
    CHECK(launch::passes(refused.what.why));
    std::ofstream{world.folder() + "/go"} << "go";
    REQUIRE(world.wait_for([&] { return of_streamed(record_kind::start_failed) == 1; }));
  }
  for (const auto& [seq, record] : world.records)
    if (record.what == record_kind::start_failed) {
      CHECK(record.element == 2);
      CHECK(record.stage == launch::start_stage::pipe);
      CHECK(record.error == EMFILE);
      CHECK(launch::passes(record));
    }
  REQUIRE(world.wait_for([&] { return of_streamed(record_kind::exited) == 2; }));
  CHECK(of_streamed(record_kind::start_failed) == 1);
  CHECK(world.run(world.job({"true"})).what == record_kind::exited);
  CHECK(ticks_of(world.pid()) - ticks < ::sysconf(_SC_CLK_TCK) / 2);
}

TEST_CASE("a program that is not there is no shortage: it fails for good") {
  launcher_world world;
  auto end = world.run(world.job({"/nowhere/at/all"}));
  CHECK(end.what == record_kind::start_failed);
  CHECK((end.flags & launch::record_never_ran) != 0);
  CHECK(!launch::passes(end));
}
