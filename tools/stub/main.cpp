// SPDX-License-Identifier: Apache-2.0
#include "tools/stub/host_name.hpp"
#include "tools/stub/protocol.hpp"
#include "tools/stub/script.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// troupe-stub: what a rank of an MPI job is until its shepherd has told it its environment. It runs
// as the user, so nothing that PMIx or MPI needs ever passes through a privileged process.
//
//   troupe-stub LOCAL-RANK STEP PROGRAM [ARGUMENT...]
//   troupe-stub --script INTERPRETER [ARGUMENT...]

namespace troupe::stub {

namespace {

constexpr std::size_t path_bytes_max = 4096;
constexpr char default_path[] = "/usr/local/bin:/usr/bin:/bin";

[[noreturn]] void give_up(int error, const char* about) {
  start_failure failure;
  failure.pid = ::getpid();
  failure.stage = stage_exec;
  failure.error = error;
  auto length = std::strlen(about);
  if (length > sizeof failure.text)
    length = sizeof failure.text;
  failure.length = static_cast<std::uint32_t>(length);
  std::memcpy(failure.text, about, length);
  (void)!::write(error_fd, &failure, sizeof failure);
  ::_exit(127);
}

std::int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

/// Waits until `fd` is ready; gives up at the deadline.
void wait_for(int fd, short events, std::int64_t deadline) {
  for (;;) {
    const auto left = deadline - now_ms();
    pollfd entry{fd, events, 0};
    const auto ready = left <= 0 ? 0 : ::poll(&entry, 1, static_cast<int>(left));
    if (ready > 0)
      return;
    if (ready == 0)
      give_up(ETIMEDOUT, "(no word from the job's shepherd)");
    if (errno != EINTR)
      give_up(errno, "(waiting for the job's shepherd)");
  }
}

/// Sends one end of a new socketpair, and its output, over the channel; answers the other end.
int introduce(const hello& who, std::int64_t deadline) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    give_up(errno, "(a socket for the job's shepherd)");
  iovec part{const_cast<hello*>(&who), sizeof who};
  const int lent[hello_descriptors] = {ends[1], STDOUT_FILENO, STDERR_FILENO};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof lent)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  auto* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof lent);
  std::memcpy(CMSG_DATA(rights), lent, sizeof lent);
  while (::sendmsg(channel_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EAGAIN)
      wait_for(channel_fd, POLLOUT, deadline);
    else if (errno != EINTR)
      give_up(errno, "(telling the job's shepherd)");
  }
  ::close(ends[1]);
  ::close(channel_fd);
  return ends[0];
}

void read_all(int fd, void* into, std::size_t bytes, std::int64_t deadline) {
  auto* at = static_cast<char*>(into);
  while (bytes != 0) {
    wait_for(fd, POLLIN, deadline);
    const auto got = ::recv(fd, at, bytes, MSG_DONTWAIT);
    if (got == 0)
      give_up(ECONNRESET, "(the job's shepherd is gone)");
    if (got < 0 && errno != EINTR && errno != EAGAIN)
      give_up(errno, "(hearing from the job's shepherd)");
    if (got > 0) {
      at += got;
      bytes -= static_cast<std::size_t>(got);
    }
  }
}

struct texts {
  char* begin;
  char* end;
};

struct answer {
  char** command; ///< directory and words, or nullptr
  texts variables;
  std::uint32_t flags;
};

/// Its first `count` texts, with a nullptr behind them; what follows them is left in `from`.
char** take_words(texts& from, std::uint32_t count) {
  auto** words = static_cast<char**>(std::malloc((count + 1UL) * sizeof(char*)));
  if (words == nullptr)
    give_up(ENOMEM, "(the command)");
  for (std::uint32_t i = 0; i < count; ++i) {
    if (from.begin >= from.end)
      give_up(EPROTO, "(the job's shepherd said too little)");
    words[i] = from.begin;
    from.begin += std::strlen(from.begin) + 1;
  }
  words[count] = nullptr;
  return words;
}

answer read_answer(int fd, std::int64_t deadline) {
  answer_head head;
  read_all(fd, &head, sizeof head, deadline);
  if (head.bytes > environment_bytes_max || head.words > head.bytes || head.words == 1)
    give_up(EPROTO, "(the job's shepherd said too much)");
  auto* memory = static_cast<char*>(std::malloc(head.bytes + 1));
  if (memory == nullptr)
    give_up(ENOMEM, "(the environment)");
  read_all(fd, memory, head.bytes, deadline);
  memory[head.bytes] = '\0'; // the last text ends, whatever was sent
  answer told{nullptr, {memory, memory + head.bytes}, head.flags};
  if (head.words != 0)
    told.command = take_words(told.variables, head.words);
  return told;
}

/// Its own program, or the one it was told of.
char** command_of(const answer& told, char** own) {
  if (told.command == nullptr)
    return own;
  if (told.command[0][0] != '\0' && ::chdir(told.command[0]) != 0)
    give_up(errno, told.command[0]);
  return told.command + 1;
}

/// Whether a text of the shepherd's removes or replaces the variable `entry`.
bool covers(const char* text, const char* entry) {
  const auto name = std::strcspn(text, "=");
  if (text[name] == '=')
    return std::strncmp(text, entry, name + 1) == 0;
  if (name != 0 && text[name - 1] == '*')
    return std::strncmp(text, entry, name - 1) == 0;
  return std::strncmp(text, entry, name) == 0 && entry[name] == '=';
}

