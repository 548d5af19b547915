// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::launcher {

namespace {

constexpr char help[] =
    "troupe-launcher: starts ranks on this node by orders of the cluster's authority\n\n"
    "  troupe-launcher enroll --state DIR --cluster-id HEX --nodes 1-4 --uid UID --root-key HEX\n"
    "                         [--uid-min UID] [--private]\n"
    "      writes the trust record: which cluster and nodes this launcher serves, the uid trouped\n"
    "      runs as, and the root key that signs keyrings. --private: one user's own launcher.\n"
    "  troupe-launcher run --state DIR --socket PATH\n"
    "      serves trouped on a Unix socket. SIGTERM ends all jobs, SIGUSR2 replaces the program.\n"
    "  troupe-launcher survivors --state DIR\n"
    "      says how many processes a launcher that was killed left running there.\n"
    "  troupe-launcher --help | --version\n";

char program_path[4096];
char stub_path[4096 + 32]; // children read these: they must not lie in the launcher's mapping
char shepherd_path[4096 + 32];

/// Options of `run`; nullptr, or what is wrong. The last three are for re-exec and for tests.
const char* parse_run(int argc, char** argv, options& out) {
  out.resume_fd = -1;
  out.exec_deadline_ns = 10 * second_ns;
  for (int i = 0; i < argc; i += 2) {
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value == nullptr)
      return "every option needs a value";
    if (std::strcmp(argv[i], "--state") == 0)
      out.state = value;
    else if (std::strcmp(argv[i], "--socket") == 0)
      out.socket = value;
    else if (std::strcmp(argv[i], "--resume-fd") == 0)
      out.resume_fd = std::atoi(value);
    else if (std::strcmp(argv[i], "--exec-deadline-ms") == 0)
      out.exec_deadline_ns = std::atoll(value) * 1'000'000;
    else if (std::strcmp(argv[i], "--cgroup") == 0)
      out.cgroup = value;
    else
      return "unknown option: see --help";
  }
  if (out.state == nullptr || out.socket == nullptr)
    return "--state and --socket are both needed";
  if (out.exec_deadline_ns <= 0)
    return "--exec-deadline-ms needs a number above 0";
  return nullptr;
}

/// Children never get this mapping, so a fork neither copies its tables nor shares them.
/// 0 is /dev/null for both directions (children use it), 1 and 2 exist.
bool tidy_descriptors() {
  int fd = ::open("/dev/null", O_RDWR);
  if (fd < 0 || ::dup2(fd, STDIN_FILENO) < 0)
    return false;
  for (int wanted : {STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(wanted, F_GETFD) < 0 && ::dup2(fd, wanted) < 0)
      return false;
  if (fd > STDERR_FILENO)
    ::close(fd);
  return true;
}

bool set_limits(launcher& l) {
  rlimit core{};
  if (::getrlimit(RLIMIT_CORE, &core) == 0) {
    core.rlim_cur = 0;
    (void)::setrlimit(RLIMIT_CORE, &core);
  }
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0)
    return false;
  if (l.opts.resume_fd < 0)
    l.files_limit = files;
  files.rlim_cur = files.rlim_max; // two per stream; children get back what was found
  return ::setrlimit(RLIMIT_NOFILE, &files) == 0;
}

/// The pipe that children report failed starts on; its write end is out of the way of low numbers.
bool open_error_pipe(launcher& l) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return false;
  l.error_read = ends[0];
  l.error_write = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
  ::close(ends[1]);
  return l.error_write >= 0 && ::fcntl(l.error_read, F_SETFL, O_NONBLOCK) == 0;
}

bool start_new(launcher& l) {
  randombytes_buf(l.instance, sizeof l.instance);
  if (!lock_as_launcher(l) || !open_error_pipe(l))
    return false;
  end_survivors(l);
  return true;
}

bool prepare(launcher& l) {
  char children[64];
  std::snprintf(children, sizeof children, "/proc/self/task/%d/children",
                static_cast<int>(l.own_pid));
  ::umask(022);
  restore_reserve();
  if (!load_trust(l) || !load_keyring(l))
    return false;
  if (!l.rules.is_private() && ::prctl(PR_SET_DUMPABLE, 0) != 0)
    return false;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || !set_limits(l))
    return false;
  if (l.opts.resume_fd >= 0 ? !resume(l) : !start_new(l))
    return false;
  l.children_fd = ::open(children, O_RDONLY | O_CLOEXEC);
  if (l.children_fd < 0)
    say("%s cannot be read: only leftovers in their rank's session will be found", children);
  open_chain(l);
  open_survivors(l);
  find_cgroups(l);
  return true;
}

const char* beside(const char* program, const char* name, char* out) {
  const char* slash = std::strrchr(program, '/');
  auto length = slash == nullptr ? 0 : static_cast<int>(slash - program);
  std::sprintf(out, "%.*s/%s", length, program, name);
  return out;
}

int serve(int argc, char** argv) {
  options opts{};
  if (const char* bad = parse_run(argc - 2, argv + 2, opts)) {
    std::fprintf(stderr, "troupe-launcher run: %s\n", bad);
    return 2;
  }
  if (!tidy_descriptors())
    return 1;
  pid_t keeper = find_keeper();
  if (opts.resume_fd < 0 && !start_keeper(opts, argv, keeper))
    return 1;
  auto length = ::readlink("/proc/self/exe", program_path, sizeof program_path - 1);
  auto* l = make_launcher();
  if (length <= 0 || l == nullptr) {
    say("cannot start: %s", std::strerror(errno));
    return 1;
  }
  l->opts = opts;
  l->opts.program = program_path;
  l->opts.stub = beside(program_path, "troupe-stub", stub_path);
  l->opts.shepherd = beside(program_path, "troupe-shepherd", shepherd_path);
  l->own_uid = ::geteuid();
  l->own_pid = ::getpid();
  l->keeper = hear_of_keeper(keeper) ? keeper : 0;
  if (!prepare(*l)) {
    say("cannot start in %s", l->opts.state);
    return 1;
  }
  return run(*l);
}

} // namespace

} // namespace troupe::launcher

int main(int argc, char** argv) {
  if (sodium_init() < 0)
    return 1;
  const char* command = argc > 1 ? argv[1] : "";
  if (std::strcmp(command, "enroll") == 0)
    return troupe::launcher::enroll(argc - 2, argv + 2);
  if (std::strcmp(command, "run") == 0)
    return troupe::launcher::serve(argc, argv);
  if (std::strcmp(command, "survivors") == 0 && argc == 4 && std::strcmp(argv[2], "--state") == 0)
    return troupe::launcher::count_survivors(argv[3]);
  if (std::strcmp(command, "--version") == 0)
    return std::puts("troupe-launcher " TROUPE_VERSION) < 0;
  bool wants_help = std::strcmp(command, "--help") == 0;
  std::fputs(troupe::launcher::help, wants_help ? stdout : stderr);
  return wants_help ? 0 : 2;
}
