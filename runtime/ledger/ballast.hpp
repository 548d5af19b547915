// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace troupe::ledger {

/// Space set aside on the ledger's file system while there is some, given up so that the ends of
/// running jobs can still be written when the disk is full.
class ballast {
public:
  ballast() = default;

  /// Finds or makes the file; size 0 means none is wanted.
  ballast(std::string path, std::uint64_t size_bytes);

  /// Whether the space is set aside.
  bool held() const { return held_; }

  /// Tries to set the space aside; false when the file system has too little.
  bool take();

  /// Gives the space back to the file system.
  void release();

private:
  std::string path_;
  std::uint64_t size_bytes_ = 0;
  bool held_ = false;
};

} // namespace troupe::ledger
