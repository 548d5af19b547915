// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"

#include <csignal>
#include <exception>
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char** argv) {
  // What was closed for us must not be taken for a file or a socket that we open ourselves.
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0)
      (void)!::open("/dev/null", O_RDWR);
  // A reader that goes away is an error of write(), told where it happens.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return troupe::cli::main_of({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const std::exception& what) {
    std::string text = std::string{"troupe: "} + what.what() + "; this is a defect of Troupe\n";
    [[maybe_unused]] auto written = ::write(STDERR_FILENO, text.data(), text.size());
    return troupe::cli::exit_code::failed;
  }
}
