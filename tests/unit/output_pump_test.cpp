// SPDX-License-Identifier: Apache-2.0
// Streamed output on its way from a pipe into a file that may not take it.
#include "runtime/launch/output_pump.hpp"
#include "tests/catch.hpp"
#include "tests/eventually.hpp"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sys/resource.h>
#include <unistd.h>

using namespace troupe;
using troupe::test::eventually;

namespace {

/// No file of this process takes more than so many bytes: a disk that is full.
class full_disk {
public:
  explicit full_disk(rlim_t bytes_max) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit low{bytes_max, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &low);
  }
  full_disk(const full_disk&) = delete;
  full_disk& operator=(const full_disk&) = delete;
  ~full_disk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

private:
  rlimit before_{};
};

struct pumping {
  pumping() {
    char name[] = "/tmp/troupe-pump-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    directory = name;
  }
  ~pumping() { std::filesystem::remove_all(directory); }
  pumping(const pumping&) = delete;
  pumping& operator=(const pumping&) = delete;

  std::string path() const { return directory + "/out"; }
  expected<unique_fd> open() {
    unique_fd file{::open(path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    ++opened;
    if (closed || !file)
      return fail(errc::storage, "nothing can be opened here");
    return file;
  }
  /// The writer's end of a pipe that is pumped as this stream.
  unique_fd add(std::uint64_t stream, std::uint64_t limit) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    also_reads.emplace_back(::dup(ends[0])); // as the launcher has it, too
    REQUIRE(pump.add(
        stream, unique_fd{ends[0]}, [this] { return open(); }, limit));
    return unique_fd{ends[1]};
  }
  /// Writes as much of it as the pipe takes.
  std::size_t write(const unique_fd& to, std::string_view text) {
    std::size_t written = 0;
    while (written < text.size()) {
      const auto count = ::write(to.get(), text.data() + written, text.size() - written);
      if (count <= 0)
        break;
      written += static_cast<std::size_t>(count);
    }
    return written;
  }
  std::string text() const {
    std::ifstream in{path(), std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  bool ended() {
    std::lock_guard lock{mutex};
    return last.ended;
  }
  std::size_t troubles() {
    std::lock_guard lock{mutex};
    return told.size();
  }

  std::string directory;
  std::mutex mutex;
  launch::output_pump::progress last;
  std::vector<std::string> told;
  std::vector<unique_fd> also_reads;
  std::atomic<bool> closed{false};
  std::atomic<int> opened{0};
  launch::output_pump pump{[this](const launch::output_pump::progress& what) {
    std::lock_guard lock{mutex};
    last = what;
    if (!what.trouble.empty())
      told.push_back(what.trouble);
  }};
};

std::string numbers(int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += std::to_string(i) + "\n";
  return text;
}

} // namespace

TEST_CASE("output goes into its file, and its end is told") {
  pumping p;
  auto writer = p.add(1, 1u << 30);
  const auto all = numbers(5000);
  REQUIRE(p.write(writer, all) == all.size());
  writer.reset();
  CHECK(eventually([&] { return p.ended(); }));
  CHECK(p.text() == all);
  CHECK(p.troubles() == 0);
}

TEST_CASE("a full disk makes the writer wait, loses nothing, and says so once") {
  pumping p;
  const auto all = numbers(60'000);
  std::size_t written = 0;
  unique_fd writer;
  {
    const full_disk full{100'000};
    writer = p.add(1, 1u << 30);
    REQUIRE(eventually([&] {
      written += p.write(writer, std::string_view{all}.substr(written));
      return p.troubles() > 0;
    }));
    // The pipe fills, and then it takes no more.
    REQUIRE(eventually([&] {
      const auto some = p.write(writer, std::string_view{all}.substr(written));
      written += some;
      return some == 0;
    }));
    CHECK(written < all.size());
    CHECK(p.text() == all.substr(0, 100'000));
  }
  CHECK(eventually([&] {
    written += p.write(writer, std::string_view{all}.substr(written));
    return written == all.size();
  }));
  writer.reset();
  CHECK(eventually([&] { return p.ended(); }));
  CHECK(p.text() == all);
  CHECK(p.troubles() == 1);
}

TEST_CASE("a file that cannot be opened is tried again, and has everything then") {
  pumping p;
  p.closed = true;
  auto writer = p.add(1, 1u << 30);
  const auto all = numbers(100);
  REQUIRE(p.write(writer, all) == all.size());
  writer.reset();
  CHECK(eventually([&] { return p.opened > 2; }));
  CHECK_FALSE(p.ended());
  p.closed = false;
  CHECK(eventually([&] { return p.ended(); }));
  CHECK(p.text() == all);
  CHECK(p.troubles() == 1);
}

TEST_CASE("at its limit a stream waits for its reader, however often it is raised") {
  pumping p;
  auto writer = p.add(1, 1000);
  const auto all = numbers(2000);
  REQUIRE(p.write(writer, all) == all.size());
  writer.reset();
  for (std::uint64_t limit = 1000; limit < all.size(); limit += 1000) {
    CHECK(eventually([&] { return p.text().size() == limit; }));
    CHECK_FALSE(p.ended());
    p.pump.raise_limit(1, limit + 1000);
  }
  CHECK(eventually([&] { return p.ended(); }));
  CHECK(p.text() == all);
}

TEST_CASE("a stream that is removed is watched no more, though its pipe lives on elsewhere") {
  pumping p;
  auto writer = p.add(1, 1u << 30);
  REQUIRE(p.write(writer, "one\n") == 4);
  CHECK(eventually([&] { return p.text() == "one\n"; }));
  p.pump.remove(1);
  // Another one with the same number, as after a reconnect.
  auto again = p.add(2, 1u << 30);
  REQUIRE(p.write(again, "two\n") == 4);
  CHECK(eventually([&] { return p.text() == "one\ntwo\n"; }));
  REQUIRE(p.write(writer, "lost\n") > 0);
  again.reset();
  CHECK(eventually([&] { return p.ended(); }));
  CHECK(p.text() == "one\ntwo\n");
}
