// SPDX-License-Identifier: Apache-2.0
#include "runtime/state/locks.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

// Record locks (fcntl): they say who holds them, are not inherited by children, and stay with the
// process over an execve. Closing any descriptor of the file gives them up: a file that is locked
// here is opened once.

namespace troupe::state {

namespace {

constexpr int turn_poll_ms = 20;
constexpr auto told_after = std::chrono::seconds(1);

constexpr std::size_t host_bytes_max = 256;

std::string lock_of_daemon(const std::string& directory) {
  return directory + "/trouped.lock";
}

std::string host_name() {
  std::array<char, host_bytes_max> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

expected<unique_fd> open_lock(const std::string& path) {
  unique_fd file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file)
    return fail(errno == ENOENT ? errc::not_found : errc::storage,
                "cannot open the lock file " + path + ": " + std::strerror(errno));
  return file;
}

/// True when it is ours now, false when another process has it.
expected<bool> try_lock(const unique_fd& file, const std::string& path) {
  auto lock = whole_file();
  while (::fcntl(file.get(), F_SETLK, &lock) != 0) {
    if (errno == EACCES || errno == EAGAIN)
      return false;
    if (errno != EINTR)
      return fail(errc::storage, "cannot lock " + path + ": " + std::strerror(errno) +
                                     "; the state directory needs a file system with locks");
  }
  return true;
}

/// The first byte is the launcher's own, the next its keeper's: the launcher is the one to name.
std::optional<lock_holder> holder_on(const unique_fd& file) {
  auto first_byte = whole_file();
  first_byte.l_len = 1;
  for (auto lock : {first_byte, whole_file()})
    if (file && ::fcntl(file.get(), F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
      return lock_holder{lock.l_pid > 0 ? lock.l_pid : 0};
  return {};
}

bool is_still_there(const unique_fd& file, const std::string& path) {
  struct stat ours {};
  struct stat there {};
  return ::fstat(file.get(), &ours) == 0 && ::lstat(path.c_str(), &there) == 0 &&
         ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

} // namespace

std::optional<lock_holder> holder_of(const std::string& path) {
  return holder_on(unique_fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)});
}

std::optional<lock_holder> daemon_of(const std::string& directory) {
  auto holder = holder_of(lock_of_daemon(directory));
  return holder ? holder : holder_of(directory + "/ledger.db");
}

std::optional<lock_holder> launcher_of(const std::string& directory) {
  return holder_of(directory + "/launcher/lock");
}

std::optional<std::string> other_host(const std::string& directory) {
  const unique_fd file{
      ::open(lock_of_daemon(directory).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  std::array<char, host_bytes_max> text{};
  const auto got = file ? ::read(file.get(), text.data(), text.size()) : 0;
  std::string host{text.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  host.erase(std::min(host.find('\n'), host.size()));
  return host.empty() || host == host_name() ? std::nullopt : std::optional{std::move(host)};
}

std::string describe(const lock_holder& who) {
  return who.pid > 0 ? "process " + std::to_string(who.pid)
                     : "a process on another host or in another container";
}

expected<unique_fd> become_daemon(const std::string& directory) {
  const auto path = lock_of_daemon(directory);
  auto file = open_lock(path);
  if (!file)
    return file;
  auto locked = try_lock(*file, path);
  if (!locked)
    return tl::unexpected{locked.error()};
  if (*locked) {
    // Only those that share the directory from elsewhere want it: a full disk does without.
    const auto host = host_name() + "\n";
    if (::ftruncate(file->get(), 0) == 0)
      (void)!::pwrite(file->get(), host.data(), host.size(), 0);
    return file;
  }
  const auto other = holder_on(*file);
  return fail(errc::conflict, "another trouped (" + describe(other.value_or(lock_holder{})) +
                                  ") serves " + directory + "; one is enough");
}

void keep_over_exec(const unique_fd& lock) {
  ::fcntl(lock.get(), F_SETFD, 0);
}

expected<unique_fd> take_turn(const std::string& directory,
                              const std::function<void(const lock_holder&)>& waiting) {
  const auto path = directory + "/lock";
  const auto tell_at = std::chrono::steady_clock::now() + told_after;
  for (auto told = false;;) {
    auto file = open_lock(path);
    if (!file)
      return file;
    auto locked = try_lock(*file, path);
    if (!locked)
      return tl::unexpected{locked.error()};
    // A purge removes the file that it has locked: then the turn is another file's.
    if (*locked && is_still_there(*file, path))
      return file;
    if (!*locked) {
      const auto other = holder_on(*file);
      if (!told && other && std::chrono::steady_clock::now() >= tell_at) {
        told = true;
        waiting(*other);
      }
      ::poll(nullptr, 0, turn_poll_ms); // record locks give no event
    }
  }
}

} // namespace troupe::state
