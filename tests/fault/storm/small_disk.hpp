// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace troupe::storm {

/// A file system of a few megabytes in memory, which can be filled up. Root's alone.
class small_disk {
public:
  /// Mounts one in a new folder where `wanted` and allowed; else there is none, and `path` is "".
  explicit small_disk(bool wanted);
  ~small_disk();
  small_disk(const small_disk&) = delete;
  small_disk& operator=(const small_disk&) = delete;

  const std::string& path() const { return path_; }
  explicit operator bool() const { return !path_.empty(); }
  /// Takes all the room that is left.
  void fill() const;
  void make_room() const;
  /// It stays mounted, to be looked at.
  void keep() { keeps_ = true; }

private:
  std::string filler() const { return path_ + "/filler"; }
  std::string path_;
  bool keeps_ = false;
};

} // namespace troupe::storm
