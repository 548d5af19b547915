// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/fault/shim/control.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

// Faults for the real programs of one cluster: their clocks are shifted, chosen calls on chosen
// files fail. Made before the cluster, given to it by cluster_shape::faults; takes effect at once.

namespace troupe::test {

/// Calls that fail while it holds.
struct fault_rule {
  std::uint32_t calls = 0; ///< troupe_fault_write | …: which calls
  std::string path;        ///< fnmatch over the file's whole path: "*/ledger.db-wal"
  int error = 0;           ///< what errno they set
  std::int64_t count = -1; ///< so many of them, then no more; -1: all while it holds
  std::int64_t skip = 0;   ///< after so many that pass
  std::uint32_t programs = troupe_fault_all; ///< troupe_fault_trouped | …: whose
  std::int64_t partial = 0; ///< a write puts so many bytes down and says so, instead of failing
};

class faults {
public:
  /// A control file of its own in /tmp; throws std::system_error where that cannot be made.
  faults();
  ~faults();
  faults(const faults&) = delete;
  faults& operator=(const faults&) = delete;

  /// Adds a rule, which holds from now on. Answers its number; at most troupe_fault_rules at once.
  int fail(const fault_rule& rule);
  /// That rule holds no longer.
  void pass(int rule);
  /// No rule holds, no clock is shifted.
  void clear();
  /// How many calls the rule met, and how many of them failed.
  std::uint64_t seen(int rule) const;
  std::uint64_t failed(int rule) const;

  /// The wall clock of these programs is off by so much from now on.
  void shift_wall(std::chrono::nanoseconds by, std::uint32_t programs = troupe_fault_all);
  /// Their clocks since boot are ahead by so much: must only grow, as time does.
  void shift_boot(std::chrono::nanoseconds by, std::uint32_t programs = troupe_fault_all);

  /// What a program's environment needs: NAME=VALUE.
  std::vector<std::string> environment() const;
  /// The folder of programs that obey: as built, but with a launcher that is not static.
  static std::string programs();

private:
  std::string path_;
  troupe_fault_control* control_ = nullptr;
};

} // namespace troupe::test
