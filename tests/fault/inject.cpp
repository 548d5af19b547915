// SPDX-License-Identifier: Apache-2.0
#include "fault/inject.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace troupe::test {

namespace {

namespace files = std::filesystem;

pid_t process_of(const test_cluster& cluster, victim whose) {
  return whose == victim::trouped ? cluster.trouped() : cluster.launcher();
}

bool is_traced(const files::path& task) {
  return read_file((task / "status").string()).find("TracerPid:\t0\n") == std::string::npos;
}

/// Every thread of it, so that none makes the call unseen.
bool is_traced_whole(pid_t pid) {
  std::error_code gone;
  bool any = false;
  for (const auto& task :
       files::directory_iterator{"/proc/" + std::to_string(pid) + "/task", gone}) {
    any = true;
    if (!is_traced(task.path()))
      return false;
  }
  return any;
}

struct call_errors {
  const char* call;
  std::vector<std::string> errors;
};

const std::vector<call_errors>& table() {
  static const std::vector<call_errors> all{
      {"openat", {"EMFILE", "ENFILE", "ENOMEM"}},
      {"open", {"EMFILE", "ENFILE", "ENOMEM"}},
      {"read", {"EINTR", "EIO"}},
      {"pread64", {"EINTR", "EIO"}},
      {"write", {"ENOSPC", "EINTR"}},
      {"mmap", {"ENOMEM"}},
      {"clone3", {"EAGAIN", "ENOMEM"}},
      {"pipe2", {"EMFILE", "ENFILE"}},
      {"memfd_create", {"EMFILE", "ENOMEM"}},
      {"socketpair", {"EMFILE", "ENOBUFS"}},
      {"accept4", {"EMFILE", "ENFILE", "ECONNABORTED", "ENOMEM"}},
      {"sendmsg", {"EAGAIN", "ENOBUFS", "EINTR", "ENOMEM"}},
      {"sendto", {"EAGAIN", "ENOBUFS", "EINTR"}},
      {"recvmsg", {"EAGAIN", "EINTR", "ENOMEM"}},
      {"recvfrom", {"EAGAIN", "EINTR", "ENOMEM"}},
      {"epoll_ctl", {"ENOMEM", "ENOSPC"}},
      {"epoll_wait", {"EINTR"}},
      {"poll", {"EINTR", "ENOMEM"}},
      {"waitid", {"EINTR"}},
      {"wait4", {"EINTR"}},
      {"kill", {"EPERM"}},
      {"fcntl", {"EMFILE", "ENOMEM"}},
      {"ftruncate", {"EIO"}},
      {"flock", {"EINTR", "ENOLCK"}},
      {"newfstatat", {"ENOMEM"}},
      {"splice", {"EAGAIN", "EINTR", "ENOMEM"}},
      {"getsockopt", {"ENOBUFS"}},
      {"mkdir", {"EMLINK", "ENOMEM"}},
      {"dup2", {"EMFILE", "EBUSY"}},
      {"setsid", {"EPERM"}},
      {"prlimit64", {"EPERM"}},
      {"setrlimit", {"EPERM"}},
      {"prctl", {"EINVAL"}},
      {"chdir", {"EACCES", "ENOMEM"}},
      {"sched_setaffinity", {"EINVAL"}},
      {"execve", {"EAGAIN", "ENOMEM", "ETXTBSY"}},
  };
  return all;
}

} // namespace

const char* to_string(victim whose) {
  switch (whose) {
  case victim::launcher: return "launcher";
  case victim::child: return "child";
  case victim::trouped: return "trouped";
  }
  return "nobody";
}

std::string sentence(const fault& what) {
  return std::string{to_string(what.whose)} + ": " + what.call + " fails with " + what.error +
         ", when=" + what.when;
}

std::vector<std::string> errors_of(const std::string& call) {
  for (const auto& each : table())
    if (call == each.call)
      return each.errors;
  return {};
}

bool can_trace() {
  const std::vector<std::string> environment{"PATH=/usr/local/bin:/usr/bin:/bin"};
  running_program sleeper{{"sleep", "60"}, "/tmp", environment};
  running_program strace{{"sh", "-c",
                          "command -v strace >/dev/null && exec strace -qq -o /dev/null -p " +
                              std::to_string(sleeper.pid())},
                         "/tmp",
                         environment};
  const auto attached = eventually(
      [&] { return strace.ended() || is_traced("/proc/" + std::to_string(sleeper.pid())); });
  const auto may = attached && !strace.ended();
  if (may) {
    strace.signal(SIGINT);
    strace.wait();
  }
  return may;
}

tracer::tracer(test_cluster& cluster, victim whose, const words& options) {
  const auto pid = process_of(cluster, whose);
  if (pid <= 1)
    return;
  words command{"strace", "-qq", "-p", std::to_string(pid)};
  if (whose != victim::launcher)
    command.push_back("-f");
  if (whose == victim::child)
    command.insert(command.end(), {"-b", "execve"});
  command.insert(command.end(), options.begin(), options.end());
  strace_.emplace(command, cluster.work(), cluster.environment());
  attached_ =
      eventually([&] { return strace_->ended() || is_traced_whole(pid); }) && !strace_->ended();
}

tracer::~tracer() {
  if (!strace_ || strace_->ended())
    return;
  strace_->signal(SIGINT);
  strace_->wait(10s);
}

double cpu_seconds(pid_t pid) {
  std::istringstream stat{read_file("/proc/" + std::to_string(pid) + "/stat")};
  std::string word;
  for (int i = 1; i <= 13; ++i)
    stat >> word;
  double user = 0, system = 0;
  stat >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

} // namespace troupe::test
