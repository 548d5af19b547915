// SPDX-License-Identifier: Apache-2.0
// time_command [-o FILE] [-s SECONDS] COUNT COMMAND [ARGUMENT...]: runs a command COUNT times, one
// after another (or for SECONDS at most), its output to FILE (/dev/null); prints in milliseconds
// the median, the 99th percentile and the longest, and how often it ran.
#include "bench/stopwatch.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

int main(int argc, char** argv) {
  const char* output = "/dev/null";
  double seconds_max = 1e9;
  int at = 1;
  for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
    if (std::strcmp(argv[at], "-o") == 0)
      output = argv[at + 1];
    else
      seconds_max = std::atof(argv[at + 1]);
  }
  const int count = at < argc ? std::atoi(argv[at]) : 0;
  if (count < 1 || at + 1 >= argc) {
    std::fprintf(stderr, "usage: time_command [-o FILE] [-s SECONDS] COUNT COMMAND...\n");
    return 2;
  }
  char** command = argv + at + 1;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::vector<double> all;
  const troupe::bench::stopwatch total;
  for (int i = 0; i < count && total.seconds() < seconds_max; ++i) {
    const troupe::bench::stopwatch watch;
    pid_t child = 0;
    int status = 0;
    if (::posix_spawnp(&child, command[0], &actions, nullptr, command, environ) != 0 ||
        ::waitpid(child, &status, 0) != child) {
      std::perror(command[0]);
      return 1;
    }
    if (status != 0) {
      std::fprintf(stderr, "%s failed with status %d\n", command[0], status);
      return 1;
    }
    all.push_back(watch.seconds() * 1e3);
  }
  using troupe::bench::quantile;
  std::printf("%.2f %.2f %.2f %zu\n", quantile(all, 0.5), quantile(all, 0.99), quantile(all, 1),
              all.size());
}
