// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/job_request.hpp"

#include <vector>

namespace troupe::auth {

/// The most a job may use. 0 in memory or time means: no limit.
struct ceilings {
  std::uint32_t nodes = 1;
  std::uint32_t cores = 1;        ///< of one element, on all its nodes
  std::uint64_t memory_bytes = 0; ///< of one element on one node
  std::uint32_t time_s = 0;

  bool operator==(const ceilings&) const = default;
};

inline constexpr std::size_t warrant_groups_max = 1024;

/// The authority's statement that this job of this user was asked for; it outlives the capability
/// that asked. Sealed under domain troupe/warrant/v1 with the authority's key.
///
///   0 version=1 · 1 flags (bit 0: may spawn) · 2 group_count u16 (≤ 1024) · 4 uid u32 · 8 gid u32
///   12 element count, first, last u32 · 24 incarnations_max u32 · 28 nodes u32 · 32 cores u32
///   36 time_s u32 · 40 memory_bytes u64 · 48 job u64 · 56 not_before i64 · 64 not_after i64
///   72 cluster[16] · 88 request_id[16] · 104 origin_serial[16] · 120 spec_digest[32]
///   152 exec_digest[32] · 184 groups u32[group_count], rising
///
/// A step's warrant has version 2 and, before the groups, 184 step u32 (≥ 1).
struct warrant {
  cluster_id cluster{};
  std::uint64_t job = 0; ///< ≥ 1, never reused
  request_id request{};
  digest spec_digest{}; ///< of the whole submitted job, as the request named it
  digest exec_digest{}; ///< of what the launcher executes (exec_spec.hpp)
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups; ///< supplementary, sorted, unique
  ceilings most;
  element_summary elements;
  std::uint32_t incarnations_max = 1;
  bool may_spawn = false;
  std::uint32_t step = 0; ///< not 0: of this step alone, in the incarnation `incarnations_max`
  serial_number origin_serial{}; ///< of the capability that asked
  utc_ns not_before = 0;
  utc_ns not_after = 0;

  bool operator==(const warrant&) const = default;
};

inline constexpr std::size_t warrant_fixed_size = 184;

std::vector<std::uint8_t> encode(const warrant& from);
/// Refuses any other length, version, value or set reserved bit.
checked<warrant> decode_warrant(byte_view bytes);

} // namespace troupe::auth
