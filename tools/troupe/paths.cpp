// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/paths.hpp"

#include "runtime/state/files.hpp"
#include "runtime/varlink/socket_address.hpp"

#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::cli {

namespace {

std::string variable(const char* name) {
  const auto* value = std::getenv(name);
  return value == nullptr ? std::string{} : std::string{value};
}

expected<std::string> absolute(const char* name, const std::string& path) {
  if (path.front() != '/')
    return fail(errc::invalid,
                std::string{name} + " is '" + path + "', which is no absolute path; set it to one");
  return path;
}

/// As the system knows it: a service or a cron job may have no HOME, and means the same cluster.
std::string home_of_user() {
  std::array<char, 16 * 1024> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  const auto failed = ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) != 0;
  return failed || found == nullptr || found->pw_dir == nullptr ? "" : found->pw_dir;
}

std::string parent_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

expected<void> make_parents(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    if (::mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST)
      return fail(errc::storage, "cannot make the directory " + path.substr(0, at) + ": " +
                                     varlink::system_message(errno));
  return {};
}

bool is_program(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

/// The first program of that name in PATH; empty if there is none.
std::string find_in_path(const std::string& name) {
  const auto path = variable("PATH");
  for (std::size_t begin = 0; begin < path.size();) {
    const auto end = std::min(path.find(':', begin), path.size());
    auto candidate = path.substr(begin, end - begin) + "/" + name;
    if (is_program(candidate))
      return candidate;
    begin = end + 1;
  }
  return {};
}

} // namespace

expected<std::string> state_directory() {
  if (auto given = variable("TROUPE_STATE_DIR"); !given.empty())
    return absolute("TROUPE_STATE_DIR", given);
  if (auto base = variable("XDG_STATE_HOME"); !base.empty())
    return absolute("XDG_STATE_HOME", base).map([](const std::string& path) {
      return path + "/troupe";
    });
  auto home = variable("HOME");
  if (home.empty())
    home = home_of_user();
  if (home.empty())
    return fail(errc::invalid,
                "there is no place for the cluster's state; set HOME or TROUPE_STATE_DIR");
  return absolute("HOME", home).map([](const std::string& path) {
    return path + "/.local/state/troupe";
  });
}

expected<std::string> socket_path() {
  if (auto given = variable("TROUPE_SOCKET"); !given.empty())
    return absolute("TROUPE_SOCKET", given);
  return state_directory().map(state::socket_of);
}

bool is_socket_elsewhere(const std::string& state_directory) {
  const auto given = variable("TROUPE_SOCKET");
  return !given.empty() && given != state::socket_of(state_directory);
}

expected<void> make_private_directory(const std::string& path) {
  if (auto made = make_parents(path); !made)
    return made;
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(errc::storage,
                "cannot make the directory " + path + ": " + varlink::system_message(errno));
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0)
    return fail(errc::storage, "cannot look at " + path + ": " + varlink::system_message(errno));
  if (!S_ISDIR(found.st_mode))
    return fail(errc::conflict, path + " is no directory; move it away or set TROUPE_STATE_DIR");
  if (found.st_uid != ::geteuid())
    return fail(errc::refused, path + " belongs to user " + std::to_string(found.st_uid) +
                                   ", not to you; set TROUPE_STATE_DIR to a directory of your own");
  if ((found.st_mode & 077) != 0)
    return fail(errc::refused, path + " is open to other users; run 'chmod 700 " + path + "'");
  return {};
}

expected<std::string> find_program(const std::string& name) {
  std::array<char, 4096> self{};
  auto length = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
  if (length > 0) {
    auto here = parent_of(std::string{self.data(), static_cast<std::size_t>(length)});
    for (const auto& folder : {here, parent_of(here) + "/libexec/troupe"})
      if (is_program(folder + "/" + name))
        return folder + "/" + name;
  }
  if (auto found = find_in_path(name); found.starts_with('/'))
    return found;
  return fail(errc::not_found,
              "cannot find the program " + name +
                  " beside troupe, in ../libexec/troupe or in PATH; reinstall Troupe");
}

bool is_command(const std::string& name) {
  return name.find('/') == std::string::npos ? !find_in_path(name).empty() : is_program(name);
}

} // namespace troupe::cli
