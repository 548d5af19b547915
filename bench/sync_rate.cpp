// SPDX-License-Identifier: Apache-2.0
// sync_rate DIRECTORY [COUNT]: appended blocks of 4 KiB per second, each followed by fdatasync: the
// most that any log on this disk can do one by one.
#include "base/unique_fd.hpp"
#include "bench/stopwatch.hpp"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <vector>

int main(int argc, char** argv) {
  const int count = argc > 2 ? std::atoi(argv[2]) : 500;
  if (argc < 2 || count < 1) {
    std::fprintf(stderr, "usage: sync_rate DIRECTORY [COUNT]\n");
    return 2;
  }
  const auto path = std::string{argv[1]} + "/sync-rate";
  const troupe::unique_fd file{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  ::unlink(path.c_str());
  const std::vector<char> block(4096, 'x');
  const troupe::bench::stopwatch watch;
  for (int i = 0; i < count; ++i)
    if (::write(file.get(), block.data(), block.size()) != 4096 || ::fdatasync(file.get()) != 0) {
      std::perror(path.c_str());
      return 1;
    }
  std::printf("%.1f\n", count / watch.seconds());
}
