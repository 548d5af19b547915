// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/say.hpp"
#include "tools/shepherd/shepherd.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/stat.h>

namespace troupe::shepherd {

namespace {

constexpr int agent_fd = 3;
constexpr int channel_fd = 4;

constexpr char help[] =
    "troupe-shepherd: hosts the PMIx server of one MPI job on this node, as the job's user\n\n"
    "  troupe-shepherd\n"
    "      started by troupe-launcher: descriptor 3 is its half of the agent's socketpair, 4 the\n"
    "      receiving end of the stub channel. SIGTERM ends it.\n"
    "  troupe-shepherd --clean NAME\n"
    "      removes the directories that a killed shepherd of this user left behind.\n"
    "  troupe-shepherd --help | --version\n";

int clean(const char* name) {
  if (name[0] == '\0' || name[0] == '.' || std::strchr(name, '/') != nullptr) {
    std::fputs("troupe-shepherd: --clean needs the name of a directory, without a path\n", stderr);
    return 2;
  }
  (void)::signal(SIGTERM, SIG_IGN); // of a launcher that was killed: there is all the more to do
  clean_directories(temporary_base(), name);
  clean_directories(shared_memory_base, name);
  return 0;
}

/// What a service needs before anything else: private files, descriptors that stay here, and as
/// many of them as are allowed.
bool prepare() {
  ::umask(077);
  (void)::signal(SIGPIPE, SIG_IGN); // the library writes to clients that may have died
  for (const int fd : {agent_fd, channel_fd})
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
      return false;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  return sodium_init() >= 0;
}

int serve() {
  if (!prepare()) {
    say("it is started by troupe-launcher alone, with descriptors 3 and 4: see --help");
    return 2;
  }
  shepherd s{agent_fd, channel_fd};
  const auto code = s.run();
  s.finish();
  std::fflush(nullptr);
  ::_exit(code); // threads of the library may still run: nothing is destroyed under them
}

} // namespace

} // namespace troupe::shepherd

int main(int argc, char** argv) {
  using namespace troupe::shepherd;
  if (argc == 1)
    return serve();
  if (argc == 3 && std::strcmp(argv[1], "--clean") == 0)
    return clean(argv[2]);
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0)
    return std::puts("troupe-shepherd " TROUPE_VERSION) < 0;
  const bool wants_help = argc == 2 && std::strcmp(argv[1], "--help") == 0;
  std::fputs(help, wants_help ? stdout : stderr);
  return wants_help ? 0 : 2;
}
