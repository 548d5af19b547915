// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::topology {

/// One physical core, with those of its PUs (hardware threads) that this process may use.
struct machine_core {
  std::vector<std::uint32_t> pus; ///< operating system indexes, rising, never empty
  std::uint32_t group = 0;        ///< ordinal of its L3 cache, or of its socket without one
  std::uint32_t socket = 0;       ///< ordinal of its package

  bool operator==(const machine_core&) const = default;
};

/// What this process may use of a machine: a value, read once.
class machine_topology {
public:
  /// This machine, within the control group's and the process's allowed CPUs (sched_getaffinity).
  static expected<machine_topology> detect();

  /// A machine described by hwloc's XML (`lstopo --of xml`), all of it usable.
  static expected<machine_topology> from_xml(const std::string& xml);

  /// A machine described by hwloc's synthetic syntax ("pack:2 core:4 pu:2").
  static expected<machine_topology> from_synthetic(const std::string& description);

  const std::vector<machine_core>& cores() const { return cores_; }
  std::uint32_t pu_count() const;
  /// Of the whole machine; 0 if unknown.
  std::uint64_t memory_bytes() const { return memory_bytes_; }
  /// GPUs that hwloc's plugins found, by their vendors' numbers.
  std::uint32_t gpu_count() const { return gpu_count_; }

private:
  friend struct machine_reader;
  std::vector<machine_core> cores_;
  std::uint64_t memory_bytes_ = 0;
  std::uint32_t gpu_count_ = 0;
};

} // namespace troupe::topology
