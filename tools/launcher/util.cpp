// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace troupe::launcher {

launcher* make_launcher() {
  auto* memory = ::mmap(nullptr, sizeof(launcher), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || ::madvise(memory, sizeof(launcher), MADV_DONTFORK) != 0)
    return nullptr;
  auto& l = *static_cast<launcher*>(memory);
  l.listen_fd = l.peer_fd = l.lock_fd = l.error_read = l.error_write = -1;
  l.children_fd = l.cgroup_dir = l.chain.fd = -1;
  l.record_head = l.record_tail = l.record_unsent = none;
  l.announce_head = l.announce_tail = l.ended_head = l.all_elements = none;
  return &l;
}

static std::int64_t read_clock(clockid_t id) {
  timespec now{};
  ::clock_gettime(id, &now);
  return std::int64_t{now.tv_sec} * second_ns + now.tv_nsec;
}

std::int64_t boot_now() {
  return read_clock(CLOCK_BOOTTIME);
}

std::int64_t utc_now() {
  return read_clock(CLOCK_REALTIME);
}

void say(const char* format, ...) {
  char line[1024];
  auto used =
      std::snprintf(line, sizeof line, "troupe-launcher[%d]: ", static_cast<int>(::getpid()));
  va_list arguments;
  va_start(arguments, format);
  auto more = std::vsnprintf(line + used, sizeof line - static_cast<std::size_t>(used) - 1, format,
                             arguments);
  va_end(arguments);
  auto length = used + (more > 0 ? more : 0);
  if (length > static_cast<int>(sizeof line) - 2)
    length = static_cast<int>(sizeof line) - 2;
  line[length] = '\n';
  // The log may be gone or full; nothing depends on it.
  (void)!::write(STDERR_FILENO, line, static_cast<std::size_t>(length) + 1);
}

static int reserve_fd = -1;

bool release_reserve() {
  if (reserve_fd < 0)
    return false;
  ::close(reserve_fd);
  reserve_fd = -1;
  return true;
}

void restore_reserve() {
  if (reserve_fd < 0)
    reserve_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool read_opened(int fd, void* to, std::size_t room, std::size_t& length) {
  ssize_t got = 1;
  for (length = 0; got > 0 && length < room;) {
    got = ::read(fd, static_cast<char*>(to) + length, room - length);
    if (got < 0 && errno == EINTR)
      got = 1;
    else if (got > 0)
      length += static_cast<std::size_t>(got);
  }
  return got >= 0;
}

bool read_file_at(const char* path, void* to, std::size_t room, std::size_t& length) {
  constexpr int how = O_RDONLY | O_CLOEXEC | O_NOCTTY;
  int fd = ::open(path, how);
  const bool borrows = fd < 0 && (errno == EMFILE || errno == ENFILE) && release_reserve();
  if (borrows)
    fd = ::open(path, how);
  bool done = fd >= 0 && read_opened(fd, to, room, length);
  const int bad = errno;
  if (fd >= 0)
    ::close(fd);
  if (borrows)
    restore_reserve();
  errno = bad;
  return done;
}

bool is_gone(int error) {
  return error == ENOENT || error == ESRCH || error == ENOTDIR;
}

static bool write_all(int fd, const void* bytes, std::size_t length) {
  for (std::size_t done = 0; done < length;) {
    auto put = ::write(fd, static_cast<const char*>(bytes) + done, length - done);
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0)
      return false;
    done += static_cast<std::size_t>(put);
  }
  return true;
}

bool write_file_atomically(const char* directory, const char* name, const void* bytes,
                           std::size_t length) {
  int dir = ::open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0)
    return false;
  char temporary[128];
  std::snprintf(temporary, sizeof temporary, ".%s.new", name);
  int fd = ::openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  bool done = fd >= 0 && write_all(fd, bytes, length) && ::fsync(fd) == 0 &&
              ::renameat(dir, temporary, dir, name) == 0 && ::fsync(dir) == 0;
  int saved = errno;
  if (fd >= 0)
    ::close(fd);
  ::close(dir);
  errno = saved;
  return done;
}

bool set_close_on_exec(int fd, bool on) {
  return fd < 0 || ::fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0;
}

bool read_process_stat(pid_t pid, process_stat& out) {
  char path[48];
  char text[1024];
  std::size_t length = 0;
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  if (!read_file_at(path, text, sizeof text - 1, length))
    return false;
  text[length] = '\0';
  errno = EIO; // of what follows: nothing the kernel writes looks like that
  // The name stands in parentheses and may itself contain some: the last one ends it.
  const char* name = std::strchr(text, '(');
  char* rest = std::strrchr(text, ')');
  if (name == nullptr || rest == nullptr || rest < name)
    return false;
  auto name_length = static_cast<std::size_t>(rest - name - 1);
  if (name_length >= sizeof out.name)
    name_length = sizeof out.name - 1;
  std::memcpy(out.name, name + 1, name_length);
  out.name[name_length] = '\0';
  if (rest[1] == '\0' || rest[2] == '\0')
    return false;
  out.state = rest[2];
  char* at = rest + 3;
  std::uint64_t fields[20] = {}; // the 4th field of proc(5), ppid, is fields[0]
  for (auto& field : fields)
    field = static_cast<std::uint64_t>(std::strtoll(at, &at, 10));
  out.parent = static_cast<pid_t>(fields[0]);
  out.process_group = static_cast<pid_t>(fields[1]);
  out.session = static_cast<pid_t>(fields[2]);
  out.flags = fields[5];
  auto ticks = static_cast<std::int64_t>(fields[18]);
  out.start_boot_ns = ticks * (second_ns / ::sysconf(_SC_CLK_TCK));
  return true;
}

} // namespace troupe::launcher
