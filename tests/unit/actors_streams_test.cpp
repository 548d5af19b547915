// SPDX-License-Identifier: Apache-2.0
#include "actors/agent.hpp"
#include "actors/task.hpp"
#include "tests/eventually.hpp"
#include "tests/unit/actor_world.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// The agent and the task of a streamed job, with readers beside them. The pump is the test: it says
// what is in the file.

using namespace troupe;
using namespace troupe::test;

namespace {

constexpr group_key group{7, 1, 0};
constexpr std::uint64_t stream_number = 12;

struct streaming {
  explicit streaming(std::uint64_t seed) : world{seed, {1, 2}} {
    ::mkdir((directory.path() + "/spool").c_str(), 0700);
    auto silent = world.system().spawn([](caf::event_based_actor* self) -> caf::behavior {
      self->set_default_handler(caf::drop);
      return {[](int) {}};
    });
    actors::agent_state::peers to{world.nodes[0],
                                  caf::actor_cast<launcher_actor>(silent),
                                  std::make_shared<launch::output_pump>([](const auto&) {}),
                                  files,
                                  std::make_shared<actors::stream_routes>(),
                                  {},
                                  {},
                                  std::make_shared<launch::input_pump>([](auto) {})};
    routes = to.routes;
    agent = world.system().spawn<actors::shell<actors::agent_state>>(
        std::ref(world.around()), std::uint64_t{0}, world.role(auth::actor_role::agent), "node1", 1,
        to);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    writer.reset(ends[1]);
    take_stream stream;
    stream.group = group;
    stream.stream = stream_number;
    stream.uid = ::getuid();
    stream.descriptor = ends[0];
    tell(stream);
    world.settle();
    // The pump opens it, on its thread.
    REQUIRE(eventually([&] {
      file = unique_fd{::open((directory.path() + "/spool/" + std::to_string(::getuid()) +
                               "/7/1.0." + std::to_string(no_element) + ".0.out")
                                  .c_str(),
                              O_WRONLY | O_APPEND | O_CLOEXEC)};
      return bool{file};
    }));
  }

  template <class M>
  void tell(M what) {
    actors::tell(agent, world.role(auth::actor_role::node), std::move(what));
  }
  void wrote(const std::string& text, bool ended) {
    REQUIRE(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    written += text;
    actors::tell(routes->find(stream_number), world.role(auth::actor_role::agent),
                 note_output{stream_number, written.size(), ended, {}});
  }

  actor_world world;
  quick_directory directory;
  std::shared_ptr<actors::spool> files =
      std::make_shared<actors::spool>(directory.path() + "/spool");
  std::shared_ptr<actors::stream_routes> routes;
  agent_actor agent;
  unique_fd writer, file;
  std::string written;
};

/// Reads from the beginning to the end, as `Follow` does.
struct reader {
  explicit reader(streaming& from) : of{from} {
    what.group = group;
    what.bytes_max = 5;
  }
  /// Asks again as soon as it has its answer; false when it has come to the end.
  bool turn() {
    if (ended || failed)
      return false;
    if (!asked)
      asked = of.world.ask(of.agent, of.world.user.cap, what);
    if (!asked->has_value())
      return true;
    auto& answer = **asked;
    if (!answer) {
      failed = answer.error();
      return false;
    }
    got.append(answer->data.begin(), answer->data.end());
    what.offset = answer->offset + answer->data.size();
    ended = answer->ended;
    asked.reset();
    return !ended;
  }
  streaming& of;
  read_output what;
  answer_box<output_chunk> asked;
  std::string got;
  std::optional<error> failed;
  bool ended = false;
};

} // namespace

TEST_CASE("whoever reads a stream gets all of it, whenever its job ends") {
  for (auto seed : seeds(200)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    streaming job{seed};
    auto& draw = job.world.random;
    std::vector<std::unique_ptr<reader>> readers;
    for (int i = 0; i < 3; ++i)
      readers.push_back(std::make_unique<reader>(job));
    auto pieces = 1 + draw.below(8);
    bool is_over = false;
    const auto some_are_open = [&] {
      return std::any_of(readers.begin(), readers.end(),
                         [](const auto& each) { return !each->ended && !each->failed; });
    };
    for (int turns = 0; some_are_open() && turns < 20'000; ++turns) {
      for (auto& each : readers)
        if (draw.once_in(3))
          each->turn();
      if (pieces > 0 && draw.once_in(12)) {
        --pieces;
        job.wrote(std::string(1 + draw.below(12), static_cast<char>('a' + pieces)), pieces == 0);
      }
      if (pieces == 0 && !is_over && draw.once_in(20)) {
        job.tell(forget_group{group});
        is_over = true;
      }
      job.world.step();
    }
    for (auto& each : readers) {
      if (each->failed)
        FAIL(each->failed->text);
      CHECK(each->ended);
      CHECK(each->got == job.written);
    }
    CHECK(job.world.violations.empty());
  }
}

namespace {

constexpr std::uint64_t input_number = 13;

/// A rank's standard input: what it reads of it.
struct rank_input {
  explicit rank_input(streaming& of) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    pipe.reset(ends[0]);
    REQUIRE(::fcntl(pipe.get(), F_SETPIPE_SZ, 4096) > 0);
    take_stream stream;
    stream.group = group;
    stream.stream = input_number;
    stream.what = take_stream::kind::input;
    stream.uid = ::getuid();
    stream.descriptor = ends[1];
    stream.store = ::memfd_create("input", MFD_CLOEXEC);
    of.tell(stream);
  }
  void read_some(std::size_t most) {
    std::string part(most, ' ');
    const auto count = ::read(pipe.get(), part.data(), most);
    ended = ended || count == 0;
    got.append(part, 0, count > 0 ? static_cast<std::size_t>(count) : 0);
  }
  unique_fd pipe;
  std::string got;
  bool ended = false;
};

} // namespace

