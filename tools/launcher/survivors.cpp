// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// If the launcher is killed, its ranks die with it (PR_SET_PDEATHSIG, see child.cpp), and its
// keeper ends what they had started (keeper.cpp). If both are killed, the next instance looks for
// that: the ranks that run stand in a file, written through a shared mapping, so that a start costs
// no system call. It cannot find everything, and says so to its peer. Exit statuses are lost with
// the old instance; the daemon reports such elements as lost.

namespace troupe::launcher {

namespace {

constexpr std::uint64_t survivors_magic = 0x3154535250524f54; // layout 1
constexpr std::int64_t tick_ns = second_ns / 100;
constexpr int rounds_max = 200;

bool names(const char* environment, std::size_t length, const char* name, std::uint64_t wanted) {
  char text[64];
  auto size = static_cast<std::size_t>(
      std::snprintf(text, sizeof text, "%s=%llu", name, static_cast<unsigned long long>(wanted)));
  for (std::size_t at = 0; at < length;) {
    auto entry = ::strnlen(environment + at, length - at);
    if (entry == size && std::memcmp(environment + at, text, size) == 0)
      return true;
    at += entry + 1;
  }
  return false;
}

/// Whether a process is a rank of the dead instance, of a rank's session, or carries its name.
bool descends_from(const survivor& s, std::int64_t dead_since, pid_t pid, uid_t uid,
                   const process_stat& stat, const char* environment, std::size_t length) {
  if (uid != s.uid || stat.start_boot_ns + tick_ns < s.start_boot_ns)
    return false;
  if (pid == static_cast<pid_t>(s.pid) && stat.start_boot_ns <= s.start_boot_ns + 5 * tick_ns)
    return true;
  // While that rank lived, the number of its session was its own.
  if (stat.session == static_cast<pid_t>(s.pid) && stat.start_boot_ns <= dead_since)
    return true;
  return names(environment, length, "TROUPE_JOB_ID", s.key.job) &&
         names(environment, length, "TROUPE_STEP", s.key.step) &&
         (s.element == auth::no_element || names(environment, length, "TROUPE_ELEMENT", s.element));
}

/// Whether another launcher, of another cluster of the same user, looks after a process: the number
/// of its job may be the same.
bool is_kept(const process_stat& of) {
  constexpr int generations_max = 64;
  process_stat above = of;
  for (int i = 0; i < generations_max && above.parent > 1; ++i) {
    if (!read_process_stat(above.parent, above))
      return false;
    if (std::strcmp(above.name, "troupe-launcher") == 0 ||
        std::strcmp(above.name, keeper_name) == 0)
      return true;
  }
  return false;
}

bool is_survivor(const survivors_file& file, pid_t pid) {
  static char environment[256 * 1024];
  char path[48];
  struct stat info {};
  process_stat stat{};
  std::size_t length = 0;
  std::snprintf(path, sizeof path, "/proc/%d", static_cast<int>(pid));
  if (::stat(path, &info) != 0 || !read_process_stat(pid, stat) || stat.state == 'Z' ||
      is_kept(stat))
    return false;
  std::snprintf(path, sizeof path, "/proc/%d/environ", static_cast<int>(pid));
  if (!read_file_at(path, environment, sizeof environment - 1, length))
    length = 0;
  environment[length] = '\0';
  for (const auto& s : file.entries)
    if (s.pid != 0 &&
        descends_from(s, file.active_boot_ns, pid, info.st_uid, stat, environment, length))
      return true;
  return false;
}

/// Hands over a pidfd of each, taken before the look, so that the number cannot change hands in
/// between. Answers how many there are.
template <class Do>
std::uint32_t for_each_survivor(const survivors_file& file, Do&& act) {
  std::uint32_t found = 0;
  DIR* processes = ::opendir("/proc");
  if (processes == nullptr)
    return 0;
  while (auto* entry = ::readdir(processes)) {
    const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 1 || pid == ::getpid())
      continue;
    const auto fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0)
      continue;
    if (is_survivor(file, pid)) {
      ++found;
      act(fd);
    }
    ::close(fd);
  }
  ::closedir(processes);
  return found;
}

constexpr std::size_t bytes_before = offsetof(survivors_file, machine); ///< of release 0.1

machine_start this_machine() {
  machine_start now{};
  std::size_t length = 0;
  (void)read_file_at("/proc/sys/kernel/random/boot_id", now.boot_id, sizeof now.boot_id, length);
  struct stat info {};
  if (::stat("/proc/self/ns/pid", &info) == 0)
    now.pid_namespace = info.st_ino;
  process_stat first{};
  if (read_process_stat(1, first))
    now.first_process_ns = first.start_boot_ns;
  return now;
}

bool has_entries(const survivors_file& file) {
  for (std::uint32_t i = 0; i < ranks_max && file.magic == survivors_magic; ++i)
    if (file.entries[i].pid != 0)
      return true;
  return false;
}

