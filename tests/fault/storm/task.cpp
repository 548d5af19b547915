// SPDX-License-Identifier: Apache-2.0
// What the storm's jobs run. It keeps the storm's own books, outside Troupe: a line in a file,
// synced, when it starts and when it ends, and a lock on its name while it lives.
//
//   storm_task MARKS SUBMISSION CODE run MILLISECONDS      then ends with CODE
//   storm_task MARKS SUBMISSION CODE stubborn MILLISECONDS   SIGTERM ends it only so much later
//   storm_task MARKS SUBMISSION CODE line TEXT              prints one line
//   storm_task MARKS SUBMISSION CODE stream BYTES SEED      writes bytes that SEED gives
//   storm_task MARKS SUBMISSION CODE swallow                reads its input, prints length and hash
#include "tests/fault/storm/bytes.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

namespace {

std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

long long boot_now() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<long long>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

class book {
public:
  book(const std::string& folder, const std::string& submission) {
    // A script's steps are tasks of their own.
    name_ = submission + ' ' + variable("TROUPE_JOB_ID", "0") + ' ' +
            variable("TROUPE_ELEMENT", "-") + ' ' + variable("TROUPE_STEP", "0") + ' ' +
            variable("TROUPE_RANK", "0");
    marks_ = ::open((folder + "/marks").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    auto lock = folder + "/locks/" + name_;
    for (auto& c : lock)
      c = c == ' ' ? '.' : c;
    lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (marks_ < 0 || lock_ < 0)
      std::exit(99);
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0)
      mark('D', 0); // the same task runs already
  }
  /// One line, in one write.
  void mark(char kind, int code) {
    const auto line = std::string{kind} + ' ' + name_ + ' ' + std::to_string(::getpid()) + ' ' +
                      std::to_string(boot_now()) + ' ' + std::to_string(code) + '\n';
    if (::write(marks_, line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
        ::fdatasync(marks_) != 0)
      std::exit(98);
  }

private:
  std::string name_;
  int marks_ = -1;
  int lock_ = -1;
};

void pause_for(long milliseconds) {
  const auto until = boot_now() + milliseconds * 1'000'000LL;
  for (auto left = until - boot_now(); left > 0; left = until - boot_now())
    (void)::poll(nullptr, 0, static_cast<int>(left / 1'000'000) + 1);
}

volatile std::sig_atomic_t asked_to_end = 0;

int be_stubborn(long milliseconds, int code) {
  std::signal(SIGTERM, [](int) { asked_to_end = 1; });
  while (asked_to_end == 0)
    (void)::poll(nullptr, 0, 50);
  pause_for(milliseconds);
  return code;
}

bool write_all(const char* bytes, std::size_t size) {
  while (size > 0) {
    const auto done = ::write(STDOUT_FILENO, bytes, size);
    if (done < 0 && errno == EINTR)
      continue;
    if (done <= 0)
      return false;
    bytes += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

int stream(std::size_t bytes, unsigned seed, int code) {
  troupe::storm::byte_source from{seed};
  std::array<char, 8192> piece{};
  for (std::size_t count = 0; bytes > 0; ++count) {
    const auto size = std::min(bytes, piece.size());
    from.fill(piece.data(), size);
    if (!write_all(piece.data(), size))
      return 97;
    bytes -= size;
    if (count % 16 == 0)
      pause_for(2);
  }
  return code;
}

int swallow(int code) {
  troupe::storm::byte_hash hash;
  std::array<char, 16384> piece{};
  for (;;) {
    const auto got = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return 96;
    if (got == 0)
      break;
    hash.add(piece.data(), static_cast<std::size_t>(got));
  }
  const auto text = hash.text() + "\n";
  return write_all(text.data(), text.size()) ? code : 97;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 5)
    return 95;
  const std::string what = argv[4];
  const auto argument = [&](int i) { return argc > i ? argv[i] : "0"; };
  const int code = std::atoi(argv[3]);
  book keeps{argv[1], argv[2]};
  keeps.mark('S', 0);
  int result = 94;
  if (what == "run") {
    pause_for(std::atol(argument(5)));
    result = code;
  } else if (what == "stubborn") {
    result = be_stubborn(std::atol(argument(5)), code);
  } else if (what == "line") {
    const auto line = std::string{argument(5)} + ' ' + variable("TROUPE_ELEMENT", "-") + '\n';
    result = write_all(line.data(), line.size()) ? code : 97;
  } else if (what == "stream") {
    result = stream(std::strtoull(argument(5), nullptr, 10),
                    static_cast<unsigned>(std::strtoul(argument(6), nullptr, 10)), code);
  } else if (what == "swallow") {
    result = swallow(code);
  }
  keeps.mark('E', result);
  return result;
}
