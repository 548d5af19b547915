// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace troupe::ledger {

/// How far a ledger had come.
struct head {
  std::uint64_t ledger = 0; ///< its identity, drawn when it was made
  std::uint64_t last_seq = 0;
  std::uint64_t highest_job = 0;

  bool operator==(const head&) const = default;
};

/// Keeps a ledger's head in a small file of its own beside it (FILE.head): a ledger that is gone,
/// emptied, older than it was or another's shows against it, and numbers that were given out are
/// not given out again. Two slots are written in turn: one of them is always whole. Who has it open
/// to write has it locked.
class head_file {
public:
  /// None where there is no file; an error for one that cannot be read.
  static expected<std::optional<head>> read(const std::string& path);

  /// Makes the file anew, by rename, and syncs it.
  static expected<head_file> make(const std::string& path, const head& now);
  static expected<head_file> open(const std::string& path);

  head_file() = default;

  /// Writes it: what is written is safe from this process's end at once, from the machine's after
  /// `sync`. False if the file did not take it.
  bool note(const head& now);
  bool sync();

private:
  explicit head_file(unique_fd file, std::uint64_t turn) : file_{std::move(file)}, turn_{turn} {}

  unique_fd file_;
  std::uint64_t turn_ = 0; ///< rises with each write; the higher one of the two slots counts
};

} // namespace troupe::ledger
