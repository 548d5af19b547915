// SPDX-License-Identifier: Apache-2.0
#include "tools/stub/nodes.hpp"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

// troupe-rsh: what mpirun starts its daemons with in place of ssh, on nodes of the job around it.
// The daemon becomes a step, bound to all that the job has on that node; it shares these cores with
// other steps, because it waits for none.
//
//   troupe-rsh [OPTION...] NODE WORD...

namespace {

using troupe::stub::node_reader;

constexpr std::size_t command_bytes_max = 120 * 1024;

/// As ssh does: the words, one blank between them, are a line for the shell.
bool join(char** words, char* out, std::size_t room) {
  std::size_t length = 0;
  for (; *words != nullptr; ++words) {
    const auto bytes = std::strlen(*words);
    if (length + bytes + 2 > room)
      return false;
    if (length != 0)
      out[length++] = ' ';
    std::memcpy(out + length, *words, bytes);
    length += bytes;
  }
  out[length] = '\0';
  return length != 0;
}

int refuse(const char* why, const char* about) {
  std::fprintf(stderr, "troupe-rsh: %s%s\n", about, why);
  return 255; // as ssh's own failures
}

/// The cores that the job has on a node; 0 where it is none of the job's.
unsigned long cores_on(const char* node) {
  const char* each = std::getenv("TROUPE_CORES_PER_TASK");
  const auto cores_per_task = each == nullptr ? 1UL : std::strtoul(each, nullptr, 10);
  node_reader nodes{std::getenv("TROUPE_NODELIST"), std::getenv("TROUPE_TASKS_PER_NODE")};
  while (nodes.next())
    if (nodes.is(node))
      return nodes.tasks * cores_per_task;
  return 0;
}

} // namespace

int main(int, char** argv) {
  ++argv;
  while (*argv != nullptr && **argv == '-')
    ++argv;
  static char line[command_bytes_max];
  if (*argv == nullptr || argv[1] == nullptr)
    return refuse("a node of the job and a command are needed: troupe-rsh NODE COMMAND...", "");
  if (!join(argv + 1, line, sizeof line))
    return refuse("the command is empty or longer than 120 KiB", "");
  const auto cores = cores_on(*argv);
  if (cores == 0)
    return refuse(": no node of the job around this (see TROUPE_NODELIST)", *argv);
  char text[24];
  std::snprintf(text, sizeof text, "%lu", cores);
  char path[PATH_MAX];
  const auto length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  char* slash = length <= 0 ? nullptr : static_cast<char*>(::memrchr(path, '/', length));
  if (slash == nullptr || slash + sizeof "/troupe" > path + sizeof path)
    return refuse("its own folder cannot be found", "");
  std::memcpy(slash, "/troupe", sizeof "/troupe");
  // What mpirun reads it passes on to rank 0 itself.
  const char* command[] = {path,     "run", "--stdin", "/dev/null", "--overlap", "--mpi",
                           "rte",    "-N",  "1",       "-n",        "1",         "-c",
                           text,     "-w",  *argv,     "--bind",    "core",      "-J",
                           "mpirun", "--",  "/bin/sh", "-c",        line,        nullptr};
  ::execv(path, const_cast<char**>(command));
  return refuse(std::strerror(errno), "troupe: ");
}