/// PMI-1's clients read the socket's number from their environment.
char* with_socket(char* text, int fd) {
  static char variable[32];
  if (std::strncmp(text, "PMI_FD=", 7) != 0)
    return text;
  std::snprintf(variable, sizeof variable, "PMI_FD=%d", fd);
  if (::fcntl(fd, F_SETFD, 0) != 0)
    give_up(errno, "PMI_FD");
  return variable;
}

char** merge(char** inherited, const texts& told, int fd) {
  std::size_t count = 1;
  for (auto** at = inherited; *at != nullptr; ++at)
    ++count;
  for (auto* at = told.begin; at < told.end; at += std::strlen(at) + 1)
    ++count;
  auto** merged = static_cast<char**>(std::malloc(count * sizeof(char*)));
  if (merged == nullptr)
    give_up(ENOMEM, "(the environment)");
  auto** to = merged;
  for (auto** entry = inherited; *entry != nullptr; ++entry) {
    bool covered = false;
    for (auto* at = told.begin; at < told.end && !covered; at += std::strlen(at) + 1)
      covered = covers(at, *entry);
    if (!covered)
      *to++ = *entry;
  }
  for (auto* at = told.begin; at < told.end; at += std::strlen(at) + 1)
    if (std::strchr(at, '=') != nullptr)
      *to++ = with_socket(at, fd);
  *to = nullptr;
  return merged;
}

const char* search_path(char** env) {
  for (; *env != nullptr; ++env)
    if (std::strncmp(*env, "PATH=", 5) == 0)
      return *env + 5;
  return default_path;
}

/// Tries one file as execvp does: a file that is no program is given to the shell.
int try_exec(const char* path, char** argv, char** env) {
  ::execve(path, argv, env);
  if (errno != ENOEXEC)
    return errno;
  std::size_t count = 0;
  while (argv[count] != nullptr)
    ++count;
  auto** with_shell = static_cast<char**>(std::malloc((count + 2) * sizeof(char*)));
  if (with_shell == nullptr)
    return ENOMEM;
  with_shell[0] = const_cast<char*>("/bin/sh");
  with_shell[1] = const_cast<char*>(path);
  std::memcpy(with_shell + 2, argv + 1, count * sizeof(char*)); // and the final nullptr
  ::execve("/bin/sh", with_shell, env);
  const auto error = errno;
  std::free(with_shell);
  return error;
}

[[noreturn]] void execute(char** argv, char** env) {
  const char* name = argv[0];
  if (std::strchr(name, '/') != nullptr)
    give_up(try_exec(name, argv, env), name);
  int found = ENOENT;
  char path[path_bytes_max];
  for (const char* at = search_path(env);;) {
    const auto length = std::strcspn(at, ":");
    const auto written = std::snprintf(path, sizeof path, "%.*s%s%s", static_cast<int>(length), at,
                                       length == 0 ? "" : "/", name);
    if (written > 0 && static_cast<std::size_t>(written) < sizeof path) {
      const auto error = try_exec(path, argv, env);
      if (error != ENOENT && error != ENOTDIR)
        found = error;
    }
    if (at[length] == '\0')
      give_up(found, name);
    at += length + 1;
  }
}

bool is_prte_daemon(char** command) {
  for (; *command != nullptr; ++command)
    if (std::strstr(*command, "/prted ") != nullptr)
      return true;
  return false;
}

/// PRRTE, which is Open MPI 5's, calls each node what its daemon's host is called: nodes of one
/// name are one to it, and their ranks wait for each other for ever. Daemons of others go by the
/// list of nodes, and have to find mpirun's host by its name.
void take_name_of_node(char** command) {
  const char* node = std::getenv("TROUPE_NODE");
  if (node == nullptr || !is_prte_daemon(command))
    return;
  const int error = take_host_name(node);
  if (error != 0)
    std::fprintf(stderr,
                 "troupe-stub: %s cannot have a host name of its own here (%s): Open MPI 5's "
                 "mpirun needs that where nodes share a host, and may wait for ever; troupe run "
                 "does not\n",
                 node, std::strerror(error));
}

bool parse(const char* text, std::uint32_t& number) {
  char* end = nullptr;
  errno = 0;
  const auto value = std::strtoul(text, &end, 10);
  number = static_cast<std::uint32_t>(value);
  return errno == 0 && end != text && *end == '\0' && value <= 0xffffffff;
}

int run(int argc, char** argv) {
  hello who;
  if (argc > 2 && std::strcmp(argv[1], "--script") == 0)
    return run_script(argv + 2);
  if (argc < 4 || !parse(argv[1], who.local_rank) || !parse(argv[2], who.step)) {
    std::fputs("troupe-stub: started by troupe-launcher alone\n"
               "  troupe-stub LOCAL-RANK STEP PROGRAM [ARGUMENT...]\n"
               "  troupe-stub --script INTERPRETER [ARGUMENT...]\n",
               stderr);
    return 2;
  }
  (void)::fcntl(channel_fd, F_SETFD, FD_CLOEXEC);
  (void)::fcntl(error_fd, F_SETFD, FD_CLOEXEC);
  const auto deadline = now_ms() + std::int64_t{deadline_s} * 1000;
  const auto fd = introduce(who, deadline);
  const auto told = read_answer(fd, deadline);
  auto** command = command_of(told, argv + 3);
  if ((told.flags & flag_own_host_name) != 0)
    take_name_of_node(command);
  execute(command, merge(environ, told.variables, fd));
}

} // namespace

} // namespace troupe::stub

int main(int argc, char** argv) {
  return troupe::stub::run(argc, argv);
}