TEST_CASE("whoever writes input has each byte read once, however messages come") {
  for (auto seed : seeds(100)) {
    INFO("TROUPE_TEST_SEED=" << seed);
    streaming job{seed};
    auto& draw = job.world.random;
    std::optional<rank_input> rank;
    std::string given;
    write_input what;
    what.group = group;
    answer_box<input_taken> asked;
    auto pieces = 1 + draw.below(8);
    bool over = false;
    for (int turns = 0; turns < 50'000 && !(over && rank && rank->ended); ++turns) {
      if (!rank && draw.once_in(20)) // a writer may be there before its stream
        rank.emplace(job);
      if (rank && draw.once_in(4))
        rank->read_some(1 + draw.below(2000));
      if (draw.once_in(5))
        actors::tell(job.routes->find(rank ? input_number : stream_number),
                     job.world.role(auth::actor_role::agent), note_input{input_number});
      if (!over && !asked) {
        what.offset = given.size();
        what.ends = pieces-- == 0;
        what.data.resize(what.ends ? 0 : 1 + draw.below(3000));
        for (auto& byte : what.data)
          byte = static_cast<std::uint8_t>(draw.below(256));
        given.append(what.data.begin(), what.data.end());
        asked = job.world.ask(job.agent, job.world.user.cap, what);
      } else if (asked && asked->has_value()) {
        auto& answer = **asked;
        REQUIRE(answer);
        CHECK(answer->offset == given.size());
        CHECK(answer->closed == what.ends);
        over = what.ends;
        // After a lost answer the same is asked again.
        if (!over && draw.once_in(4))
          asked = job.world.ask(job.agent, job.world.user.cap, what);
        else
          asked.reset();
      }
      job.world.step();
    }
    REQUIRE(rank);
    CHECK(over);
    CHECK((rank->got == given));
    CHECK(rank->ended);
    CHECK(job.world.violations.empty());
  }
}

TEST_CASE("input is taken of the job's owner alone, in order, and while the capability is good") {
  streaming job{1};
  rank_input rank{job};
  job.world.settle();
  write_input what;
  what.group = group;
  what.data = {'x'};
  const auto stranger = job.world.log_in(65'534);
  auto refused = job.world.ask(job.agent, stranger.cap, what);
  what.offset = 5;
  auto gap = job.world.ask(job.agent, job.world.user.cap, what);
  job.world.settle();
  REQUIRE(refused->has_value());
  REQUIRE_FALSE((*refused)->has_value());
  CHECK((*refused)->error().code == errc::refused);
  REQUIRE(gap->has_value());
  CHECK((*gap)->error().text.find("input is missing: 0 bytes have come") != std::string::npos);
  // More than the pipe holds: its end waits to be read.
  what.offset = 0;
  what.data.assign(100'000, 'y');
  what.ends = true;
  auto waits = job.world.ask(job.agent, job.world.user.cap, what);
  job.world.settle();
  REQUIRE_FALSE(waits->has_value());
  REQUIRE(job.world.keys.revocations->revoke_uid(job.world.user.uid));
  job.world.advance(2 * ns_per_s);
  job.world.settle();
  REQUIRE(waits->has_value());
  CHECK_FALSE((*waits)->has_value());
  CHECK(job.world.refusals.back().message == typeid(write_input).name());
  rank.read_some(100'000);
  CHECK(rank.got.find('x') == std::string::npos);
}

TEST_CASE("what ended jobs left is trimmed, the oldest first, and never what is held") {
  quick_directory directory;
  const auto files =
      std::make_shared<actors::spool>(directory.path(), actors::spool::limits{1000, 5, 2});
  const auto write = [&](job_id job, std::size_t bytes) {
    auto file = files->open_for_writing(::getuid(), {job, 1, 0, no_element, 0, false});
    REQUIRE(file);
    const std::string text(bytes, 'x');
    REQUIRE(::write(file->get(), text.data(), bytes) == static_cast<ssize_t>(bytes));
  };
  const auto there = [&] {
    std::set<job_id> jobs;
    for (job_id job = 1; job < 10; ++job)
      if (files->owner_of(job))
        jobs.insert(job);
    return jobs;
  };
  for (job_id job = 1; job <= 4; ++job)
    write(job, 300);
  files->hold(1);
  files->trim({2});
  CHECK(there() == std::set<job_id>{1, 2, 4});
  for (job_id job = 5; job <= 9; ++job)
    write(job, 1);
  files->trim();
  CHECK(there() == std::set<job_id>{1, 6, 7, 8, 9});
  // By itself, when enough jobs have ended.
  write(5, 2000);
  files->hold(5);
  files->release(5);
  CHECK(there().contains(5));
  files->release(1);
  CHECK(eventually([&] { return there() == std::set<job_id>{6, 7, 8, 9}; }));
}
