// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/purge.hpp"

#include "base/unique_fd.hpp"
#include "runtime/varlink/socket_address.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <vector>

namespace troupe::cli {

namespace {

// What starts with one of these is ours: the ledger with SQLite's companions, keys, the launcher's
// folder, streamed output, sockets with their locks, logs.
constexpr std::array<std::string_view, 8> own_names{"ledger", "audit",  "keys",    "launcher",
                                                    "spool",  "socket", "trouped", "shape"};
// A person wrote it: it stays, and the directory for it.
constexpr std::string_view configuration = "troupe.toml";
constexpr int folder_depth_max = 8;
// How such a name may go on.
constexpr std::string_view separators = ".-_";

struct close_directory {
  void operator()(DIR* one) const { ::closedir(one); }
};

struct entry {
  std::string name;
  bool is_directory = false;
};

expected<std::vector<entry>> entries_of(int directory, const std::string& path) {
  // A copy: reading moves the position that descriptors share.
  unique_fd copy{::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  std::unique_ptr<DIR, close_directory> list{copy ? ::fdopendir(copy.get()) : nullptr};
  if (!list)
    return fail(errc::storage, "cannot list " + path + ": " + varlink::system_message(errno));
  copy.release();
  std::vector<entry> result;
  while (const auto* one = ::readdir(list.get())) {
    std::string name{one->d_name};
    if (name == "." || name == "..")
      continue;
    struct stat found {};
    if (::fstatat(directory, name.c_str(), &found, AT_SYMLINK_NOFOLLOW) == 0)
      result.push_back({name, S_ISDIR(found.st_mode)});
  }
  return result;
}

expected<void> remove_entry(int directory, const std::string& path, const entry& one) {
  if (::unlinkat(directory, one.name.c_str(), one.is_directory ? AT_REMOVEDIR : 0) == 0 ||
      errno == ENOENT)
    return {};
  return fail(errc::storage,
              "cannot remove " + path + "/" + one.name + ": " + varlink::system_message(errno));
}

/// Empties one of our folders, and the folders in it.
expected<void> empty_folder(int directory, const std::string& path, const std::string& name,
                            int depth) {
  auto full = path + "/" + name;
  if (depth > folder_depth_max)
    return fail(errc::conflict, full + " is nested deeper than anything of Troupe's; left there");
  unique_fd folder{
      ::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!folder)
    return fail(errc::storage, "cannot open " + full + ": " + varlink::system_message(errno));
  auto entries = entries_of(folder.get(), full);
  if (!entries)
    return tl::unexpected{entries.error()};
  for (const auto& one : *entries) {
    if (one.is_directory)
      if (auto emptied = empty_folder(folder.get(), full, one.name, depth + 1); !emptied)
        return emptied;
    if (auto done = remove_entry(folder.get(), full, one); !done)
      return done;
  }
  return {};
}

} // namespace

bool is_state_file(std::string_view name) {
  return std::any_of(own_names.begin(), own_names.end(), [&](std::string_view own) {
    return name.substr(0, own.size()) == own &&
           (name.size() == own.size() ||
            separators.find(name[own.size()]) != std::string_view::npos);
  });
}

expected<std::string> purge_state(const std::string& directory) {
  unique_fd state{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!state)
    return errno == ENOENT ? expected<std::string>{std::string{}}
                           : fail(errc::storage, "cannot open " + directory + ": " +
                                                     varlink::system_message(errno));
  struct stat found {};
  if (::fstat(state.get(), &found) != 0 || found.st_uid != ::geteuid())
    return fail(errc::refused, directory + " does not belong to you; nothing was removed");
  auto entries = entries_of(state.get(), directory);
  if (!entries)
    return tl::unexpected{entries.error()};
  for (const auto& one : *entries)
    if (!is_state_file(one.name) && one.name != configuration)
      return one.name;
  bool kept = false;
  for (const auto& one : *entries) {
    if (one.name == configuration) {
      kept = true;
      continue;
    }
    if (one.is_directory)
      if (auto emptied = empty_folder(state.get(), directory, one.name, 1); !emptied)
        return tl::unexpected{emptied.error()};
    if (auto removed = remove_entry(state.get(), directory, one); !removed)
      return tl::unexpected{removed.error()};
  }
  if (!kept && ::rmdir(directory.c_str()) != 0)
    return fail(errc::storage,
                "cannot remove " + directory + ": " + varlink::system_message(errno));
  return std::string{};
}

} // namespace troupe::cli
