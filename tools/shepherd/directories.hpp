// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <string>

namespace troupe::shepherd {

/// One directory of a job: BASE/troupe-UID/NAME, mode 0700, made and removed without following any
/// symbolic link, and held by a lock while it is in use. What nobody holds was left by a kill.
class held_directory {
public:
  /// Sweeps what nobody holds beside it, then makes and holds it. Where another job of the user
  /// holds the name (two private clusters may count alike) it becomes NAME-2 and so on.
  static expected<held_directory> make(const std::string& base, const std::string& name);
  held_directory(held_directory&&) noexcept = default;
  held_directory& operator=(held_directory&&) noexcept = default;
  ~held_directory() { remove(); }

  const std::string& path() const { return path_; }
  /// Makes a directory in it; answers its path. One that is there already will do.
  expected<std::string> add(const std::string& name) const;
  /// Removes one that `add` made, with all that is in it.
  void drop(const std::string& name) const;
  void remove();

private:
  held_directory() = default;
  unique_fd parent_;
  unique_fd own_;
  std::string parent_path_;
  std::string name_;
  std::string path_;
};

/// Where session directories are: $TMPDIR, or /tmp.
std::string temporary_base();

/// Where files that ranks share memory through are.
inline constexpr const char* shared_memory_base = "/dev/shm";

/// Removes NAME, NAME-2 and so on below BASE/troupe-UID, if nobody holds them.
void clean_directories(const std::string& base, const std::string& name);

} // namespace troupe::shepherd