/// A killed process may have had children that a next look finds; those that die take a moment.
void end_all(const survivors_file& file) {
  std::uint32_t ended = 0;
  for (int round = 0; round < rounds_max; ++round) {
    auto found = for_each_survivor(file, [](int process) {
      (void)::syscall(SYS_pidfd_send_signal, process, SIGKILL, nullptr, 0);
    });
    ended += round == 0 ? found : 0;
    if (found == 0)
      break;
    ::usleep(10'000);
  }
  if (ended != 0)
    say("ended %u processes that an earlier instance had left running", ended);
}

struct survivors_view {
  const survivors_file* file = nullptr; ///< nullptr: nothing is listed, or it cannot be read
  std::size_t bytes = 0;
  bool is_unreadable = false;

  /// What ran before another start of the machine is gone.
  bool names_anybody() const {
    if (file == nullptr || !has_entries(*file))
      return false;
    const auto now = this_machine();
    return bytes != sizeof(survivors_file) || file->machine.boot_id[0] == 0 ||
           std::memcmp(&file->machine, &now, sizeof now) == 0;
  }
};

survivors_view map_survivors(const char* state) {
  char path[4096];
  std::snprintf(path, sizeof path, "%s/running", state);
  survivors_view view;
  int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0 || info.st_size == 0) {
    if (fd >= 0)
      ::close(fd);
    return view; // there is none, or its keeper has seen to all that was in it
  }
  view.bytes = static_cast<std::size_t>(info.st_size);
  auto* mapped = view.bytes == sizeof(survivors_file) || view.bytes == bytes_before
                     ? ::mmap(nullptr, view.bytes, PROT_READ, MAP_PRIVATE, fd, 0)
                     : MAP_FAILED;
  ::close(fd);
  view.is_unreadable = mapped == MAP_FAILED;
  view.file = view.is_unreadable ? nullptr : static_cast<const survivors_file*>(mapped);
  if (view.is_unreadable)
    say("%s cannot be read: what an earlier instance left running is not known", path);
  return view;
}

void unmap(survivors_view& view) {
  if (view.file != nullptr)
    ::munmap(const_cast<survivors_file*>(view.file), view.bytes);
  view.file = nullptr;
}

} // namespace

void end_survivors(launcher& l) {
  auto view = map_survivors(l.opts.state);
  l.leftovers_uncertain = l.leftovers_uncertain || view.is_unreadable;
  if (view.names_anybody()) {
    end_all(*view.file);
    l.leftovers_uncertain = true;
    say("launcher and keeper were killed while elements ran: what those had started without a "
        "trace "
        "of its job may run on, so they are not started again by themselves");
  }
  unmap(view);
}

int count_survivors(const char* state) {
  auto view = map_survivors(state);
  const auto found = view.names_anybody() ? for_each_survivor(*view.file, [](int) {}) : 0U;
  unmap(view);
  return std::printf("%u\n", found) > 0 && std::fflush(stdout) == 0 ? 0 : 1;
}

void open_survivors(launcher& l) {
  char path[4096];
  std::snprintf(path, sizeof path, "%s/running", l.opts.state);
  int fd = ::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  // Its blocks are taken now: a full disk must not kill the launcher at a store.
  if (fd < 0 || ::posix_fallocate(fd, 0, sizeof(survivors_file)) != 0) {
    say("cannot keep the list of running ranks in %s: %s; going on without", path,
        std::strerror(errno));
    if (fd >= 0)
      ::close(fd);
    return;
  }
  auto* mapped = ::mmap(nullptr, sizeof(survivors_file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (mapped == MAP_FAILED)
    return;
  (void)::madvise(mapped, sizeof(survivors_file), MADV_DONTFORK);
  l.survivors = static_cast<survivors_file*>(mapped);
  if (l.opts.resume_fd < 0)
    std::memset(static_cast<void*>(l.survivors), 0, sizeof(survivors_file));
  l.survivors->magic = survivors_magic;
  l.survivors->machine = this_machine();
}

void record_survivor(launcher& l, std::uint32_t rank_index) {
  if (l.survivors == nullptr)
    return;
  const auto& r = l.ranks[rank_index];
  const auto& e = l.elements[r.element];
  const auto& g = l.groups[e.group];
  auto& s = l.survivors->entries[rank_index];
  s.pid = static_cast<std::uint32_t>(r.pid);
  s.uid = g.uid;
  s.start_boot_ns = e.start_boot_ns;
  s.key = g.key;
  s.element = e.number;
  s.node_id = g.node_id;
  l.survivors->active_boot_ns = e.start_boot_ns;
}

void forget_survivor(launcher& l, std::uint32_t rank_index) {
  if (l.survivors != nullptr)
    l.survivors->entries[rank_index].pid = 0;
}

} // namespace troupe::launcher
