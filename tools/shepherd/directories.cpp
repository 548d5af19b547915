// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/directories.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/file.h>
#include <sys/stat.h>
#include <vector>

namespace troupe::shepherd {

namespace {

constexpr int open_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr unsigned depth_max = 64;
constexpr unsigned names_max = 100;

struct close_directory {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

tl::unexpected<error> cannot(const char* doing, const std::string& path) {
  return fail(errc::storage, std::string{doing} + " " + path + ": " + std::strerror(errno));
}

std::vector<std::string> entries_of(int directory) {
  std::vector<std::string> names;
  const int copy = ::openat(directory, ".", open_flags);
  const std::unique_ptr<DIR, close_directory> stream{copy < 0 ? nullptr : ::fdopendir(copy)};
  if (!stream) {
    if (copy >= 0)
      ::close(copy);
    return names;
  }
  while (const auto* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..")
      names.push_back(name);
  }
  return names;
}

bool is_ours(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && info.st_uid == ::geteuid();
}

/// Everything in an open directory; ranks may still be adding to it, so a few rounds.
void empty(int directory, unsigned depth) {
  for (int round = 0; round < 3; ++round) {
    const auto names = entries_of(directory);
    if (names.empty())
      return;
    for (const auto& name : names) {
      if (::unlinkat(directory, name.c_str(), 0) == 0 || depth >= depth_max)
        continue;
      const unique_fd inner{::openat(directory, name.c_str(), open_flags)};
      if (!inner || !is_ours(inner.get()))
        continue;
      (void)::fchmod(inner.get(), 0700);
      empty(inner.get(), depth + 1);
      (void)::unlinkat(directory, name.c_str(), AT_REMOVEDIR);
    }
  }
}

/// BASE/troupe-UID, which must be ours alone.
expected<unique_fd> open_parent(const std::string& base, std::string& path) {
  const unique_fd base_fd{::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!base_fd)
    return cannot("opening", base);
  const auto name = "troupe-" + std::to_string(::geteuid());
  path = base + "/" + name;
  if (::mkdirat(base_fd.get(), name.c_str(), 0700) != 0 && errno != EEXIST)
    return cannot("making", path);
  unique_fd own{::openat(base_fd.get(), name.c_str(), open_flags)};
  struct stat info {};
  if (!own || ::fstat(own.get(), &info) != 0)
    return cannot("opening", path);
  if (info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return fail(errc::refused, path + " belongs to somebody else or is open to others: remove it");
  return own;
}

/// Whether `fd` is still what stands under the name: it may be removed between opening and locking.
bool stands(int parent, const std::string& name, int fd) {
  struct stat there {};
  struct stat open {};
  return ::fstatat(parent, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         ::fstat(fd, &open) == 0 && there.st_ino == open.st_ino && there.st_dev == open.st_dev;
}

/// Opens and locks; empty where it is not there, not ours, or held.
unique_fd hold(int parent, const std::string& name) {
  unique_fd fd{::openat(parent, name.c_str(), open_flags)};
  if (!fd || !is_ours(fd.get()) || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 ||
      !stands(parent, name, fd.get()))
    return {};
  return fd;
}

void remove_unheld(int parent, const std::string& name) {
  if (const auto fd = hold(parent, name)) {
    empty(fd.get(), 0);
    (void)::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
  }
}

std::string variant(const std::string& name, unsigned number) {
  return number == 1 ? name : name + "-" + std::to_string(number);
}

} // namespace

std::string temporary_base() {
  const char* base = ::getenv("TMPDIR");
  return base != nullptr && base[0] == '/' ? base : "/tmp";
}

expected<held_directory> held_directory::make(const std::string& base, const std::string& name) {
  held_directory made;
  auto parent = open_parent(base, made.parent_path_);
  if (!parent)
    return tl::unexpected{parent.error()};
  made.parent_ = std::move(*parent);
  for (const auto& entry : entries_of(made.parent_.get()))
    remove_unheld(made.parent_.get(), entry);
  for (unsigned number = 1; number <= names_max; ++number) {
    made.name_ = variant(name, number);
    made.path_ = made.parent_path_ + "/" + made.name_;
    if (::mkdirat(made.parent_.get(), made.name_.c_str(), 0700) != 0 && errno != EEXIST) {
      if (errno != ENOENT)
        return cannot("making", made.path_);
      // The last one to leave has just removed the parent.
      if (parent = open_parent(base, made.parent_path_); !parent)
        return tl::unexpected{parent.error()};
      made.parent_ = std::move(*parent);
      continue;
    }
    made.own_ = hold(made.parent_.get(), made.name_);
    if (made.own_)
      return made;
  }
  return fail(errc::exhausted, "all of " + made.parent_path_ + "/" + name + " to -" +
                                   std::to_string(names_max) + " are in use");
}

expected<std::string> held_directory::add(const std::string& name) const {
  if (::mkdirat(own_.get(), name.c_str(), 0700) != 0 && errno != EEXIST)
    return cannot("making", path_ + "/" + name);
  return path_ + "/" + name;
}

void held_directory::drop(const std::string& name) const {
  const unique_fd inner{::openat(own_.get(), name.c_str(), open_flags)};
  if (inner)
    empty(inner.get(), 1);
  (void)::unlinkat(own_.get(), name.c_str(), AT_REMOVEDIR);
}

void held_directory::remove() {
  if (!own_)
    return;
  empty(own_.get(), 0);
  (void)::unlinkat(parent_.get(), name_.c_str(), AT_REMOVEDIR);
  own_.reset();
  (void)::rmdir(parent_path_.c_str()); // if this was the last one
}

void clean_directories(const std::string& base, const std::string& name) {
  std::string path;
  const auto parent = open_parent(base, path);
  if (!parent)
    return;
  for (unsigned number = 1; number <= names_max; ++number)
    remove_unheld(parent->get(), variant(name, number));
  (void)::rmdir(path.c_str());
}

} // namespace troupe::shepherd
