// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <alloca.h>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// The child's side, from fork to execve. It allocates nothing and touches none of the launcher's
// tables. What may block (a directory on a dead file server, a FIFO) comes after it has become the
// user, and its process name says where it is, for the launcher to read at the deadline.

namespace troupe::launcher {

namespace {

using launch::start_stage;

constexpr int script_fd_of_child = 3;
constexpr int first_free_fd = 10; ///< above those that a child gets by number
constexpr std::size_t path_bytes_max = 4096;

struct stage_name {
  start_stage stage;
  const char* name; ///< at most 15 bytes
};
constexpr stage_name stage_names[] = {
    {start_stage::identity, "troupe:identity"},   {start_stage::directory, "troupe:cwd"},
    {start_stage::input, "troupe:stdin"},         {start_stage::output, "troupe:stdout"},
    {start_stage::error_output, "troupe:stderr"}, {start_stage::exec, "troupe:exec"},
};

void enter(start_stage stage) {
  for (const auto& entry : stage_names)
    if (entry.stage == stage)
      (void)::prctl(PR_SET_NAME, entry.name);
}

[[noreturn]] void give_up(const child_plan& plan, start_stage stage, int error,
                          std::string_view text = {}) {
  child_failure failure{};
  failure.rank_index = plan.rank_index;
  failure.pid = ::getpid();
  failure.stage = stage;
  failure.error = error;
  auto length = text.size() < sizeof failure.text ? text.size() : sizeof failure.text;
  failure.length = static_cast<std::uint32_t>(length);
  if (length != 0)
    std::memcpy(failure.text, text.data(), length);
  (void)!::write(plan.error_fd, &failure, sizeof failure);
  ::_exit(127);
}

void set_basics(const child_plan& plan) {
  std::uint64_t none_blocked = 0;
  (void)::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none_blocked, nullptr, sizeof none_blocked);
  if (::setsid() < 0)
    give_up(plan, start_stage::session, errno);
  if (::setrlimit(RLIMIT_NOFILE, &plan.files_limit) != 0)
    give_up(plan, start_stage::limits, errno);
}

/// Becomes the user and proves that it cannot go back.
void become_user(const child_plan& plan) {
  const auto& order = *plan.order;
  gid_t groups[auth::order_groups_max];
  for (std::size_t i = 0; i < order.group_count; ++i)
    groups[i] = order.group(i);
  if (::setgroups(order.group_count, groups) != 0 ||
      ::setresgid(order.gid, order.gid, order.gid) != 0 ||
      ::setresuid(order.uid, order.uid, order.uid) != 0)
    give_up(plan, start_stage::identity, errno);
  uid_t real = 0;
  uid_t effective = 0;
  uid_t saved = 0;
  bool is_user = ::getresuid(&real, &effective, &saved) == 0 && real == order.uid &&
                 effective == order.uid && saved == order.uid && ::getegid() == order.gid;
  if (!is_user || ::setuid(0) == 0 || ::seteuid(0) == 0 || ::setgid(0) == 0 ||
      ::setgroups(0, nullptr) == 0)
    give_up(plan, start_stage::identity, EPERM);
}

/// Dies with the launcher: without it nobody would hold its limits or hear of its end. Set after
/// the ids, because a change of ids clears it.
void die_with_launcher(const child_plan& plan, int signo) {
  if (::prctl(PR_SET_PDEATHSIG, signo) != 0)
    give_up(plan, start_stage::session, errno);
  if (::getppid() != plan.launcher_pid)
    ::_exit(127);
}

void bind_to_cores(const child_plan& plan) {
  const auto& order = *plan.binding;
  std::uint64_t words[auth::order_cpu_words_max] = {};
  std::uint64_t any = 0;
  if (order.bind_mode == 0 || order.cpu_words == 0 || plan.slot >= order.window ||
      plan.local_rank >= order.ranks_here)
    return;
  for (std::uint32_t i = 0; i < order.cpu_words; ++i)
    any |= words[i] = order.cpuset_word(plan.slot, plan.local_rank, i);
  if (any != 0 && ::syscall(SYS_sched_setaffinity, 0, order.cpu_words * 8UL, words) != 0)
    give_up(plan, start_stage::binding, errno);
}

void enter_directory(const child_plan& plan) {
  char path[path_bytes_max];
  const char* directory = plan.spec->cwd;
  if (directory[0] == '\0') {
    auto home = plan.order->home;
    std::memcpy(path, home.data(), home.size());
    path[home.size()] = '\0';
    directory = home.empty() ? "/" : path;
  }
  enter(start_stage::directory);
  if (::chdir(directory) != 0)
    give_up(plan, start_stage::directory, errno, directory);
}

struct text_buffer {
  char* at;
  char* end;
  bool full = false;
  void put(std::string_view text) {
    if (static_cast<std::size_t>(end - at) <= text.size()) {
      full = true;
      return;
    }
    if (!text.empty())
      std::memcpy(at, text.data(), text.size());
    at += text.size();
    *at = '\0';
  }
  void put_number(std::uint64_t value) {
    char digits[24];
    auto* from = digits + sizeof digits;
    do
      *--from = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    put({from, static_cast<std::size_t>(digits + sizeof digits - from)});
  }
};

/// %j job, %a element, %t rank, %N node, %% percent; anything else stays as it is.
bool expand(const child_plan& plan, const char* pattern, char* out) {
  text_buffer buffer{out, out + path_bytes_max};
  buffer.put({});
  for (const char* at = pattern; *at != '\0'; ++at) {
    if (*at != '%' || at[1] == '\0') {
      buffer.put({at, 1});
      continue;
    }
    ++at;
    switch (*at) {
    case 'j': buffer.put_number(plan.order->job); break;
    case 'a': buffer.put_number(plan.order->is_array() ? plan.element : 0); break;
    case 't': buffer.put_number(plan.order->rank_of(plan.local_rank)); break;
    case 'N': buffer.put(plan.order->node_name); break;
    case '%': buffer.put("%"); break;
    default: buffer.put({at - 1, 2});
    }
  }
  return !buffer.full;
}

void open_as(const child_plan& plan, start_stage stage, const char* pattern, int flags, int to) {
  char path[path_bytes_max];
  if (!expand(plan, pattern, path))
    give_up(plan, stage, ENAMETOOLONG, pattern);
  enter(stage);
  bool appends = (flags & O_TRUNC) != 0 && plan.spec->view.appends;
  bool is_shared = (flags & O_TRUNC) != 0 && is_shared_output(plan, pattern);
  if (is_shared || appends)
    flags = (flags & ~O_TRUNC) | O_APPEND;
  int fd = ::open(path, flags | O_NOCTTY | O_CLOEXEC, 0666);
  if (fd >= 0 && is_shared && !appends)
    empty_of_others(plan, pattern, fd);
  if (fd < 0 || ::dup2(fd, to) < 0)
    give_up(plan, stage, errno, path);
}

bool same_text(const char* a, const char* b) {
  return std::strcmp(a, b) == 0;
}

void open_output(const child_plan& plan, start_stage stage, const char* pattern, int stream_fd,
                 int to) {
  // The launcher's standard input is /dev/null, open for both directions.
  int from = stream_fd >= 0 ? stream_fd : STDIN_FILENO;
  if (stream_fd < 0 && pattern[0] != '\0')
    open_as(plan, stage, pattern, O_WRONLY | O_CREAT | O_TRUNC, to);
  else if (::dup2(from, to) < 0)
    give_up(plan, stage, errno);
}

/// The terminal becomes that of its session, and all three of its files.
void open_terminal(const child_plan& plan) {
  enter(start_stage::output);
  if (::ioctl(plan.terminal_fd, TIOCSCTTY, 0) != 0)
    give_up(plan, start_stage::output, errno);
  for (int to : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::dup2(plan.terminal_fd, to) < 0)
      give_up(plan, start_stage::output, errno);
}

void open_files(const child_plan& plan) {
  const auto& spec = *plan.spec;
  if (plan.terminal_fd >= 0) {
    open_terminal(plan);
    return;
  }
  open_output(plan, start_stage::output, spec.output, plan.output_fd, STDOUT_FILENO);
  bool is_same_file = spec.error_output[0] != '\0' && plan.error_output_fd < 0 &&
                      same_text(spec.output, spec.error_output);
  if (spec.view.merge_stderr || is_same_file) {
    if (::dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
      give_up(plan, start_stage::error_output, errno);
  } else {
    open_output(plan, start_stage::error_output, spec.error_output, plan.error_output_fd,
                STDERR_FILENO);
  }
  // Of MPI ranks the first alone reads it, as MPI programs expect; of a stream any first one.
  auto reads = !spec.view.has_shepherd || plan.order->rank_of(plan.local_rank) == 0;
  if (plan.input_fd >= 0 && ::dup2(plan.input_fd, STDIN_FILENO) < 0)
    give_up(plan, start_stage::input, errno);
  if (spec.input[0] != '\0' && spec.view.stdin_path != "|" && reads)
    open_as(plan, start_stage::input, spec.input, O_RDONLY, STDIN_FILENO);
}

void close_the_rest(const child_plan& plan) {
  // All are closed on exec already; this covers what a library may have opened otherwise.
  (void)::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  int fd = plan.spec->script_fd;
  if (fd < 0)
    return;
  bool placed = fd == script_fd_of_child ? ::fcntl(fd, F_SETFD, 0) == 0
                                         : ::dup2(fd, script_fd_of_child) == script_fd_of_child;
  if (!placed)
    give_up(plan, start_stage::script, errno);
}

/// Puts descriptors at 3 and 4, open over the exec, whatever their numbers are now.
bool place_descriptors(int third, int fourth) {
  int from[2] = {third, fourth};
  for (int i = 0; i < 2; ++i) {
    if (from[i] < 0)
      continue;
    from[i] = ::fcntl(from[i], F_DUPFD_CLOEXEC, first_free_fd);
    if (from[i] < 0)
      return false;
  }
  for (int i = 0; i < 2; ++i)
    if (from[i] >= 0 && ::dup2(from[i], 3 + i) < 0)
      return false;
  return true;
}

/// MPI ranks begin as a stub, which asks their shepherd for the environment they need.
[[noreturn]] void execute_stub(const child_plan& plan, char** env) {
  const auto& spec = *plan.spec;
  if (!place_descriptors(plan.channel_fd, plan.stub_fd))
    give_up(plan, start_stage::shepherd, errno);
  char numbers[48];
  text_buffer buffer{numbers, numbers + sizeof numbers};
  char* local_rank = buffer.at;
  buffer.put_number(plan.local_rank);
  char* step = ++buffer.at;
  buffer.put_number(plan.order->step);
  auto** argv = static_cast<char**>(alloca((spec.argc + 4UL) * sizeof(char*)));
  argv[0] = const_cast<char*>("troupe-stub");
  argv[1] = local_rank;
  argv[2] = step;
  std::memcpy(argv + 3, spec.argv, (spec.argc + 1UL) * sizeof(char*)); // and the final nullptr
  ::execve(plan.stub, argv, env);
  give_up(plan, start_stage::shepherd, errno, plan.stub);
}

/// Tries one file as execvp does: a file that is no program is given to the shell.
int try_exec(const char* path, char** argv, char** env) {
  ::execve(path, argv, env);
  if (errno != ENOEXEC)
    return errno;
  std::size_t count = 0;
  while (argv[count] != nullptr)
    ++count;
  auto** with_shell = static_cast<char**>(alloca((count + 2) * sizeof(char*)));
  with_shell[0] = const_cast<char*>("/bin/sh");
  with_shell[1] = const_cast<char*>(path);
  std::memcpy(with_shell + 2, argv + 1, count * sizeof(char*));
  ::execve("/bin/sh", with_shell, env);
  return errno;
}

[[noreturn]] void execute(const child_plan& plan, const char* name, char** argv, char** env) {
  enter(start_stage::exec);
  if (std::strchr(name, '/') != nullptr)
    give_up(plan, start_stage::exec, try_exec(name, argv, env), name);
  int found = ENOENT;
  auto name_length = std::strlen(name);
  char path[path_bytes_max];
  for (const char* at = plan.spec->path;;) {
    const char* end = at;
    while (*end != '\0' && *end != ':')
      ++end;
    auto length = static_cast<std::size_t>(end - at);
    if (length + name_length + 2 < sizeof path) {
      std::memcpy(path, at, length);
      if (length != 0)
        path[length++] = '/';
      std::memcpy(path + length, name, name_length + 1);
      auto error = try_exec(path, argv, env);
      if (error != ENOENT && error != ENOTDIR)
        found = error;
    }
    if (*end == '\0')
      give_up(plan, start_stage::exec, found, name);
    at = end + 1;
  }
}

/// What a rank with GPUs sees of them: for CUDA, for ROCm, and for whoever else asks.
constexpr std::string_view gpu_names[] = {
    "CUDA_VISIBLE_DEVICES=", "ROCR_VISIBLE_DEVICES=", "TROUPE_GPUS="};

bool names_gpus(const char* entry) {
  for (auto name : gpu_names)
    if (std::strncmp(entry, name.data(), name.size()) == 0)
      return true;
  return false;
}

void put_gpus(text_buffer& buffer, std::string_view name, std::uint64_t mask) {
  buffer.put(name);
  bool first = true;
  for (unsigned gpu = 0; gpu < 64; ++gpu) {
    if ((mask >> gpu & 1) == 0)
      continue;
    if (!first)
      buffer.put(",");
    first = false;
    buffer.put_number(gpu);
  }
  ++buffer.at;
}

/// The environment: what the spec says, then what the order says; nothing of the launcher's own.
char** make_environment(const child_plan& plan, char** out, char* numbers, std::size_t room) {
  text_buffer buffer{numbers, numbers + room};
  auto at = out;
  const auto gpus = plan.order->gpu_mask(plan.slot, plan.local_rank);
  for (std::size_t i = 0; i < plan.spec->envc; ++i)
    if (gpus == 0 || !names_gpus(plan.spec->env[i]))
      *at++ = plan.spec->env[i];
  if (gpus != 0)
    for (auto name : gpu_names) {
      *at++ = buffer.at;
      put_gpus(buffer, name, gpus);
    }
  for (const char* text = plan.order_strings; *text != '\0'; text += std::strlen(text) + 1)
    *at++ = const_cast<char*>(text);
  auto number = [&](std::string_view name, std::uint64_t value) {
    *at++ = buffer.at;
    buffer.put(name);
    buffer.put_number(value);
    ++buffer.at;
  };
  if (plan.order->is_array())
    number("TROUPE_ELEMENT=", plan.element);
  number("TROUPE_RANK=", plan.order->rank_of(plan.local_rank));
  number("TROUPE_LOCAL_RANK=", plan.local_rank);
  *at = nullptr;
  return out;
}

char** make_script_arguments(const prepared_spec& spec, char** out) {
  auto at = out;
  *at++ = const_cast<char*>(spec.interpreter);
  if (spec.interpreter_argument != nullptr)
    *at++ = const_cast<char*>(spec.interpreter_argument);
  *at++ = const_cast<char*>("/dev/fd/3");
  std::memcpy(at, spec.argv + 1, spec.argc * sizeof(char*)); // and the final nullptr
  return out;
}

} // namespace

start_stage stage_of_name(const char* name) {
  for (const auto& entry : stage_names)
    if (same_text(entry.name, name))
      return entry.stage;
  return start_stage::session;
}

/// A script on its nodes begins as a stub as well, which tells mpirun where these are.
void run_child(const child_plan& plan) {
  set_basics(plan);
  if (plan.changes_ids) {
    enter(start_stage::identity);
    become_user(plan);
  }
  die_with_launcher(plan, SIGKILL);
  bind_to_cores(plan);
  enter_directory(plan);
  open_files(plan);
  close_the_rest(plan);
  const auto& spec = *plan.spec;
  char numbers[1024];
  auto** env = static_cast<char**>(alloca((spec.envc + 24UL) * sizeof(char*)));
  make_environment(plan, env, numbers, sizeof numbers);
  if (plan.channel_fd >= 0)
    execute_stub(plan, env);
  if (spec.script_fd < 0)
    execute(plan, spec.argv[0], spec.argv, env);
  auto** argv = static_cast<char**>(alloca((spec.argc + 6UL) * sizeof(char*)));
  make_script_arguments(spec, argv + 2);
  // An interpreter that cannot be executed is told of by `execute`.
  if (!plan.order->node_tasks.empty() && ::access(spec.interpreter, X_OK) == 0) {
    argv[0] = const_cast<char*>("troupe-stub");
    argv[1] = const_cast<char*>("--script");
    ::execve(plan.stub, argv, env);
  }
  execute(plan, spec.interpreter, argv + 2, env);
}

void run_helper(const helper_plan& plan) {
  const auto& who = plan.who;
  set_basics(who);
  if (who.changes_ids)
    become_user(who);
  die_with_launcher(who, SIGTERM);
  char home[path_bytes_max + 8] = "HOME=";
  text_buffer{home + 5, home + sizeof home}.put(who.order->home);
  // The launcher's standard input is /dev/null, open for both directions.
  bool ready = ::chdir("/") == 0 && ::dup2(STDIN_FILENO, STDOUT_FILENO) >= 0 &&
               ::dup2(STDIN_FILENO, STDERR_FILENO) >= 0;
  (void)::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  ready = ready && place_descriptors(plan.third, plan.fourth);
  const char* argv[] = {plan.program, plan.argument[0], plan.argument[1], nullptr};
  const char* env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", home, nullptr};
  if (ready)
    ::execve(plan.program, const_cast<char**>(argv), const_cast<char**>(env));
  ::_exit(127);
}

} // namespace troupe::launcher
