// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/purge.hpp"

#include "base/unique_fd.hpp"
#include "runtime/state/files.hpp"
#include "runtime/state/locks.hpp"
#include "runtime/state/records.hpp"
#include "runtime/varlink/socket_address.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

// First all of the directory is looked at, then what was found is removed: names alone, one after
// the other, each below a folder that is open. The file "purging" is made before that; the mark, it
// and the lock go last, so that a purge that was interrupted is told as one and can be done again.

namespace troupe::cli {

namespace {

using state::ownership;

constexpr std::string_view mark_name = "cluster";
constexpr std::string_view begun_name = "purging";
constexpr std::string_view turn_name = "lock";
constexpr std::array last_names{mark_name, begun_name, turn_name};

struct close_directory {
  void operator()(DIR* one) const { ::closedir(one); }
};

struct entry {
  std::string path; ///< below the state directory
  bool is_folder = false;
};

error storage_error(const std::string& doing, const std::string& path) {
  return {errc::storage, "cannot " + doing + " " + path + ": " + varlink::system_message(errno)};
}

class purge {
public:
  explicit purge(std::string directory) : directory_{std::move(directory)} {}

  expected<purge_outcome> run() {
    root_ = unique_fd{::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!root_ && errno == ENOENT)
      return purge_outcome::nothing_there;
    if (!root_)
      return tl::unexpected{storage_error("open", directory_)};
    const auto looked = look(root_, "");
    has_only_turn_ = looked && entries_.empty() &&
                     ::faccessat(root_.get(), turn_name.data(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    auto may = is_ours().and_then([&] { return is_idle(); }).and_then([&] { return looked; });
    if (!may)
      return fail(may.error().code, may.error().text + "; nothing was removed");
    if (auto removed = state::begin_purge(directory_).and_then([&] { return remove(); }); !removed)
      return tl::unexpected{removed.error()};
    return purge_outcome::removed;
  }

private:
  expected<void> is_ours() const {
    struct stat found {};
    if (::fstat(root_.get(), &found) != 0 || found.st_uid != ::geteuid())
      return fail(errc::refused, directory_ + " does not belong to you");
    auto mark = state::read_mark(directory_);
    if (!mark)
      return tl::unexpected{mark.error()};
    // A purge that was interrupted may have removed it, and may have had but the lock to remove.
    if (!*mark && !state::is_being_purged(directory_) && !has_only_turn_)
      return fail(errc::refused, directory_ + " does not carry Troupe's mark (the file 'cluster'); "
                                              "a 'troupe up' there makes it");
    return {};
  }

  /// The caller's turn keeps others of its kind away; these are what runs.
  expected<void> is_idle() const {
    for (const auto& holder : {state::daemon_of(directory_), state::launcher_of(directory_)})
      if (holder)
        return fail(errc::conflict, state::describe(*holder) + " still uses " + directory_ +
                                        "; run 'troupe down' first");
    const unique_fd door{::openat(root_.get(), "socket.lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (door && ::flock(door.get(), LOCK_EX | LOCK_NB) != 0)
      return fail(errc::conflict,
                  "a process still listens in " + directory_ + "; run 'troupe down' first");
    return {};
  }

  /// Notes everything that is in a folder, what is in a folder before the folder itself.
  expected<void> look(const unique_fd& folder, const std::string& prefix) {
    // A copy: reading moves the position that descriptors share.
    unique_fd copy{::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    std::unique_ptr<DIR, close_directory> list{copy ? ::fdopendir(copy.get()) : nullptr};
    if (!list)
      return tl::unexpected{storage_error("list", directory_ + "/" + prefix)};
    copy.release();
    while (const auto* one = ::readdir(list.get())) {
      const std::string name{one->d_name};
      if (name == "." || name == "..")
        continue;
      if (auto noted = note(folder, prefix, name); !noted)
        return noted;
    }
    return {};
  }

  expected<void> note(const unique_fd& folder, const std::string& prefix, const std::string& name) {
    const auto path = prefix + name;
    struct stat found {};
    if (::fstatat(folder.get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0)
      return tl::unexpected{storage_error("look at", directory_ + "/" + path)};
    const auto whose = state::owner_of(path);
    if (whose == ownership::configuration) {
      keeps_configuration_ = true;
      return {};
    }
    const auto as_ours =
        whose == ownership::our_folder
            ? S_ISDIR(found.st_mode)
            : whose == ownership::ours && (S_ISREG(found.st_mode) || S_ISSOCK(found.st_mode));
    if (!as_ours)
      return fail(errc::conflict, path + " in " + directory_ + " is none of Troupe's files");
    if (whose == ownership::our_folder) {
      const unique_fd inside{
          ::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
      if (!inside)
        return tl::unexpected{storage_error("open", directory_ + "/" + path)};
      if (auto looked = look(inside, path + "/"); !looked)
        return looked;
    }
    if (std::find(last_names.begin(), last_names.end(), path) == last_names.end())
      entries_.push_back({path, whose == ownership::our_folder});
    return {};
  }

  /// The folder that a path stands in, reached without following a link.
  unique_fd folder_of(std::string_view path) const {
    unique_fd at{::openat(root_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    for (auto slash = path.find('/'); at && slash != std::string_view::npos;
         slash = path.find('/')) {
      const std::string name{path.substr(0, slash)};
      at = unique_fd{
          ::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
      path.remove_prefix(slash + 1);
    }
    return at;
  }

  expected<void> remove(const entry& one) const {
    const auto folder = folder_of(one.path);
    const auto name = one.path.substr(one.path.rfind('/') + 1);
    if (folder && (::unlinkat(folder.get(), name.c_str(), one.is_folder ? AT_REMOVEDIR : 0) == 0 ||
                   errno == ENOENT))
      return {};
    return tl::unexpected{storage_error("remove", directory_ + "/" + one.path)};
  }

  expected<void> remove() const {
    for (const auto& one : entries_)
      if (auto removed = remove(one); !removed)
        return removed;
    for (const auto name : last_names)
      if (auto removed = remove(entry{std::string{name}, false}); !removed)
        return removed;
    if (!keeps_configuration_ && ::rmdir(directory_.c_str()) != 0)
      return tl::unexpected{storage_error("remove", directory_)};
    return {};
  }

  std::string directory_;
  unique_fd root_;
  std::vector<entry> entries_;
  bool keeps_configuration_ = false;
  bool has_only_turn_ = false; ///< nothing of ours but the lock
};

} // namespace

expected<purge_outcome> purge_state(const std::string& directory) {
  return purge{directory}.run();
}

} // namespace troupe::cli
