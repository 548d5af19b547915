// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

// cgroup v2, where the launcher has a subtree of its own: one cgroup per running element, reused.
// It makes leftovers certain to be found and memory limits real; everything else works without.

namespace troupe::launcher {

namespace {

constexpr char folder[] = "troupe-elements";

bool write_text(int dir, const char* name, const char* text) {
  int fd = ::openat(dir, name, O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && ::write(fd, text, std::strlen(text)) > 0;
  const int bad = errno;
  if (fd >= 0)
    ::close(fd);
  errno = bad;
  return done;
}

/// The launcher's own cgroup v2 directory, if it is not the root of all.
bool own_cgroup(char* out, std::size_t room) {
  static char text[64 * 1024];
  std::size_t length = 0;
  if (!read_file_at("/proc/self/mounts", text, sizeof text - 1, length))
    return false;
  text[length] = '\0';
  char mount[1024] = {};
  for (char* line = text; line != nullptr && *line != '\0';) {
    char where[1024];
    char type[64];
    if (std::sscanf(line, "%*s %1023s %63s", where, type) == 2 && std::strcmp(type, "cgroup2") == 0)
      std::snprintf(mount, sizeof mount, "%s", where);
    line = std::strchr(line, '\n');
    line = line == nullptr ? nullptr : line + 1;
  }
  if (mount[0] == '\0' || !read_file_at("/proc/self/cgroup", text, sizeof text - 1, length))
    return false;
  text[length] = '\0';
  char* own = std::strstr(text, "0::/");
  if (own == nullptr || own[4] == '\n' || own[4] == '\0')
    return false;
  own += 3;
  *::strchrnul(own, '\n') = '\0';
  std::snprintf(out, room, "%s%s", mount, own);
  return true;
}

bool open_cgroup(launcher& l, std::uint32_t index) {
  auto& c = l.cgroups[index];
  char name[32];
  std::snprintf(name, sizeof name, "e%u", index);
  if (::mkdirat(l.cgroup_dir, name, 0755) != 0 && errno != EEXIST)
    return false;
  c.dir = ::openat(l.cgroup_dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  c.events = c.dir < 0 ? -1 : ::openat(c.dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
  c.kill_file = c.dir < 0 ? -1 : ::openat(c.dir, "cgroup.kill", O_WRONLY | O_CLOEXEC);
  if (c.events >= 0 && c.kill_file >= 0)
    return true;
  const int bad = errno;
  for (int fd : {c.dir, c.events, c.kill_file})
    if (fd >= 0)
      ::close(fd);
  errno = bad;
  return false;
}

std::uint32_t count_processes(const cgroup_entry& c) {
  char text[16384];
  int fd = ::openat(c.dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  auto got = ::read(fd, text, sizeof text);
  ::close(fd);
  std::uint32_t lines = 0;
  for (ssize_t i = 0; i < got; ++i)
    lines += text[i] == '\n';
  return lines;
}

} // namespace

void find_cgroups(launcher& l) {
  char path[2300];
  l.cgroup_dir = -1;
  if (l.opts.cgroup != nullptr)
    std::snprintf(path, sizeof path, "%s", l.opts.cgroup);
  else if (!own_cgroup(path, 2048))
    return;
  int base = ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (base < 0)
    return;
  // Without the memory controller limits are not enforced, but leftovers are still found.
  (void)write_text(base, "cgroup.subtree_control", "+memory");
  if (::mkdirat(base, folder, 0755) == 0 || errno == EEXIST)
    l.cgroup_dir = ::openat(base, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ::close(base);
  if (l.cgroup_dir < 0)
    return;
  (void)write_text(l.cgroup_dir, "cgroup.subtree_control", "+memory");
  auto wanted = l.cgroup_count == 0 ? 1 : l.cgroup_count; // after a re-exec: as many as before
  for (l.cgroup_count = 0; l.cgroup_count < wanted; ++l.cgroup_count)
    if (!open_cgroup(l, l.cgroup_count)) {
      ::close(l.cgroup_dir);
      l.cgroup_dir = -1;
      return;
    }
  for (auto at = l.all_elements; at != none; at = l.elements[at].all_next)
    if (l.elements[at].cgroup >= 0)
      l.cgroups[l.elements[at].cgroup].busy = true;
  for (std::uint32_t i = 0; i < l.shepherds.high; ++i)
    if (l.shepherds[i].used && l.shepherds[i].cgroup >= 0)
      l.cgroups[l.shepherds[i].cgroup].busy = true;
  say("elements run in cgroups under %s/%s", path, folder);
}

namespace {

/// Never runs without a limit that was asked for, or under an earlier element's. 0 or an errno; a
/// node without the memory controller has no limits at all.
int set_memory_limit(cgroup_entry& c, std::uint64_t memory_bytes) {
  char limit[32] = "max";
  if (memory_bytes != 0)
    std::snprintf(limit, sizeof limit, "%llu", static_cast<unsigned long long>(memory_bytes));
  if (memory_bytes == 0 && !c.has_limit)
    return 0;
  const bool done = write_text(c.dir, "memory.max", limit);
  if (!done && (errno != ENOENT || c.has_limit))
    return errno;
  c.has_limit = done && memory_bytes != 0;
  return 0;
}

} // namespace

int take_cgroup(launcher& l, std::uint64_t memory_bytes, std::int32_t& cgroup) {
  cgroup = -1;
  if (l.cgroup_dir < 0)
    return 0;
  std::uint32_t index = 0;
  while (index < l.cgroup_count && l.cgroups[index].busy)
    ++index;
  if (index == cgroups_max)
    return 0;
  if (index == l.cgroup_count) {
    if (!open_cgroup(l, index))
      return errno;
    ++l.cgroup_count;
  }
  if (auto bad = set_memory_limit(l.cgroups[index], memory_bytes); bad != 0)
    return bad;
  l.cgroups[index].busy = true;
  cgroup = static_cast<int>(index);
  return 0;
}

bool cgroup_is_empty(launcher& l, int index) {
  char text[128];
  auto got = ::pread(l.cgroups[index].events, text, sizeof text - 1, 0);
  if (got < 0)
    return false; // not known: it is looked at again
  text[got] = '\0';
  return std::strstr(text, "populated 1") == nullptr;
}

std::uint32_t kill_cgroup(launcher& l, int index) {
  if (cgroup_is_empty(l, index))
    return 0;
  auto count = count_processes(l.cgroups[index]);
  (void)!::write(l.cgroups[index].kill_file, "1", 1);
  return count;
}

void give_back_cgroup(launcher& l, int index) {
  l.cgroups[index].busy = false;
}

} // namespace troupe::launcher
