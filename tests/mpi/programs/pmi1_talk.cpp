// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>

// A bare PMI-1 client: says what MPICH's library says, and checks each answer. "spawn" spawns one
// more of itself with a value for it; "child" is that one. "spawn late": the child first waits
// until somebody writes to the FIFO $HOME/go; "spawn alone": and then finds nobody who keeps names.

namespace {

int socket_of_manager() {
  const char* text = std::getenv("PMI_FD");
  return text == nullptr ? -1 : std::atoi(text);
}

void write_line(const std::string& line) {
  const auto all = line + "\n";
  if (::write(socket_of_manager(), all.data(), all.size()) != static_cast<ssize_t>(all.size()))
    std::_Exit(3);
}

std::string read_line() {
  std::string line;
  char c = 0;
  while (::read(socket_of_manager(), &c, 1) == 1 && c != '\n')
    line += c;
  return line;
}

void ask(const std::string& question, const std::string& wanted) {
  write_line(question);
  const auto answer = read_line();
  if (answer.starts_with(wanted))
    return;
  std::printf("'%s': '%s' instead of '%s'\n", question.c_str(), answer.c_str(), wanted.c_str());
  std::fflush(stdout);
  std::_Exit(1);
}

void names(int rank, int size) {
  if (rank == 0)
    ask("cmd=publish_name service=shop port=12", "cmd=publish_result rc=0");
  ask("cmd=barrier_in", "cmd=barrier_out");
  if (rank == size - 1)
    ask("cmd=lookup_name service=shop", "cmd=lookup_result rc=0 msg=success port=12");
  ask("cmd=barrier_in", "cmd=barrier_out");
  if (rank == 0) {
    ask("cmd=unpublish_name service=shop", "cmd=unpublish_result rc=0");
    ask("cmd=lookup_name service=shop", "cmd=lookup_result rc=1");
  }
}

void spawn(const char* program, const std::string& when) {
  for (const auto* line : {"mcmd=spawn", "nprocs=1"})
    write_line(line);
  write_line(std::string{"execname="} + program);
  write_line("arg2=" + when);
  for (const auto* line : {"totspawns=1", "spawnssofar=1", "arg1=child", "argcnt=2", "preput_num=1",
                           "preput_key_0=PARENT", "preput_val_0=the_port", "info_num=0"})
    write_line(line);
  ask("endcmd", "cmd=spawn_result rc=0");
}

void wait_for_word() {
  const auto path = std::string{std::getenv("HOME")} + "/go";
  const int fd = ::open(path.c_str(), O_RDONLY);
  char c = 0;
  if (fd < 0 || ::read(fd, &c, 1) != 1)
    std::_Exit(4);
  ::close(fd);
}

} // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  const std::string when = argc > 2 ? argv[2] : "now";
  const auto rank = std::atoi(std::getenv("PMI_RANK"));
  const auto size = std::atoi(std::getenv("PMI_SIZE"));
  ask("cmd=init pmi_version=1 pmi_subversion=1", "cmd=response_to_init rc=0");
  ask("cmd=get_maxes", "cmd=maxes kvsname_max=");
  ask("cmd=get_appnum", "cmd=appnum appnum=0");
  ask("cmd=get_universe_size", "cmd=universe_size size=64");
  ask("cmd=get_my_kvsname", "cmd=my_kvsname kvsname=troupe.");
  const auto own = std::to_string(rank);
  const auto next = std::to_string((rank + 1) % size);
  ask("cmd=put kvsname=x key=k" + own + " value=v" + own, "cmd=put_result rc=0");
  ask("cmd=put kvsname=x key=k" + own + " value=again", "cmd=put_result rc=-1");
  ask("cmd=barrier_in", "cmd=barrier_out");
  ask("cmd=get kvsname=x key=k" + next, "cmd=get_result rc=0 msg=success value=v" + next);
  if (how == "child" && when != "now")
    wait_for_word();
  if (how == "child" && when == "alone")
    ask("cmd=lookup_name service=shop", "cmd=lookup_result rc=1");
  else if (how == "child")
    ask("cmd=get kvsname=x key=PARENT", "cmd=get_result rc=0 msg=success value=the_port");
  else
    ask("cmd=get kvsname=x key=none", "cmd=get_result rc=-1");
  if (how == "spawn" && rank == 0)
    spawn(argv[0], when);
  if (how.empty())
    names(rank, size);
  ask("cmd=finalize", "cmd=finalize_ack");
  std::printf("rank %d of %d: good\n", rank, size);
}
