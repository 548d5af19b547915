// SPDX-License-Identifier: Apache-2.0
// spawn_ceiling PROGRAM COUNT [PROCESSES]: how many programs per second this machine can start and
// see the end of, by PROCESSES (2) processes that do posix_spawn and wait and nothing else.
#include "bench/stopwatch.hpp"

#include <cstdio>
#include <cstdlib>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace {

bool spawn_and_wait(char* program, int count) {
  char* argv[] = {program, nullptr};
  for (int i = 0; i < count; ++i) {
    pid_t child = 0;
    int status = 0;
    if (::posix_spawn(&child, program, nullptr, nullptr, argv, environ) != 0 ||
        ::waitpid(child, &status, 0) != child || status != 0)
      return false;
  }
  return true;
}

} // namespace

int main(int argc, char** argv) {
  const int count = argc > 2 ? std::atoi(argv[2]) : 0;
  const int processes = argc > 3 ? std::atoi(argv[3]) : 2;
  if (count < 1 || processes < 1) {
    std::fprintf(stderr, "usage: spawn_ceiling PROGRAM COUNT [PROCESSES]\n");
    return 2;
  }
  const troupe::bench::stopwatch watch;
  for (int i = 0; i < processes; ++i) {
    const pid_t child = ::fork();
    if (child < 0) {
      std::perror("fork");
      return 1;
    }
    if (child == 0) {
      // As the controller and the launcher are: the kernel shares the CPU among sessions.
      ::setsid();
      ::_exit(spawn_and_wait(argv[1], count / processes) ? 0 : 1);
    }
  }
  for (int i = 0; i < processes; ++i) {
    int status = 0;
    if (::wait(&status) < 0 || status != 0) {
      std::fprintf(stderr, "%s could not be started or failed\n", argv[1]);
      return 1;
    }
  }
  std::printf("%.1f\n", count / processes * processes / watch.seconds());
}
